"""From plan and regions to the Setup of each server: who is handed what, and how it may map it.

The protections here are the table of architecture.md §4; tests/rs check them by writing where a
server must not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from newtos_py.kernel.codec import Fd
from newtos_py.kernel.messages import (
    ChannelsPart,
    LoopPart,
    NeighbourPart,
    PoolPart,
    RegionPart,
    Setup,
    WirePart,
)
from newtos_py.kernel.server import Emulation, HostName, NetConfig
from newtos_py.rs import wiring
from newtos_py.rs.regions import HostRegion
from newtos_py.rs.wiring import Pair, RegionKind
from newtos_py.topology import HostPlan, ServerPlan, Topology, Wire

# desc.h, enum nt_region_number.
_IP_POOL = 1
_DRIVER_POOL = 2
# "Poll for ever" as a number of nanoseconds.
_FOR_EVER_NS = 2**62
_NS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class HostParts:
    """What a host's servers share: its plan, its regions by role, its doorbells by server."""

    plan: HostPlan
    net: NetConfig
    regions: Mapping[str, HostRegion]
    doorbells: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WireParts:
    """A wire's plan and regions, and the two hosts it joins."""

    wire: Wire
    regions: Mapping[str, HostRegion]
    hosts: Mapping[str, HostParts]


def make_setup(
    parts: HostParts,
    server: ServerPlan,
    *,
    generation: int,
    seed: int,
    wire: WireParts | None = None,
    device: int | None = None,
    names: tuple[HostName, ...] = (),
    control: int | None = None,
) -> Setup:
    """Make the Setup of one generation of one server."""
    drivers = wiring.drivers_of(parts.plan)
    arena = parts.regions.get(wiring.arena_role(server.role))
    capture = parts.regions.get(wiring.capture_role(server.role))
    return Setup(
        host=parts.plan.host.name,
        role=server.role,
        index=server_index(parts.plan, server.role),
        generation=generation,
        seed=seed,
        loop=_loop(parts.plan, server),
        status=parts.regions[wiring.status_role(server.role)].writable(),
        doorbell=Fd(parts.doorbells[server.role]),
        arena=arena.writable() if arena is not None else None,
        pools=_pools(parts, server.role),
        drivers=drivers,
        channels=_channels(parts, server.role),
        neighbours=tuple(
            neighbour(parts, other.role)
            for other in parts.plan.servers
            if other.role != server.role
        ),
        net=parts.net,
        wire=_wire_part(wire, parts.plan.host.name, server.role) if wire is not None else None,
        device=Fd(device) if device is not None else None,
        capture=capture.capturing() if capture is not None else None,
        names=names,
        control=Fd(control) if control is not None else None,
    )


def server_index(plan: HostPlan, role: str) -> int:
    """A driver's index, or a TCP server's lane; 0 for all others."""
    for group in (wiring.drivers_of(plan), wiring.tcp_servers_of(plan)):
        if role in group:
            return group.index(role)
    return 0


def pool_region_number(plan: HostPlan, role: str) -> int:
    """The number under which references name a server's pool."""
    return _IP_POOL if role == wiring.IP else _DRIVER_POOL + server_index(plan, role)


def neighbour(parts: HostParts, role: str) -> NeighbourPart:
    """Another server, as all see it."""
    status = parts.regions[wiring.status_role(role)]
    return NeighbourPart(role, status.read_only(), Fd(parts.doorbells[role]))


def names_of(topology: Topology) -> tuple[HostName, ...]:
    """All hosts and their addresses, for name resolution."""
    return tuple(
        HostName(host.name, tuple(address.packed for address in host.addresses))
        for host in topology.hosts
    )


def _loop(plan: HostPlan, server: ServerPlan) -> LoopPart:
    idle = plan.host.idle
    spin_ns = _FOR_EVER_NS if idle.spin_us is None else idle.spin_us * _NS_PER_US
    # Polling while others wait for the core takes it from them (architecture §6).
    if server.shares_core:
        spin_ns = 0
    return LoopPart(server.core, idle.slice_us, idle.yields, spin_ns)


def _pools(parts: HostParts, role: str) -> tuple[PoolPart, ...]:
    """All pools that `role` may read; the syscall server touches no packets."""
    if role == wiring.SYSCALL:
        return ()
    pools = []
    for server in parts.plan.servers:
        region = parts.regions.get(wiring.pool_role(server.role))
        if region is None:
            continue
        part = region.writable() if server.role == role else region.read_only()
        number = pool_region_number(parts.plan, server.role)
        pools.append(PoolPart(server.role, number, part))
    return tuple(pools)


def _channels(parts: HostParts, role: str) -> tuple[ChannelsPart, ...]:
    """The channels of `role`, by neighbour in boot order."""
    descriptors = set(wiring.descriptor_pairs(parts.plan))
    returns = set(wiring.return_pairs(parts.plan))

    def end(
        pairs: set[Pair], kind: RegionKind, pair: Pair, access: Callable[[HostRegion], RegionPart]
    ) -> RegionPart | None:
        return access(parts.regions[pair.role(kind)]) if pair in pairs else None

    found = []
    for server in parts.plan.servers:
        out, into = Pair(role, server.role), Pair(server.role, role)
        part = ChannelsPart(
            server.role,
            end(descriptors, RegionKind.DESCRIPTORS, out, HostRegion.producing),
            end(descriptors, RegionKind.DESCRIPTORS, into, HostRegion.consuming),
            end(returns, RegionKind.RETURNS, out, HostRegion.producing),
            end(returns, RegionKind.RETURNS, into, HostRegion.consuming),
        )
        if part != ChannelsPart(server.role, None, None, None, None):
            found.append(part)
    return tuple(found)


def _wire_part(parts: WireParts, host: str, role: str) -> WirePart:
    wire = parts.wire
    side = wire.hosts.index(host)
    peer = wire.hosts[1 - side]
    pairs = wiring.wire_pairs(wire)
    out, into = pairs[side], pairs[1 - side]
    far = parts.hosts[peer]
    pool = far.regions[wiring.pool_role(role)]
    return WirePart(
        name=wire.name,
        side=side,
        emulation=_emulation(wire, side),
        channels=ChannelsPart(
            peer,
            parts.regions[out.role(RegionKind.DESCRIPTORS)].producing(),
            parts.regions[into.role(RegionKind.DESCRIPTORS)].consuming(),
            parts.regions[out.role(RegionKind.RETURNS)].producing(),
            parts.regions[into.role(RegionKind.RETURNS)].consuming(),
        ),
        peer_pool=PoolPart("", pool_region_number(far.plan, role), pool.lent()),
        peer=neighbour(far, role),
    )


def _emulation(wire: Wire, side: int) -> Emulation:
    said = wire.emulation
    return Emulation(
        latency_ns=said.latency_ns,
        rate_bits=said.rate_bits or 0,
        loss_ppb=said.loss_ppb,
        reorder_ppb=said.reorder_ppb,
        duplicate_ppb=said.duplicate_ppb,
        corrupt_ppb=said.corrupt_ppb,
        seed=2 * said.seed + side,
    )
