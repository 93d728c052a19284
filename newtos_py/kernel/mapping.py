"""From a Setup to a ServerContext: mapping every region with the protection it came with."""

import os
from collections.abc import Sequence

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.memfd import reopen_read_only
from newtos_py.kernel.region import Part, RegionError, map_memory
from newtos_py.kernel.server import Channels, Memory, Neighbour, Pool, ServerContext, WireEnd


def map_region(part: m.RegionPart) -> Memory:
    """Map a region with exactly the protection it came with, and close its descriptor."""
    return map_part(part.memory, part.bytes, part.writable)


def map_part(memory: Fd, size: int, writable: Sequence[Part]) -> Memory:
    """Map a memory object of at least `size` bytes and close its descriptor; RegionError."""
    try:
        if os.fstat(memory.number).st_size < size:
            raise RegionError(f"shared memory of {size} bytes is cut short")
        return map_memory(memory.number, size, writable)
    finally:
        os.close(memory.number)


def make_context(setup: m.Setup, *, keep_status: bool) -> ServerContext:
    """Map everything that a Setup names."""
    pools = tuple((part.owner, _pool(part)) for part in setup.pools)
    own = next((pool for owner, pool in pools if owner == setup.role), None)
    return ServerContext(
        host=setup.host,
        role=setup.role,
        index=setup.index,
        generation=setup.generation,
        recovered=setup.generation > 1,
        seed=setup.seed,
        status=map_region(setup.status),
        doorbell=setup.doorbell.number,
        arena=map_region(setup.arena) if setup.arena is not None else None,
        own_pool=own,
        pools=pools,
        drivers=setup.drivers,
        channels=tuple(_channels(part) for part in setup.channels),
        neighbours=tuple(_neighbour(part, keep_status=keep_status) for part in setup.neighbours),
        net=setup.net,
        wire=_wire(setup.wire) if setup.wire is not None else None,
        device_fd=setup.device.number if setup.device is not None else -1,
        capture=map_region(setup.capture) if setup.capture is not None else None,
        names=setup.names,
        control_fd=setup.control.number if setup.control is not None else -1,
    )


def _pool(part: m.PoolPart) -> Pool:
    return Pool(map_region(part.memory), part.region)


def _channels(part: m.ChannelsPart) -> Channels:
    def region(each: m.RegionPart | None) -> Memory | None:
        return map_region(each) if each is not None else None

    return Channels(
        part.peer,
        region(part.out),
        region(part.into),
        region(part.returns_out),
        region(part.returns_in),
    )


def _neighbour(part: m.NeighbourPart, *, keep_status: bool) -> Neighbour:
    status_fd = reopen_read_only(part.status.memory.number) if keep_status else -1
    status = map_region(part.status)
    sleeping = status.address + ffi.offsetof("struct nt_status", "sleeping")
    return Neighbour(part.role, status, sleeping, part.doorbell.number, status_fd)


def _wire(part: m.WirePart) -> WireEnd:
    return WireEnd(
        part.name,
        part.side,
        part.emulation,
        _channels(part.channels),
        _pool(part.peer_pool),
        _neighbour(part.peer, keep_status=False),
    )
