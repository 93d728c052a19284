"""The host side of every driver's Python face: what uplink.h says, filled from a ServerContext.

Each driver has its own cffi module, so these functions are handed its `ffi` and `lib`; both know
uplink.h. A driver's class derives from `DriverFace` and adds what its link needs.
"""

from collections.abc import Sequence
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import (
    AreaMapping,
    ArenaUnusableError,
    ListenerMapping,
    Memory,
    Neighbour,
    PoolShape,
    ServerContext,
)
from newtos_py.net.netconf import fill_steering

# What every driver receives into (uplink.h; a return channel has more slots than this).
RX_POOL = PoolShape(small_count=448, large_count=64)
# So that the IPv4 total length of a super-segment fits 16 bits with all header options.
GSO_MAX = 65535 - 60 - 60

# Names of enum nt_uplink_counter, in order.
COUNTERS = (
    "rx_frames",
    "rx_bytes",
    "tx_frames",
    "tx_bytes",
    "fences",
    "bad_descriptors",
    "bad_references",
    "stale_returns",
)

_WHY_BYTES = 256

# A module's ffi or lib, or data made by it: cffi has no types of its own for them.
CffiObject = Any


class WiringError(NewtosError):
    """The shared memory a driver was given is not what it should be: a bug, or another version."""


def span(ffi: CffiObject, memory: Memory) -> tuple[CffiObject, int]:
    """Make the initialiser of a struct nt_span."""
    return (ffi.cast("void *", memory.address), memory.bytes)


def fill_config(ffi: CffiObject, config: CffiObject, context: ServerContext) -> None:
    """Fill a struct nt_uplink_config; WiringError if the host has no such channel or pool."""
    if context.arena is None or context.own_pool is None:
        raise WiringError(f"{context.role} needs an arena and a pool")
    ip = context.channels_with("ip")
    if ip.into is None or ip.out is None:
        raise WiringError(f"{context.role} needs channels from and to ip")
    returns = [each.returns_in for each in context.channels if each.returns_in is not None]
    config.arena = span(ffi, context.arena)
    config.status = span(ffi, context.status)
    config.pool = span(ffi, context.own_pool.memory)
    config.region = context.own_pool.region
    config.from_ip = span(ffi, ip.into)
    config.to_ip = span(ffi, ip.out)
    fill_steering(config.steering, context.net.steering)
    config.ip_status = span(ffi, context.neighbour("ip").status)
    if context.capture is not None:
        config.capture = span(ffi, context.capture)
    config.return_count = len(returns)
    for i, memory in enumerate(returns):
        config.returns[i] = span(ffi, memory)
    config.pool_count = len(context.pools)
    for i, (_, pool) in enumerate(context.pools):
        config.pools[i].memory = span(ffi, pool.memory)
        config.pools[i].region = pool.region


class DriverFace:
    """A driver's engine between boot and death; a RunningServer (kernel/server.py).

    `prefix` is that of the C functions: nt_wire for nt_wire_new.
    """

    def __init__(
        self,
        ffi: CffiObject,
        lib: CffiObject,
        prefix: str,
        config: CffiObject,
        context: ServerContext,
    ) -> None:
        self._ffi = ffi
        self._lib = lib
        self._map_area = getattr(lib, f"{prefix}_map_area")
        self._unmap_area = getattr(lib, f"{prefix}_unmap_area")
        why = ffi.new("char[]", _WHY_BYTES)
        self._engine = getattr(lib, f"{prefix}_new")(config, why, _WHY_BYTES)
        if self._engine == ffi.NULL:
            message = f"{context.role}: {ffi.string(why).decode()}"
            raise ArenaUnusableError(message) if context.recovered else WiringError(message)
        self.set_bell(lib.NT_UPLINK_BELL_IP, context.neighbour("ip"))

    def set_bell(self, index: int, neighbour: Neighbour) -> None:
        """Say which neighbour a bell of the engine's table rings."""
        sleeping = self._ffi.cast("uint32_t *", neighbour.sleeping)
        if self._lib.nt_bells_set(self._engine.bells, index, sleeping, neighbour.doorbell) != 0:
            raise WiringError(f"bell {index} is out of range")

    @property
    def engines(self) -> Sequence[int]:
        """The address of the one engine."""
        return (int(self._ffi.cast("uintptr_t", self._engine)),)

    def start(self) -> None:
        """Ring everybody once: what a former generation published may not have been rung for."""
        self._lib.nt_bells_ring_all(self._engine.bells)

    def map_area(self, area: AreaMapping) -> None:
        """Map the program side of an area: frames refer to payload in it."""
        memory = area.program
        base = self._ffi.cast("void *", memory.address)
        if self._map_area(self._engine, area.number, base, memory.bytes) != 0:
            raise WiringError(f"area number {area.number} is out of range")

    def unmap_area(self, number: int) -> None:
        """Forget an area; a frame that still refers to it is dropped and counted."""
        self._unmap_area(self._engine, number)

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """Never called: a driver has no part in event queues."""

    def map_listener(self, listener: ListenerMapping) -> None:
        """Never called: a driver has no part in listening sockets."""

    def unmap_listener(self, number: int) -> None:
        """Never called, like map_listener."""
