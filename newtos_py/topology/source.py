"""The topology file as a source of errors: every complaint names file, line, key and a way out.

A Source travels with the parsed Topology, so that checks made later (validate.py, plan.py) point
at the same lines as those made while parsing. A Section is one TOML table with its known keys;
asking it for a value of the wrong type, or handing it an unknown key, raises TopologyError.
Examples are handed in as TOML, quotes included.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from newtos_py.errors import NewtosError
from newtos_py.topology.locate import Path, locate

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
# tomllib ends its messages so; attributes with the same facts exist only from Python 3.14 on.
_TOML_ERROR = re.compile(
    r"(?P<problem>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)"
)


class TopologyError(NewtosError):
    """The topology file says something impossible.

    `file`, `line` (from 1), `key` (dotted, empty for the file as a whole), `problem`, and `valid`:
    what would be right there.
    """

    def __init__(self, file: str, line: int, key: str, problem: str, valid: str) -> None:
        self.file, self.line, self.key = file, line, key
        self.problem, self.valid = problem, valid
        where = f"{file}:{line}: {key}: " if key else f"{file}:{line}: "
        super().__init__(f"{where}{problem}; {valid}")


@dataclass(frozen=True, slots=True)
class Source:
    """A topology file's name and the line of each of its values."""

    file: str
    lines: Mapping[Path, int]

    def error(self, path: Path, problem: str, valid: str) -> TopologyError:
        """Build the error about the value at `path`, or about the nearest table that exists."""
        present = path
        while present not in self.lines:
            present = present[:-1]
        return TopologyError(self.file, self.lines[present], dotted(path), problem, valid)


@dataclass(frozen=True, slots=True)
class Section:
    """One TOML table whose keys are all known."""

    source: Source
    path: Path
    values: Mapping[str, object]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def at(self, *keys: str | int) -> Path:
        """Name something below this table."""
        return (*self.path, *keys)

    def error(self, key: str, problem: str, valid: str) -> TopologyError:
        """Build the error about the value of `key`."""
        return self.source.error(self.at(key), problem, valid)

    def text(self, key: str, example: str) -> str:
        """Read a string."""
        return text_at(self.source, self.at(key), self._required(key, example), example)

    def texts(self, key: str, example: str) -> tuple[str, ...]:
        """Read a list of strings."""
        return tuple(
            text_at(self.source, self.at(key, i), value, example)
            for i, value in enumerate(self.items(key, f"[{example}]"))
        )

    def items(self, key: str, example: str) -> list[object]:
        """Read a list of anything, not empty."""
        value = self._required(key, example)
        if not isinstance(value, list):
            raise self.error(key, f"must be a list, not {kind_of(value)}", f"such as {example}")
        if not value:
            raise self.error(key, "the list is empty", f"such as {example}")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """Read a whole number from `low` to `high`."""
        return whole_at(self.source, self.at(key), self._required(key, str(low)), low, high)

    def table(self, key: str, known: Sequence[str], example: str) -> "Section":
        """Read a table with no keys but those in `known`."""
        return section_at(
            self.source, self.at(key), self._required(key, example), known, f"such as {example}"
        )

    def scalar(self, key: str) -> object:
        """Read the value as TOML has it, for keys that take several types."""
        return self.values[key]

    def _required(self, key: str, example: str) -> object:
        if key not in self.values:
            raise self.error(key, "is missing", f"such as {key} = {example}")
        return self.values[key]


def open_document(text: str, file: str, known: Sequence[str]) -> Section:
    """Parse `text` as TOML into its root section, whose keys must be in `known`."""
    try:
        values: Mapping[str, object] = tomllib.loads(text, parse_float=Decimal)
        lines = locate(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(error, text, file) from None
    except RecursionError:
        problem = "lists or tables are nested too deep"
        raise TopologyError(file, 1, "", problem, "a topology needs three levels") from None
    return section_at(Source(file, lines), (), values, known, "")


def section_at(
    source: Source, path: Path, value: object, known: Sequence[str], valid: str
) -> Section:
    """Take `value` as a table with no keys but those in `known`."""
    if not isinstance(value, dict):
        raise source.error(path, f"must be a table, not {kind_of(value)}", valid)
    for key in value:
        if key not in known:
            raise source.error((*path, key), "unknown key", suggest(key, known))
    return Section(source, path, value)


def text_at(source: Source, path: Path, value: object, example: str) -> str:
    """Take `value` as a string."""
    if not isinstance(value, str):
        raise source.error(path, f"must be a string, not {kind_of(value)}", f"such as {example}")
    return value


def whole_at(source: Source, path: Path, value: object, low: int, high: int) -> int:
    """Take `value` as a whole number from `low` to `high`."""
    valid = f"a whole number from {low} to {high} is valid"
    # TOML's true is no number, though Python's is.
    if not isinstance(value, int) or isinstance(value, bool):
        raise source.error(path, f"must be a whole number, not {kind_of(value)}", valid)
    if not low <= value <= high:
        raise source.error(path, f"{value} is out of range", valid)
    return value


def suggest(word: str, known: Sequence[str]) -> str:
    """Hint at what was meant by a mistyped word: the nearest known one, and all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return f"{hint}Valid: {', '.join(known)}"


def dotted(path: Path) -> str:
    """Write a path the way TOML does, with array elements in brackets."""
    words = ""
    for part in path:
        if isinstance(part, int):
            words += f"[{part}]"
        else:
            words += "." if words else ""
            words += part if _PLAIN_KEY.fullmatch(part) else f'"{part}"'
    return words


def kind_of(value: object) -> str:
    """Name a TOML value's type for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    names: dict[type, str] = {
        int: f"the whole number {value}",
        Decimal: f"the number {value}",
        str: f'the string "{value}"',
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def _not_toml(error: tomllib.TOMLDecodeError, text: str, file: str) -> TopologyError:
    match = _TOML_ERROR.fullmatch(str(error))
    problem, line = str(error), text.count("\n") + 1
    if match is not None:
        problem = match["problem"]
        line = int(match["line"] or line)
    return TopologyError(
        file, line, "", f"not valid TOML: {problem}", "see https://toml.io/en/v1.0.0"
    )
