"""A progress bar with time left, for what takes more than some seconds.

Steps begun while a series runs (`whole`) show below its bar, and move it: it is as far as its
finished parts and the share of the one under way.
"""

from contextvars import ContextVar
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

# Time left goes by the speed in the last of this; rich's 30 s know too little of a series.
_SPEED_OF_S = 600


class Steps:
    """A progress bar with time left; a context manager. Silent where nobody looks."""

    def __init__(self, total: int, *, whole: bool = False) -> None:
        """`whole`: of a series, whose parts have steps of their own."""
        self._total, self._is_whole, self._ended = total, whole, 0
        self._outer = _series.get()
        self.progress: Progress = _bars() if self._outer is None else self._outer.progress
        self._task = self.progress.add_task("", total=total)

    def __enter__(self) -> Self:
        if self._outer is None:
            self.progress.start()
        if self._is_whole:
            _series.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.remove_task(self._task)
        if self._is_whole:
            _series.set(self._outer)
        if self._outer is None:
            self.progress.stop()

    def begin(self, what: str) -> None:
        """Say what is being done now."""
        self.progress.update(self._task, description=what)

    def end(self) -> None:
        """One more is done."""
        self._ended += 1
        self.progress.update(self._task, completed=self._ended)
        if self._outer is not None:
            self._outer.part_is_at(self._ended / self._total)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def part_is_at(self, share: float) -> None:
        """Move a series by what its part under way has done."""
        self.progress.update(self._task, completed=self._ended + share)


_series: ContextVar[Steps | None] = ContextVar("series", default=None)


def _bars() -> Progress:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("left:")
    return Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal, speed_estimate_period=_SPEED_OF_S,
    )  # fmt: skip
