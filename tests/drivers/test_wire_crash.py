"""A wire driver is killed at its crash points, and goes on as if nothing had happened.

Every fifth of them by default, every single one with --slow.

Each trial plays the scenario in a child process, which is killed (SIGKILL, by itself) at the n-th
crash point of one of the two engines. The parent starts both engines anew over the same memory and
plays on. What arrives must be what arrives without any crash: every frame once, in the same order,
with the same fate.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from newtos_py.drivers.wire._engine import lib

from newtos_py.kernel.server import Emulation

# Classes of conftest.py, which is no module that could be imported.
Link = Any

MS = 1_000_000
FRAMES = 12

Die = Callable[[Callable[[], None]], bool]


def frame(number: int) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(42)


def prepare(link: Link) -> None:
    """Leave both engines with returns to take, frames to send, a fence, and a super-segment."""
    link.settle()
    for host in link.hosts:
        for i in range(FRAMES):
            host.send(frame(100 + i))
    link.pass_time(link.a.now_ns + 20 * MS)
    for host in link.hosts:
        host.receive()
        for i in range(FRAMES):
            host.send(frame(i), (0, 500 + i))
        host.fence(0, 7)
        host.send(frame(FRAMES), (0, 5000))


def play(link: Link) -> None:
    for host in (link.a, link.b, link.a, link.b, link.a):
        host.step()
    for host in link.hosts:
        host.now_ns += 5 * MS
        host.step()


def finish(link: Link) -> list[list[bytes]]:
    """Play on to the end; what arrived at each host."""
    arrived: list[list[bytes]] = [[], []]
    for _ in range(4):
        link.pass_time(link.a.now_ns + 10 * MS)
        for seen, host in zip(arrived, link.hosts, strict=True):
            seen.extend(host.receive())
    link.check_no_buffer_lost()
    assert [host.fence_seen(0) for host in link.hosts] == [7, 7]
    return arrived


EVERYTHING = Emulation(
    latency_ns=MS,
    rate_bits=10_000_000_000,
    loss_ppb=100_000_000,
    reorder_ppb=100_000_000,
    duplicate_ppb=100_000_000,
    corrupt_ppb=100_000_000,
    seed=11,
)
NOTHING = Emulation(0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("emulation", [NOTHING, EVERYTHING], ids=["plain", "emulated"])
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_crash_points(
    make_link: Callable[..., Link],
    die_in_child: Die,
    emulation: Emulation,
    victim: int,
    stride: int,
) -> None:
    undisturbed = make_link(emulation)
    prepare(undisturbed)
    for area in (host.area for host in undisturbed.hosts):
        area.map[:8] = b"payload!"
    play(undisturbed)
    expected = finish(undisturbed)
    assert len(expected[0]) >= 6
    trials = 0
    for n in itertools.count(1, stride):
        link = make_link(emulation)
        prepare(link)
        for area in (host.area for host in link.hosts):
            area.map[:8] = b"payload!"

        def scenario(link: Link = link, n: int = n) -> None:
            lib.nt_wire_crash_at(link.hosts[victim].engine, n)
            play(link)

        killed = die_in_child(scenario)
        if not killed:
            break
        trials += 1
        # The parent's clock stands where it stood: what the child had not yet judged arrives at
        # the same time as without a crash, so its fate and its place are the same.
        link.reboot()
        for host in link.hosts:
            host.audit()
        assert finish(link) == expected, f"killed at crash point {n} of engine {victim}"
    assert trials > 100 // stride
