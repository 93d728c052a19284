"""As many connections at once as a large host has: every program beyond one socket area.

Both ends are counted, and all memory that stands behind them: each process's share of what it maps
(PSS, so shared memory counts once), and its page tables, which are the larger part.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_hosts import CLIENT, DEADLINE_S, HOSTS, WEB, RealHosts, until

from newtos_py.kernel._kernel import lib
from newtos_py.rs.scratch import ScratchHosts

PROGRAM = Path(__file__).parents[1] / "apps" / "many_connections.py"
# A connection's own port is one of 28,232 for each address of the other side.
ADDRESSES = [f"10.0.0.{20 + i}" for i in range(5)]
FIRST_PORT = 8000
# Descriptors of a program that are no connections.
SPARE_DESCRIPTORS = 1000
# Eight GB, as docs/performance.md says, for a hundred thousand.
BYTES_A_CONNECTION = 8 * 10**9 // 100_000
GONE_S = 240.0
# What two hosts and their programs need with no connection at all.
BYTES_OF_HOSTS = 600 * 10**6


def topology(connections: int) -> str:
    room = connections + 1000
    subnet = ", ".join(f'"{address}/24"' for address in ADDRESSES)
    return f"""
[host.{WEB}]
addresses = [{subnet}]
connections = {room}
[host.{CLIENT}]
address = "10.0.0.3/24"
connections = {room}
[wire.lan]
hosts = ["{WEB}", "{CLIENT}"]
"""


@dataclass
class Speaker:
    """A running many_connections.py."""

    process: "subprocess.Popen[bytes]"

    def hears(self, command: str, answer: str) -> None:
        self.says(command)
        self.answers(answer)

    def says(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def answers(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().decode().strip() == expected


@contextmanager
def speaking(hosts: RealHosts, host: str, *words: object) -> Iterator[Speaker]:
    command = [sys.executable, str(PROGRAM), *(str(word) for word in words)]
    with hosts.start(host, command, stdin=subprocess.PIPE) as process:
        try:
            yield Speaker(process)
        finally:
            process.kill()
            process.wait(DEADLINE_S)


def memory_bytes(pid: int) -> int:
    """A process's share of all that it maps, and its page tables."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    wanted = [line for line in rollup + status if line.startswith(("Pss:", "VmPTE:"))]
    assert len(wanted) == 2
    return sum(int(line.split()[1]) * 1024 for line in wanted)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("connections", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_connections_at_once(connections: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    each = min(15_000, hard - SPARE_DESCRIPTORS, connections)
    if each < lib.NT_AREA_SLOTS_MAX and connections > each:
        pytest.skip(f"a program may open {hard} files only")
    counts = [each] * (connections // each)
    if rest := connections - sum(counts):
        counts.append(rest)
    with ExitStack() as stack:
        hosts = RealHosts(stack.enter_context(ScratchHosts(topology(connections))))
        before = sum(memory_bytes(pid) for pid in hosts.pids().values())
        servers, clients = [], []
        for i, _ in enumerate(counts):
            server = stack.enter_context(speaking(hosts, WEB, "serve", FIRST_PORT + i))
            server.answers("ready")
            servers.append(server)
        for i, count in enumerate(counts):
            words = ("connect", FIRST_PORT + i, count, *ADDRESSES)
            clients.append(stack.enter_context(speaking(hosts, CLIENT, *words)))
            clients[-1].answers(f"connected {count}")
        for server, count in zip(servers, counts, strict=True):
            all_accepted(server, count)
        for host in HOSTS:
            assert hosts.tcp_counter(host, "tcbs_in_use") == connections
        idle = total_memory(hosts, servers, clients)
        for i, client in enumerate(clients):
            client.hears(f"ask 1000 {i}", "answered 1000")
        # And each has been used once: every ring has its first page.
        for client, count in zip(clients, counts, strict=True):
            client.hears("ask all 0", f"answered {count}")
        used = total_memory(hosts, servers, clients)
        for name, total in (("hosts alone", before), ("idle", idle), ("used", used)):
            print(f"{name}: {total / 1e6:.0f} MB, {total / connections / 1e3:.1f} kB a connection")
        if "asan" not in os.environ.get("LD_PRELOAD", ""):  # whose shadow memory is not ours
            assert idle <= used <= BYTES_OF_HOSTS + connections * BYTES_A_CONNECTION
        for speaker in (*clients, *servers):
            speaker.says("end")
        for speaker in (*clients, *servers):
            speaker.process.wait(DEADLINE_S)
        all_gone(hosts)


def all_gone(hosts: RealHosts) -> None:
    """Of so many FINs at once some are lost, and FIN-WAIT-2 lasts a minute then."""
    deadline = time.monotonic() + GONE_S
    while any(left := [hosts.tcp_counter(host, "tcbs_in_use") for host in HOSTS]):
        assert time.monotonic() < deadline, f"connections are left: {left}"
        os.sched_yield()


def all_accepted(server: Speaker, count: int) -> None:
    """A connection stands before it is accepted."""
    assert server.process.stdout is not None

    def has_all() -> bool:
        server.says("open")
        return server.process.stdout.readline() == b"open %d\n" % count

    until(has_all, f"{count} are accepted")


def total_memory(hosts: RealHosts, *speakers: list[Speaker]) -> int:
    programs = [speaker.process.pid for group in speakers for speaker in group]
    return sum(memory_bytes(pid) for pid in [*hosts.pids().values(), *programs])
