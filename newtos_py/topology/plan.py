"""From a topology and the machine's cores to servers: who runs where, and in which order.

Hosts without a word on cores are dealt round robin over the cores at hand, and all servers of a
host share its core: on the same core a hand-over is a switch of 2 us, across cores a wake of 12 us
(architecture.md §6). Programs run on their host's core, too. A host of several lanes is dealt as
many cores, one a TCP server; its other servers share the first lane's. `cores` overrides this as a
whole (one core, or a list over which the servers are dealt) or role by role.

Boot order: a server stands after all that it needs. Drivers need nothing; IP needs the drivers,
TCP and UDP need IP, the syscall server needs TCP and UDP.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from newtos_py.topology.address import Address
from newtos_py.topology.locate import Path
from newtos_py.topology.model import Host, Topology
from newtos_py.topology.placement import processes_of
from newtos_py.topology.source import suggest
from newtos_py.topology.validate import Link, links_of

# What `cores` may name besides the roles of servers.
PROGRAMS = "programs"


class ServerKind(Enum):
    """The entry point group a server is found in."""

    DRIVER = "newtos.drivers"
    SERVER = "newtos.servers"


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server process to be."""

    # Unique in its host: "wire.lan", "tap", "ip", "udp", "tcp0", "syscall".
    role: str
    kind: ServerKind
    # The entry point's name: "wire", "tap", "ip", "udp", "tcp", "syscall".
    entry_point: str
    core: int
    # Whether any other server of the topology, or a host's programs, run on the same core.
    shares_core: bool
    # Roles that must be ready before this one starts.
    needs: tuple[str, ...]
    # The name of its process: its role, unless it shares one (placement.py).
    process: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface of a host, served by the driver with the same role."""

    role: str
    # Inside the host: the wire's name, or "tap".
    name: str
    mac: bytes
    # The host's addresses on it; their subnets are on-link.
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host to be, with its servers in boot order."""

    host: Host
    # Where programs run by default.
    core: int
    interfaces: tuple[Interface, ...]
    servers: tuple[ServerPlan, ...]


def plan(topology: Topology, cores: Sequence[int]) -> tuple[HostPlan, ...]:
    """Place every server of `topology` on one of `cores` (os.sched_getaffinity, sorted).

    TopologyError if the file asks for a core that is not among them, or names no such role.
    """
    assert cores, "a process may always run somewhere"
    # Each undecided host has as many cores as lanes, as far as they go.
    dealt = 0
    plans = []
    for host in topology.hosts:
        pool = host.cores.pool
        lane_cores: dict[str, int] = {}
        if not pool:
            own = [cores[(dealt + lane) % len(cores)] for lane in range(host.lanes)]
            dealt += host.lanes
            pool = (own[0],)
            lane_cores = {_lane_role(lane): core for lane, core in enumerate(own)}
        host_plan = _plan_host(topology, host, pool, lane_cores)
        _check_cores(topology, host_plan, cores)
        plans.append(host_plan)
    return _mark_shared(plans)


def interface_mac(host: str, role: str) -> bytes:
    """Make a locally administered unicast address (IEEE 802 §8.4), the same at every boot."""
    digest = hashlib.sha256(f"{host}/{role}".encode()).digest()
    return bytes([0x02]) + digest[:5]


def _plan_host(
    topology: Topology, host: Host, pool: tuple[int, ...], lane_cores: Mapping[str, int]
) -> HostPlan:
    links = tuple(links_of(topology, host))
    interfaces = tuple(
        Interface(link.role, link.name, interface_mac(host.name, link.role), link.addresses)
        for link in links
    )
    named = {**lane_cores, **dict(host.cores.named)}
    servers = tuple(
        replace(server, core=named.get(server.role, pool[i % len(pool)]))
        for i, server in enumerate(_servers(host, links, pool[0]))
    )
    servers = _join(topology, host, servers)
    return HostPlan(host, named.get(PROGRAMS, pool[0]), interfaces, servers)


def _join(
    topology: Topology, host: Host, servers: tuple[ServerPlan, ...]
) -> tuple[ServerPlan, ...]:
    """Give each server its process, and the servers of one process one core."""
    processes = processes_of(topology, host, [server.role for server in servers])
    named = dict(host.cores.named)
    cores: dict[str, int] = {}
    for server in servers:
        process = processes[server.role]
        chosen = named.get(server.role, named.get(process))
        if process in cores and chosen not in (None, cores[process]):
            problem = f"shares its process with others on core {cores[process]}"
            path: Path = ("host", host.name, "cores", server.role)
            raise topology.source.error(path, problem, "name one core for all of them")
        cores.setdefault(process, server.core if chosen is None else chosen)
    return tuple(
        replace(server, process=processes[server.role], core=cores[processes[server.role]])
        for server in servers
    )


def _lane_role(lane: int) -> str:
    return f"tcp{lane}"


def _servers(host: Host, links: tuple[Link, ...], core: int) -> list[ServerPlan]:
    """List the servers of a host in boot order, all on `core` for now."""

    def server(kind: ServerKind, role: str, entry_point: str, *needs: str) -> ServerPlan:
        return ServerPlan(role, kind, entry_point, core, False, needs)

    lanes = [_lane_role(lane) for lane in range(host.lanes)]
    drivers = [server(ServerKind.DRIVER, link.role, link.role.split(".")[0]) for link in links]
    return [
        *drivers,
        server(ServerKind.SERVER, "ip", "ip", *(driver.role for driver in drivers)),
        server(ServerKind.SERVER, "udp", "udp", "ip"),
        *(server(ServerKind.SERVER, role, "tcp", "ip") for role in lanes),
        server(ServerKind.SERVER, "syscall", "syscall", "udp", *lanes),
    ]


def _check_cores(topology: Topology, host_plan: HostPlan, cores: Sequence[int]) -> None:
    host = host_plan.host
    base: Path = ("host", host.name, "cores")
    processes = {server.process: None for server in host_plan.servers}
    roles = ["default", *(server.role for server in host_plan.servers), PROGRAMS, *processes]
    wanted = [(_pool_path(topology, base, i), core) for i, core in enumerate(host.cores.pool)]
    for role, core in host.cores.named:
        if role not in roles:
            raise topology.source.error((*base, role), "no such server", suggest(role, roles))
        wanted.append(((*base, role), core))
    for path, core in wanted:
        if core not in cores:
            listed = ", ".join(str(core) for core in cores)
            problem = f"core {core} is not among those this process may use"
            raise topology.source.error(path, problem, f"valid: {listed}")


def _pool_path(topology: Topology, base: Path, index: int) -> Path:
    """Where a core of the pool stands: in a list, under default, or alone."""
    candidates: tuple[Path, ...] = ((*base, index), (*base, "default"), base)
    return next(path for path in candidates if path in topology.source.lines)


def _mark_shared(plans: list[HostPlan]) -> tuple[HostPlan, ...]:
    load = Counter(
        core
        for host_plan in plans
        for _, core in {(server.process, server.core) for server in host_plan.servers}
    )
    load.update({host_plan.core for host_plan in plans})
    return tuple(
        replace(
            host_plan,
            servers=tuple(
                replace(server, shares_core=load[server.core] > 1) for server in host_plan.servers
            ),
        )
        for host_plan in plans
    )
