"""The IP server's Python face: it opens what the context names and hands it to the engine."""

from collections.abc import Sequence
from typing import Any

from newtos_py.servers.ip._engine import ffi, lib

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import (
    AreaMapping,
    ArenaUnusableError,
    Channels,
    ListenerMapping,
    Memory,
    Neighbour,
    PoolShape,
    ServerContext,
    ServerSpec,
)
from newtos_py.net import netconf

# A cffi object: a pointer, a struct or an array.
_C = Any
_WHY_BYTES = 256


class IpFaceError(NewtosError):
    """The wiring that the context describes is not one that IP can serve."""


def counter_names() -> tuple[str, ...]:
    """Names of the engine's counters, in the order of its status page."""
    prefix = "NT_IP_COUNT_"
    members = ffi.typeof("enum nt_ip_counter").elements
    named = [members[i] for i in sorted(members)]
    return tuple(name.removeprefix(prefix).lower() for name in named if name.startswith(prefix))


def upper_index(role: str) -> int:
    """The engine's number of an upper server: tcp0 to tcp7, then udp."""
    if role == "udp":
        return int(lib.NT_IP_UPPER_UDP)
    lane = role.removeprefix("tcp")
    if role.startswith("tcp") and lane.isdigit() and int(lane) < lib.NT_IP_LANES:
        return int(lane)
    raise IpFaceError(f"IP has no place for a server {role!r} above it")


class IpServer:
    """One IP engine over a host's memory; a RunningServer (kernel/server.py)."""

    def __init__(self, context: ServerContext) -> None:
        why = ffi.new("char[]", _WHY_BYTES)
        config, netconf_bytes = _config(context)
        self._engine = lib.nt_ip_new(config, why, _WHY_BYTES)
        del netconf_bytes  # copied by the engine; it had to live until here
        if self._engine == ffi.NULL:
            message = f"{context.role}: {ffi.string(why).decode()}"
            raise ArenaUnusableError(message) if context.recovered else IpFaceError(message)
        for neighbour in context.neighbours:
            self._set_bell(context, neighbour)

    @property
    def engines(self) -> Sequence[int]:
        """The address of the one engine."""
        return (int(ffi.cast("uintptr_t", self._engine)),)

    def start(self) -> None:
        """Nothing is left to initialise: the engine may step; every neighbour is rung."""
        lib.nt_ip_start(self._engine)

    def map_area(self, area: AreaMapping) -> None:
        """Segments may refer to the program side of this area from now on."""
        base = ffi.cast("void *", area.program.address)
        if lib.nt_ip_map_area(self._engine, area.number, base, area.program.bytes) != 0:
            raise IpFaceError(f"area number {area.number} is out of range")

    def unmap_area(self, number: int) -> None:
        """Segments that still refer to the area are dropped, counted."""
        lib.nt_ip_unmap_area(self._engine, number)

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """IP tells programs nothing."""

    def map_listener(self, listener: ListenerMapping) -> None:
        """Listening is TCP's."""

    def unmap_listener(self, number: int) -> None:
        """Listening is TCP's."""

    def inject(self, crash_at: int, crash: int = 0) -> None:
        """Die at the n-th crash point from now (0: never): SIGKILL, or a call of `crash`."""
        callback = ffi.cast("void(*)(void *)", crash)
        lib.nt_ip_inject(self._engine, crash_at, callback, ffi.NULL)

    def _set_bell(self, context: ServerContext, neighbour: Neighbour) -> None:
        if neighbour.role in context.drivers:
            index = lib.NT_IP_BELL_DRIVER + context.drivers.index(neighbour.role)
        elif neighbour.role == "udp" or neighbour.role.startswith("tcp"):
            index = lib.NT_IP_BELL_UPPER + upper_index(neighbour.role)
        else:
            return  # the syscall server and IP do not talk
        sleeping = ffi.cast("uint32_t *", neighbour.sleeping)
        lib.nt_bells_set(self._engine.bells, index, sleeping, neighbour.doorbell)


def _memory(memory: Memory | None, what: str) -> tuple[_C, int]:
    if memory is None:
        raise IpFaceError(f"IP was given no {what}")
    return (ffi.cast("void *", memory.address), memory.bytes)


def _config(context: ServerContext) -> tuple[_C, _C]:
    """A struct nt_ip_config, and what it refers to besides the context's memory."""
    conf = ffi.from_buffer(netconf.to_bytes(context.net))
    config = ffi.new("struct nt_ip_config *")
    config.arena = _memory(context.arena, "arena")
    config.pool = _memory(context.own_pool.memory if context.own_pool else None, "pool")
    config.status = _memory(context.status, "status page")
    config.netconf = (conf, len(conf))
    config.seed = context.seed
    for channels in context.channels:
        if channels.peer in context.drivers:
            index = context.drivers.index(channels.peer)
            _fill_driver(config.driver[index], context, channels)
        else:
            _fill_upper(config.upper[upper_index(channels.peer)], channels)
    return config, conf


def _fill_driver(driver: _C, context: ServerContext, channels: Channels) -> None:
    peer = channels.peer
    driver.into = _memory(channels.into, f"channel from {peer}")
    driver.out = _memory(channels.out, f"channel to {peer}")
    driver.returns_out = _memory(channels.returns_out, f"return channel to {peer}")
    driver.pool = _memory(context.pool(peer).memory, f"pool of {peer}")
    driver.status = _memory(context.neighbour(peer).status, f"status page of {peer}")


def _fill_upper(upper: _C, channels: Channels) -> None:
    peer = channels.peer
    upper.into = _memory(channels.into, f"channel from {peer}")
    upper.out = _memory(channels.out, f"channel to {peer}")
    upper.returns_in = _memory(channels.returns_in, f"return channel from {peer}")


SERVER = ServerSpec(
    name="ip",
    arena_bytes=lib.nt_ip_arena_bytes(),
    counters=counter_names(),
    create=IpServer,
    pool=PoolShape(small_count=128, large_count=32),
)
