"""Random sequences of calls about urgent data: between two hosts, over TAP, and over loopback.

Who sends waits until it shows at the other end (pair.py), so no urgent byte takes another's place
before that one was seen; then it would be a matter of chance which bytes Linux leaves out. For it
to show there is another byte before each urgent one; those alone are in the C scenarios.
"""

import random

import pytest

from .pair import Call, Pair
from .scripts import NAME_ROOM, OOB, PEEK, TWO_BEGINNINGS, WAITALL
from .test_sequences import check

CALLS = 16
SIOCATMARK = 0x8905
OOBINLINE = (1, 10, "01000000")


def make_urgent(seed: int) -> list[Call]:
    """The script of a seed: both ends of a connection send urgent bytes, and read them or don't."""
    rng = random.Random(f"urgent/{seed}")
    makers = [
        lambda: ["send", 0, rng.choice((2, 2, 3, 6)), OOB],
        lambda: ["send", 0, rng.choice((1, 2, 7)), 0],
        lambda: ["recv", 0, rng.choice((1, 2, 3, 100)), rng.choice((0, 0, PEEK, WAITALL)), 0],
        lambda: ["recv", 0, rng.choice((0, 1, 1, 4)), OOB | rng.choice((0, 0, PEEK)), NAME_ROOM],
        lambda: ["ioctl", 0, SIOCATMARK, "ff" * 4],
    ]
    weights = (8, 4, 7, 5, 4)
    script = list(TWO_BEGINNINGS[0])
    if rng.random() < 0.4:
        script.append([rng.choice(("client", "server")), "setsockopt", 0, *OOBINLINE])
    for _ in range(CALLS):
        (maker,) = rng.choices(makers, weights)
        script.append([rng.choice(("client", "server", "server")), *maker()])
    if rng.random() < 0.3:
        script.append(rng.choice((["client", "shutdown", 0, 1], ["client", "close", 0])))
    return script


def on_one(script: list[Call]) -> list[Call]:
    """The same where both ends belong to one program: the client's socket is 1 there."""
    alone = []
    for who, call, first, *rest in script:
        number = 1 if who == "client" else first
        alone.append([call, number, *([["lo", 1]] if call == "connect" else rest)])
    return alone


def test_on_loopback(pair: Pair) -> None:
    check(pair, range(40), lambda seed: on_one(make_urgent(seed)))


@pytest.mark.root
@pytest.mark.apps("ip")
def test_between_two_hosts(over_wire: Pair) -> None:
    check(over_wire, range(40), make_urgent)


@pytest.mark.root
@pytest.mark.apps("ip")
def test_over_tap(over_tap: Pair) -> None:
    check(over_tap, range(40), make_urgent)


@pytest.mark.slow
def test_many_on_loopback(pair: Pair) -> None:
    check(pair, range(1000, 3000), lambda seed: on_one(make_urgent(seed)))
