"""Whole hosts under many seeds: every stream and datagram right, nobody hangs, nothing is left.

A failure names its scenario and seed, and the command that repeats it.
"""

import pytest

from newtos_py.sim.scenario import names, names_in_lanes, run

SLOW_SEEDS = 30

# Seeds that once failed, and what for. Schedules change with the code, so what they guard is also
# looked for by all the others.
FOUND = [
    # A SYN that came twice in one batch with the ACK after it left SYN_DUE set.
    ("tcp-backlog/clean/none", 9),
    # listen() on a bound socket changed its TCB before it was journalled.
    ("tcp-streams/slow/all", 5),
    # A slot that a fence had kept was free, and nobody granted it to the program that waited.
    ("udp-abort/clean/none", 2),
    # A datagram ring that emptied in two steps never told its program of the room.
    ("udp-flood/lossy/udp", 3001),
    # After 24 days without a step TCP's timers stood still for as long again.
    ("tcp-idle/clean/cold", 3007),
    # A wire went on filling buffers that a peer without its arena had taken back.
    ("udp-abort/lossy/cold", 24),
    # What it had lent before was taken after it had said that it forgot.
    ("udp-flood/lossy/cold", 1004),
    # ... and the one that forgot took what its former life had been lent.
    ("tcp-loopback/slow/cold", 1027),
    # A writer was woken a byte before it may write.
    ("tcp-slow-reader/slow/cold", 1020),
    # A burst over loopback lost what IP had no buffer for.
    ("tcp-crowd/clean/none", 1),
]


@pytest.mark.parametrize("name", names())
def test_one_seed(name: str) -> None:
    run(name, 1)


@pytest.mark.parametrize("name", [name for name in names_in_lanes() if name.endswith("lossy/all")])
def test_one_seed_in_lanes(name: str) -> None:
    run(name, 1)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", names() + names_in_lanes())
def test_many_seeds(name: str) -> None:
    for seed in range(1000, 1000 + SLOW_SEEDS):
        run(name, seed)


@pytest.mark.parametrize(("name", "seed"), FOUND)
def test_what_failed_once(name: str, seed: int) -> None:
    run(name, seed)


def test_servers_die_where_they_should() -> None:
    deaths = sum(run("tcp-streams/clean/all", seed).deaths for seed in range(10))
    assert deaths > 10
    assert run("tcp-streams/clean/none", 1).deaths == 0
