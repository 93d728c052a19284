"""Every option of every kind of socket, asked for and set, on Linux and on a host."""

import socket

import pytest

from .differences import OPTIONS
from .pair import Call, Pair

DELIBERATE = frozenset(option for difference in OPTIONS for option in difference.options)
VALUES = ("", "01", "ff", "00000000", "01000000", "05000000", "ffffffff", "ffffff7f", "00010000")
# Up to what Linux 5.10 had; later ones are where they are, or ENOPROTOOPT.
NAMES = {
    1: range(61),
    0: range(53),
    6: range(47),
    17: (0, 1, 2, 10, 100, 101, 102, 103, 104),
    41: range(62),
    255: (0, 1),
    99: (0, 1),
}
LISTENING: list[Call] = [["socket", 0, 2, 1, 0], ["bind", 0, ["lo", 1]], ["listen", 0, 5]]
KINDS: dict[str, list[Call]] = {
    "tcp": [["socket", 0, 2, 1, 0]],
    "udp": [["socket", 0, 2, 2, 0]],
    "tcp6": [["socket", 0, 10, 1, 0]],
    "udp6": [["socket", 0, 10, 2, 0]],
    "listening": LISTENING,
    "connected": [
        ["socket", 1, 2, 1, 0],
        ["bind", 1, ["lo", 1]],
        ["listen", 1, 5],
        ["socket", 0, 2, 1, 0],
        ["connect", 0, ["lo", 1]],
        ["accept", 1, 2, 0, 16],
    ],
}


def disagreements(pair: Pair, before: list[Call], level: int, name: int) -> list[str]:
    """How the two answer otherwise about one option of a socket made by `before`."""
    found = []
    pair.begin()
    for call in before:
        pair.both(call)
    for value in (None, *VALUES):
        if value is not None:
            linux, newtos = pair.both(["setsockopt", 0, level, name, value])
            if linux[0] != newtos[0]:
                found.append(f"set({level}, {name}, {value}): {linux[0]}, newtos {newtos[0]}")
        linux, newtos = pair.both(["getsockopt", 0, level, name, 256])
        if linux[0] != newtos[0]:
            found.append(f"get({level}, {name}) after {value}: {linux[0]}, newtos {newtos[0]}")
    return found


# SOL_SOCKET has options that Linux keeps for root; on a host every program may set them.
LEVELS = [
    pytest.param(level, marks=pytest.mark.root) if level == socket.SOL_SOCKET else level
    for level in NAMES
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_options_are_those_of_linux(pair: Pair, kind: str, level: int) -> None:
    found = [
        line
        for name in NAMES[level]
        if (level, name) not in DELIBERATE
        for line in disagreements(pair, KINDS[kind], level, name)
    ]
    assert not found, "\n".join(found)
