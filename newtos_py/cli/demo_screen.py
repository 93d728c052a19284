"""How the demo looks: on a terminal with colours and bars, elsewhere as plain text."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

_INDENT = 4
# No terminal, no width to fold at.
_PIPE_WIDTH = 200


class Bar:
    """A bar that fills while something is transferred."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, count: int) -> None:
        """Fill by so many bytes."""
        self._progress.advance(self._task, count)


class Screen:
    """Prints the story, and remembers whether all of it went well."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self._console = Console(width=width, highlight=False)
        fancy = (self._console.encoding or "").startswith("utf")
        self._good, self._bad = ("✓", "✗") if fancy else ("ok:", "WRONG:")
        self._steps = 0
        self.problems: list[str] = []

    def step(self, text: str) -> None:
        """Begin a part of the story."""
        self._steps += 1
        self._console.print()
        self._console.print(Text(f"{self._steps}. {text}", style="bold"))

    def say(self, text: str) -> None:
        """Explain."""
        self._console.print(Padding(Text(text, style="dim"), (0, 0, 0, _INDENT)))

    def command(self, text: str) -> None:
        """Show what is run."""
        self._console.print(Padding(Text(f"$ {text}", style="cyan"), (0, 0, 0, _INDENT)))

    def answer(self, text: str) -> None:
        """Show what it printed."""
        for line in text.splitlines():
            self._console.print(Padding(Text(line), (0, 0, 0, _INDENT)))

    def check(self, *, passed: bool, good: str, bad: str) -> None:
        """Say whether something went well."""
        if not passed:
            self.problems.append(bad)
        mark, text, style = (self._good, good, "green") if passed else (self._bad, bad, "bold red")
        self._console.print(Padding(Text(f"{mark} {text}", style=style), (0, 0, 0, _INDENT)))

    def table(self, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Show a table; all columns but the first are numbers or short."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(Padding(table, (0, 0, 0, _INDENT)))

    @contextmanager
    def bar(self, text: str, total_bytes: int) -> Iterator[Bar]:
        """Show a transfer; what is said meanwhile appears above the bar."""
        columns = (
            TextColumn(" " * _INDENT + text),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            yield Bar(progress, progress.add_task("", total=total_bytes))
