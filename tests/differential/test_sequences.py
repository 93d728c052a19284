"""Random sequences of calls: results, errnos, bytes and states are those of Linux.

A seed makes a script (scripts.py). One that differs is played again, because Linux's loopback is
not always done when a call returns, then shortened.
"""

import pytest

from .pair import Difference, Pair
from .scripts import make, shrink

A_RUN = 100
TRIES = 3


def surely_differs(pair: Pair, seed: int) -> Difference | None:
    """The difference that a script shows each time, in short."""
    script = make(seed)
    if not all(pair.play(script) is not None for _ in range(TRIES)):
        return None
    short = shrink(script, lambda shorter: pair.play(shorter) is not None)
    return pair.play(short) or pair.play(script)


def check(pair: Pair, seeds: range) -> None:
    found = [(seed, surely_differs(pair, seed)) for seed in seeds]
    assert not any(difference for _, difference in found), "\n".join(
        f"seed {seed}: {difference}" for seed, difference in found if difference
    )


@pytest.mark.parametrize("first", range(0, 600, A_RUN))
def test_random_calls(pair: Pair, first: int) -> None:
    check(pair, range(first, first + A_RUN))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 21000, 1000))
def test_many_random_calls(pair: Pair, first: int) -> None:
    check(pair, range(first, first + 1000))
