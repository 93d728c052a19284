"""Many short connections leave nothing behind: no TCB, slot, buffer, descriptor or memory.

Two equal batches: the first warms everything up (pages touched once, caches that keep what was
used), the second must find all it needs there.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_hosts import ADDRESS, CLIENT, HOSTS, RealHosts, Site, until

from newtos_py.kernel._kernel import lib

CONNECTIONS = 200
# What a process may grow by in a batch: allocators' noise, not a thing a connection.
RSS_SLACK_BYTES = 2 << 20
# And in descriptors: rs has a process in reserve. The program caches those of closed sockets, of as
# many as were open at once, which is not the same in each batch: ab's connections, and those that
# ab has closed and the program not yet.
DESCRIPTORS_SLACK = 16
CACHED_MAX = 1024  # as many as lighttpd lets in


@dataclass(frozen=True)
class Footprint:
    """What hosts and their programs hold when all connections are done."""

    tcbs: dict[str, int]
    # Slots that are neither free nor granted ahead, of programs that live.
    slots: int
    buffers_out: dict[str, int]
    # By name of the process.
    descriptors: dict[str, int]
    rss_bytes: dict[str, int]


def measure(hosts: RealHosts, program: subprocess.Popen[bytes]) -> Footprint:
    processes = dict(named_processes(hosts, program))
    return Footprint(
        {host: hosts.tcp_counter(host, "tcbs_in_use") for host in HOSTS},
        slots_in_use(hosts),
        {
            f"{host}:{owner}": hosts.buffers_out(host, owner)
            for host in HOSTS
            for owner in ("wire.lan", "ip")
        },
        {name: count_descriptors(pid) for name, pid in processes.items()},
        {name: rss_bytes(pid) for name, pid in processes.items()},
    )


def named_processes(
    hosts: RealHosts, program: subprocess.Popen[bytes]
) -> Iterator[tuple[str, int]]:
    yield "program", program.pid
    yield "rs", hosts.scratch.record(CLIENT).rs.pid
    for (host, role), pid in hosts.pids().items():
        yield f"{host}:{role}", pid


def slots_in_use(hosts: RealHosts) -> int:
    unused = (lib.NT_SLOT_FREE, lib.NT_SLOT_GRANTED)
    return sum(area[state] for area in hosts.areas() for state in area if state not in unused)


def count_descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def rss_bytes(pid: int) -> int:
    """What a process has of its own: shared memory is counted where it belongs."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"{pid} has no RssAnon")


@pytest.mark.apps("lighttpd", "ab")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "connections",
    [
        20_000,
        pytest.param(200_000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=pytest.mark.slow),
    ],
)
def test_short_connections_leave_nothing(hosts: RealHosts, site: Site, connections: int) -> None:
    ab = ["ab", "-q", "-r", "-n", str(connections // 2), "-c", str(CONNECTIONS)]
    with hosts.serving(site.folder) as program:
        until(lambda: is_quiet(hosts), "the probe is gone")
        idle = measure(hosts, program)
        footprints = []
        for _ in range(2):
            said = hosts.run(CLIENT, [*ab, f"http://{ADDRESS}/page"], 540)
            assert f"Complete requests:      {connections // 2}\n" in said, said
            assert "Failed requests:        0\n" in said, said
            assert f"HTML transferred:       {connections // 2 * 64} bytes\n" in said, said
            print(next(line for line in said.splitlines() if "per second" in line))
            until(lambda: is_quiet(hosts), "all connections are done")
            footprints.append(measure(hosts, program))
        print(idle, *footprints, sep="\n")
        first, second = footprints
        assert second.tcbs == first.tcbs == idle.tcbs
        assert second.slots == first.slots
        assert second.buffers_out == first.buffers_out
        before = {**first.descriptors, "program": idle.descriptors["program"] + CACHED_MAX}
        more = {name: count - before[name] for name, count in second.descriptors.items()}
        assert max(more.values()) <= DESCRIPTORS_SLACK, more
        grown = {name: second.rss_bytes[name] - first.rss_bytes[name] for name in second.rss_bytes}
        assert max(grown.values()) <= RSS_SLACK_BYTES, grown
        # Ports: more connections than there are ports were made in less than a TIME-WAIT lasts.
        # Buffers of a wire are all with its peer; a leak of one in forty connections would have
        # left none.


def is_quiet(hosts: RealHosts) -> bool:
    """Nobody is connected, and of all programs' areas only lighttpd's is left."""
    return len(hosts.areas()) == 1 and not any(
        hosts.tcp_counter(host, "tcbs_in_use") for host in HOSTS
    )
