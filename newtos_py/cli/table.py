"""Tables: lists of dataclasses, for people or as JSON.

The dataclass is the single description of a table: its fields are the columns, in order, and the
keys of the JSON objects; so both always say the same. A field's metadata may carry another
heading (`column`). On a terminal a table is styled; into a pipe it goes as plain columns, never
cut to a width.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# No terminal, no width: rich would fold the columns at 80 otherwise.
_PIPE_WIDTH = 10_000
_HEADING = "heading"

Command = TypeVar("Command", bound=Callable[..., object])


def column(heading: str) -> dict[str, str]:
    """Make the metadata of a dataclass field whose heading is not its name."""
    return {_HEADING: heading}


def json_option(command: Command) -> Command:
    """Add --json to a command, as its parameter `as_json`."""
    text = "Print a list of JSON objects instead of a table."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def show(
    row_type: "type[DataclassInstance]",
    rows: "Sequence[DataclassInstance]",
    *,
    as_json: bool,
    empty: str,
) -> None:
    """Print `rows`, all of `row_type`, to standard output; `empty` is said where there are none."""
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
    elif rows:
        is_terminal = sys.stdout.isatty()
        console = Console(width=None if is_terminal else _PIPE_WIDTH, highlight=False)
        console.print(make(row_type, rows))
    else:
        click.echo(empty, err=True)


def make(row_type: "type[DataclassInstance]", rows: "Sequence[DataclassInstance]") -> Table:
    """Make the table that show prints, for who shows it in another way."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for described in fields(row_type):
        heading = str(described.metadata.get(_HEADING, described.name))
        numbers = all(_is_number(_value(row, described.name)) for row in rows)
        table.add_column(heading.upper(), justify="right" if numbers else "left", no_wrap=True)
    for row in rows:
        # Text, because a string would be searched for rich's markup.
        table.add_row(*(Text(_cell(_value(row, each.name))) for each in fields(row_type)))
    return table


def _value(row: "DataclassInstance", name: str) -> object:
    value: object = getattr(row, name)
    return value


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(_cell(item) for item in value) or "-"
    return str(value)
