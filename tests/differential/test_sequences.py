"""Random sequences of calls: results, errnos, bytes and states are those of Linux.

A seed makes a script (scripts.py). One that differs is played again, because Linux's loopback is
not always done when a call returns, then shortened.
"""

from collections.abc import Callable

import pytest

from .pair import Call, Difference, Pair
from .scripts import make, make_binding, make_two, shrink

A_RUN = 100
TRIES = 3


def surely_differs(pair: Pair, script: list[Call]) -> Difference | None:
    """The difference that a script shows each time, in short."""
    if not all(pair.play(script) is not None for _ in range(TRIES)):
        return None
    short = shrink(script, lambda shorter: pair.play(shorter) is not None)
    return pair.play(short) or pair.play(script)


def check(pair: Pair, seeds: range, make: Callable[[int], list[Call]] = make) -> None:
    found = [(seed, surely_differs(pair, make(seed))) for seed in seeds]
    assert not any(difference for _, difference in found), "\n".join(
        f"seed {seed}: {difference}" for seed, difference in found if difference
    )


@pytest.mark.parametrize("first", range(0, 600, A_RUN))
def test_random_calls(pair: Pair, first: int) -> None:
    check(pair, range(first, first + A_RUN))


@pytest.mark.parametrize("first", range(0, 300, A_RUN))
def test_bindings_beside_each_other(pair: Pair, first: int) -> None:
    check(pair, range(first, first + A_RUN), make_binding)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 21000, 1000))
def test_many_random_calls(pair: Pair, first: int) -> None:
    check(pair, range(first, first + 1000))


@pytest.mark.root
@pytest.mark.apps("ip")
@pytest.mark.parametrize("first", range(0, 300, A_RUN))
def test_random_calls_between_two_hosts(over_wire: Pair, first: int) -> None:
    check(over_wire, range(first, first + A_RUN), make_two)


@pytest.mark.root
@pytest.mark.apps("ip")
@pytest.mark.parametrize("first", range(0, 300, A_RUN))
def test_random_calls_over_tap(over_tap: Pair, first: int) -> None:
    check(over_tap, range(first, first + A_RUN), make_two)
