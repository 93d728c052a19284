"""Time as every server of a host sees it: CLOCK_MONOTONIC, in nanoseconds.

The same clock the servers' C code reads, so deadlines in shared memory can be compared
with what these return. Code that decides anything by time takes a `Clock` as an argument;
tests then pass one they move by hand.
"""

from typing import Protocol

from newtos_py.kernel._kernel import lib


class Clock(Protocol):
    """Answers what time it is, in nanoseconds of one monotonic clock."""

    def __call__(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""


def now_ns() -> int:
    """Nanoseconds of CLOCK_MONOTONIC, the clock of shared deadlines."""
    return lib.nt_now_ns()


def cycles() -> int:
    """Ticks of the processor's own counter, for measuring short stretches on one core."""
    return lib.nt_cycles()
