"""The two sides of a comparison: the same programs on newtos, and on Linux.

newtos: two hosts and a wire, the server program on one, the load on the other; each host's servers
and programs on a core of its own. Linux: its loopback in a namespace of its own, the server program
on the first of these two cores, the load on the second, with the same scheduler slice.
"""

import os
import sys
from collections.abc import Sequence
from typing import Protocol, Self

from newtos_py.bench.namespace import Namespace
from newtos_py.bench.report import BenchError

from newtos_py.rs.scratch import ScratchHosts
from newtos_py.topology.model import DEFAULT_CONNECTIONS, IdleTunables

SERVER, CLIENT = "server", "client"

_TOPOLOGY = """\
[host.server]
address = "10.0.0.2/24"
cores = {server}
placement = {placement}
connections = {connections}
[host.client]
address = "10.0.0.3/24"
cores = {client}
placement = {placement}
connections = {connections}
[wire.lan]
hosts = ["server", "client"]
"""


class Side(Protocol):
    """A place to run a server program and its load."""

    name: str
    # Where the load reaches the server program.
    address: str
    environ: dict[str, str]

    def on(self, role: str, command: Sequence[str]) -> list[str]:
        """Make the command that runs another as SERVER or CLIENT."""

    def pids(self) -> list[int]:
        """The processes that carry packets here, besides the kernel."""


class HostsSide:
    """Hosts of a topology, among them those named SERVER and CLIENT; a context manager."""

    address = "10.0.0.2"

    def __init__(self, name: str, topology: str) -> None:
        self.name = name
        self.hosts = ScratchHosts(topology)
        self.environ = self.hosts.environ

    def __enter__(self) -> Self:
        self.hosts.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.hosts.close()

    def on(self, role: str, command: Sequence[str]) -> list[str]:
        """`newtos run` moves the program to its host's core."""
        return self.hosts.on(role, command)

    def pids(self) -> list[int]:
        """All servers of all hosts."""
        records = self.hosts.runtime.all_hosts()
        servers = [server for record in records for server in record.servers]
        return list({server.process.pid for server in servers if server.process is not None})


class NewtosSide(HostsSide):
    """Two hosts and a wire; a context manager."""

    def __init__(
        self,
        cores: tuple[int, int],
        *,
        placement: str = '"split"',
        name: str = "newtos",
        connections: int = DEFAULT_CONNECTIONS,
        sockets: str = "",
    ) -> None:
        """Prepare it.

        `placement`: of both hosts' servers, as the topology has it; `connections`: room for so
        many; `sockets`: the server program's NEWTOS_SOCKETS.
        """
        server, client = cores
        self._sockets = sockets
        super().__init__(
            name,
            _TOPOLOGY.format(
                server=server, client=client, placement=placement, connections=connections
            ),
        )

    def on(self, role: str, command: Sequence[str]) -> list[str]:
        """The load's sockets are always the default: it is not what is measured."""
        way = ["env", f"NEWTOS_SOCKETS={self._sockets}"] if role == SERVER else []
        return [*way, *super().on(role, command)]


class LinuxSide:
    """Loopback; a context manager."""

    name = "linux"
    address = "127.0.0.1"

    def __init__(self, cores: tuple[int, int], congestion: str) -> None:
        self.cores = dict(zip((SERVER, CLIENT), cores, strict=True))
        self._namespace = Namespace(congestion)
        self.environ = dict(os.environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._namespace.__exit__()

    def on(self, role: str, command: Sequence[str]) -> list[str]:
        """Run in the namespace, on that role's core, with the slice that newtos gives."""
        settle = [sys.executable, "-P", "-m", "newtos_py.bench.settle"]
        place = [str(self.cores[role]), str(IdleTunables().slice_us)]
        return self._namespace.command([*settle, *place, *command])

    def pids(self) -> list[int]:
        """None: the kernel does it in its callers' own time."""
        return []


def two_cores() -> tuple[int, int]:
    """The first two cores that this process may use; BenchError if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("this comparison needs two cores")
    return cores[0], cores[1]
