"""How the demo looks: on a terminal with colours and bars, elsewhere as plain text."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
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
        self._line(text, "dim")

    def command(self, text: str) -> None:
        """Show what is run."""
        self._line(f"$ {text}", "cyan")

    def answer(self, text: str) -> None:
        """Show what it printed."""
        for line in text.splitlines():
            self._line(line, "")

    def check(self, *, passed: bool, good: str, bad: str) -> None:
        """Say whether something went well."""
        if not passed:
            self.problems.append(bad)
        mark, text, style = (self._good, good, "green") if passed else (self._bad, bad, "bold red")
        self._line(f"{mark} {text}", style)

    def table(self, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        """Show a table; all columns but the first are numbers or short."""
        with self.growing_table(headings) as add:
            for row in rows:
                add(row)

    @contextmanager
    def growing_table(self, headings: Iterable[str]) -> Iterator[Callable[[Iterable[str]], None]]:
        """Show a table that grows by what is handed to the answer; elsewhere, its last state."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for number, heading in enumerate(headings):
            table.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
        shown = Padding(table, (0, 0, 0, _INDENT), expand=False)
        if not self._console.is_terminal:
            yield lambda row: table.add_row(*(Text(cell) for cell in row))
            self._console.print(shown)
            return
        # Without a thread that refreshes: it changes only when a row is added.
        with Live(shown, console=self._console, auto_refresh=False) as live:

            def add(row: Iterable[str]) -> None:
                table.add_row(*(Text(cell) for cell in row))
                live.refresh()

            yield add

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

    def _line(self, text: str, style: str) -> None:
        # Longer ones are the terminal's to fold: a command can then be copied.
        self._console.print(Text(" " * _INDENT + text, style=style), soft_wrap=True)
