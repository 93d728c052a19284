"""Which shared memory a host has, and what each of its servers may do with it.

This is the wiring of one host as a table. S is any server, D a driver, T a TCP server:

    status.S   one page a server                               S writes, all others read
    arena.S    of each engine                                  S writes
    pool.S     packet buffers of each driver and of IP         S writes, the others read
    ch.A.B     descriptors from A to B                         the producer's pages: A; head: B
    cap.D      a driver's frames for observers                 control page: observers; rest: D
    rt.A.B     buffers on their way back from A to B           likewise

    ch         D>ip  ip>D  ip>T  T>ip  ip>udp  udp>ip
               syscall>T  T>syscall  syscall>udp  udp>syscall
    rt         ip>D  T>D  udp>D  T>ip  udp>ip

A wire W between hosts a and b has ch.W.a.b, ch.W.b.a (descriptors of filled buffers) and rt.W.a.b,
rt.W.b.a (grants of the granting side's own buffers). They are named after the first host. The
sender maps the data of the peer's pool writable, its header and use counts read-only.

Returns have as many slots as any pool has buffers, so they can never be full.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.server import ServerSpec
from newtos_py.topology import HostPlan, ServerKind, ServerPlan, Wire

RING_SLOTS = 1024
# desc.h: struct nt_desc, struct nt_return.
DESC_BYTES = 192
RETURN_BYTES = 8

IP, UDP, SYSCALL = "ip", "udp", "syscall"
TCP_ENTRY_POINT = "tcp"


class RegionKind(Enum):
    """What a region holds, which says how it is formatted and mapped."""

    STATUS = "status"
    ARENA = "arena"
    POOL = "pool"
    DESCRIPTORS = "ch"
    RETURNS = "rt"
    CAPTURE = "cap"


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """One region to be: its role in its name, its size, and what formatting it needs to know."""

    role: str
    kind: RegionKind
    bytes: int
    small_count: int = 0
    large_count: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A channel from one server to another."""

    source: str
    target: str

    def role(self, kind: RegionKind) -> str:
        """The role of its region."""
        return f"{kind.value}.{self.source}.{self.target}"


def drivers_of(plan: HostPlan) -> tuple[str, ...]:
    """Roles of a host's drivers; a driver's index is its position."""
    return tuple(server.role for server in plan.servers if server.kind is ServerKind.DRIVER)


def processes_of(plan: HostPlan) -> tuple[tuple[ServerPlan, ...], ...]:
    """List the servers by process, in the boot order of the first of each."""
    processes: dict[str, list[ServerPlan]] = {}
    for server in plan.servers:
        processes.setdefault(server.process, []).append(server)
    return tuple(tuple(members) for members in processes.values())


def transports_of(plan: HostPlan) -> tuple[str, ...]:
    """Roles of the servers that programs attach to."""
    return (*tcp_servers_of(plan), UDP)


def tcp_servers_of(plan: HostPlan) -> tuple[str, ...]:
    """Roles of a host's TCP servers, in the order of their lanes."""
    return tuple(server.role for server in plan.servers if server.entry_point == TCP_ENTRY_POINT)


def descriptor_pairs(plan: HostPlan) -> Iterator[Pair]:
    """List the descriptor channels of a host."""
    for other in (*drivers_of(plan), *transports_of(plan)):
        yield Pair(other, IP)
        yield Pair(IP, other)
    for transport in transports_of(plan):
        yield Pair(SYSCALL, transport)
        yield Pair(transport, SYSCALL)


def return_pairs(plan: HostPlan) -> Iterator[Pair]:
    """List the return channels of a host."""
    for driver in drivers_of(plan):
        for consumer in (IP, *transports_of(plan)):
            yield Pair(consumer, driver)
    for transport in transports_of(plan):
        yield Pair(transport, IP)


def wire_pairs(wire: Wire) -> tuple[Pair, Pair]:
    """List the channels of a wire; the same pairs for descriptors and for grants."""
    first, second = wire.hosts
    return (Pair(f"{wire.name}.{first}", second), Pair(f"{wire.name}.{second}", first))


def host_regions(plan: HostPlan, specs: dict[str, ServerSpec]) -> Iterator[RegionPlan]:
    """List the regions of a host; `specs` by role."""
    for server in plan.servers:
        spec = specs[server.role]
        yield RegionPlan(status_role(server.role), RegionKind.STATUS, lib.NT_PAGE)
        size = spec.arena_bytes
        if spec.arena_bytes_for is not None:
            size = spec.arena_bytes_for(plan.host.connections)
        if size:
            yield RegionPlan(arena_role(server.role), RegionKind.ARENA, _pages(size))
        if spec.pool is not None:
            small, large = spec.pool.small_count, spec.pool.large_count
            size = lib.nt_pool_bytes(small, large)
            yield RegionPlan(pool_role(server.role), RegionKind.POOL, size, small, large)
        if server.kind is ServerKind.DRIVER:
            size = lib.nt_capture_bytes(lib.NT_CAPTURE_RING_BYTES)
            yield RegionPlan(capture_role(server.role), RegionKind.CAPTURE, size)
    for pair in descriptor_pairs(plan):
        yield _channel(pair, RegionKind.DESCRIPTORS)
    for pair in return_pairs(plan):
        yield _channel(pair, RegionKind.RETURNS)


def wire_regions(wire: Wire) -> Iterator[RegionPlan]:
    """List the regions that belong to a wire and to neither of its hosts."""
    for pair in wire_pairs(wire):
        yield _channel(pair, RegionKind.DESCRIPTORS)
        yield _channel(pair, RegionKind.RETURNS)


def status_role(server: str) -> str:
    """The role of a server's status page."""
    return f"{RegionKind.STATUS.value}.{server}"


def arena_role(server: str) -> str:
    """The role of a server's arena."""
    return f"{RegionKind.ARENA.value}.{server}"


def pool_role(server: str) -> str:
    """The role of a server's pool."""
    return f"{RegionKind.POOL.value}.{server}"


def capture_role(server: str) -> str:
    """The role of a driver's capture ring."""
    return f"{RegionKind.CAPTURE.value}.{server}"


def _channel(pair: Pair, kind: RegionKind) -> RegionPlan:
    slot_bytes = DESC_BYTES if kind is RegionKind.DESCRIPTORS else RETURN_BYTES
    size = lib.nt_channel_bytes(RING_SLOTS, slot_bytes)
    return RegionPlan(pair.role(kind), kind, size)


def _pages(size: int) -> int:
    return -(-size // lib.NT_PAGE) * lib.NT_PAGE
