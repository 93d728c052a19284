"""Every dialogue is held with an engine that lives, and again with one that dies.

`crash_at` n kills the engine at the n-th crash point of whatever each event makes it do. A test
that does not say otherwise must not be able to tell.
"""

from collections.abc import Callable

import pytest

from newtos_py.sim.tcp_dialogue import Dialogue

CRASH_POINTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50)


@pytest.fixture(params=CRASH_POINTS, ids=lambda n: f"crash{n}" if n else "alive")
def make(request: pytest.FixtureRequest) -> Callable[..., Dialogue]:
    """Makes a dialogue with settings of its own."""

    def make(**settings: int) -> Dialogue:
        return Dialogue(crash_at=request.param, **settings)

    return make


@pytest.fixture
def d(make: Callable[..., Dialogue]) -> Dialogue:
    """A dialogue."""
    return make()
