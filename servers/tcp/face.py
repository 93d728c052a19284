"""The TCP server's Python face: it hands the context's memory to the engine.

Runs once at start, and when areas, queues and listeners come and go; never per packet.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from newtos_py.servers.tcp._engine import ffi, lib
from newtos_py.servers.tcp.sockets import read_sockets

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import (
    TCP,
    AreaMapping,
    ArenaUnusableError,
    ListenerMapping,
    Memory,
    Neighbour,
    ServerContext,
    ServerSpec,
)
from newtos_py.net import netconf

# A cffi object: a pointer, a struct or an array.
_C = Any
_WHY_BYTES = 256

# Tables of the arena. There are TIME-WAIT blocks for a minute's connections, or as many as fit; and
# for each connection four socket slots, in pages of 64, because programs are given them ahead.
_TIME_WAITS_MIN = 32_768
_LISTENERS = 512
_SLOTS_A_PAGE, _SLOTS_A_CONNECTION = 64, 4
# Connections come in so many, so that the arena's size says how many there are.
_STEP = 1024
_STEPS_MAX = 1024


class TcpFaceError(NewtosError):
    """The wiring that the context describes is not one that TCP can serve."""


def shape_for(connections: int) -> dict[str, int]:
    """Sizes of the tables (struct nt_tcp_shape) for so many connections, or a few more."""
    tcbs = -(-connections // _STEP) * _STEP
    pages = tcbs * _SLOTS_A_CONNECTION // _SLOTS_A_PAGE
    return {
        "tcbs": tcbs,
        "time_waits": max(_TIME_WAITS_MIN, tcbs),
        "listeners": _LISTENERS,
        # All areas full: more there cannot be.
        "binding_pages": min(pages, lib.NT_AREAS_MAX * lib.NT_AREA_SLOTS_MAX // _SLOTS_A_PAGE),
    }


def arena_bytes_for(connections: int) -> int:
    """How large an arena for so many connections is."""
    shape = ffi.new("struct nt_tcp_shape *", shape_for(connections))
    return int(lib.nt_tcp_arena_bytes(shape))


def shape_in(arena_bytes: int) -> dict[str, int]:
    """The tables that an arena (of whole pages) was made for; TcpFaceError: it is too small."""
    fitting = bisect_right(range(1, _STEPS_MAX + 1), arena_bytes, key=_bytes_for_steps)
    if fitting == 0:
        raise TcpFaceError(f"an arena of {arena_bytes} bytes has no room for connections")
    return shape_for(fitting * _STEP)


def _bytes_for_steps(steps: int) -> int:
    return arena_bytes_for(steps * _STEP)


def counter_names() -> tuple[str, ...]:
    """Names of the engine's counters, in the order of its status page."""
    members = ffi.typeof("enum nt_tcp_counter").elements
    return tuple(members[i].removeprefix("NT_TCP_").lower() for i in range(lib.NT_TCP_COUNTERS))


class TcpServer:
    """One TCP engine over a host's memory; a RunningServer (kernel/server.py)."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        why = ffi.new("char[]", _WHY_BYTES)
        config, netconf_bytes = _config(context)
        self._tcp = lib.nt_tcp_new(config, why, _WHY_BYTES)
        del netconf_bytes  # copied by the engine; it had to live until here
        if self._tcp == ffi.NULL:
            raise self._unusable(why)
        for neighbour in context.neighbours:
            self._set_bell(neighbour)

    def _unusable(self, why: _C) -> NewtosError:
        message = f"{self._context.role}: {ffi.string(why).decode()}"
        return ArenaUnusableError(message) if self._context.recovered else TcpFaceError(message)

    @property
    def engines(self) -> Sequence[int]:
        """The address of the one engine."""
        return (int(ffi.cast("uintptr_t", lib.nt_tcp_face(self._tcp))),)

    def start(self) -> None:
        """Recover what the arena holds, and look at every slot again; everybody is rung."""
        why = ffi.new("char[]", _WHY_BYTES)
        if lib.nt_tcp_start(self._tcp, why, _WHY_BYTES) != 0:
            raise self._unusable(why)
        lib.nt_bells_ring_all(lib.nt_tcp_face(self._tcp).bells)

    def map_area(self, area: AreaMapping) -> None:
        """A program's sockets live here from now on."""
        if area.protocol != TCP or area.server is None or area.hint is None:
            return
        view = ffi.new("struct nt_area *")
        program, server, hint = (
            ffi.cast("void *", part.address) for part in (area.program, area.server, area.hint)
        )
        if lib.nt_area_open(view, program, server, hint, area.slots) != 0:
            raise TcpFaceError(f"area {area.number} is no socket area of {area.slots} slots")
        view.number = area.number
        if lib.nt_tcp_attach_area(self._tcp, view) != 0:
            raise TcpFaceError(f"area number {area.number} is taken or out of range")

    def unmap_area(self, number: int) -> None:
        """Forget an area."""
        lib.nt_tcp_detach_area(self._tcp, number)

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """A program sleeps on this eventfd."""
        if lib.nt_tcp_set_queue(self._tcp, area, queue, doorbell) != 0:
            raise TcpFaceError(f"no room for event queue {queue} of area {area}")

    def map_listener(self, listener: ListenerMapping) -> None:
        """A listener region exists."""
        view = ffi.new("struct nt_listener *")
        ring = ffi.cast("void *", listener.ring.address)
        claims = ffi.cast("void *", listener.claims.address)
        if lib.nt_listener_open(view, ring, claims, listener.entries) != 0:
            raise TcpFaceError(f"listener {listener.number} is no region of that many entries")
        if lib.nt_tcp_map_listener(self._tcp, listener.number, view) != 0:
            raise TcpFaceError("too many listening sockets")

    def unmap_listener(self, number: int) -> None:
        """Forget a listener region."""
        lib.nt_tcp_unmap_listener(self._tcp, number)

    def inject(self, crash_at: int, crash: int = 0) -> None:
        """Die at the n-th crash point from now (0: never): SIGKILL, or a call of `crash`."""
        callback = ffi.cast("void(*)(void *)", crash)
        lib.nt_tcp_crash_at(self._tcp, crash_at, callback, ffi.NULL)

    def _set_bell(self, neighbour: Neighbour) -> None:
        bells = {"ip": [lib.NT_TCP_BELL_IP, lib.NT_TCP_BELL_POOL + lib.NT_REGION_IP_POOL]}
        bells["syscall"] = [lib.NT_TCP_BELL_SYSCALL]
        for index, driver in enumerate(self._context.drivers):
            bells[driver] = [lib.NT_TCP_BELL_POOL + lib.NT_REGION_DRIVER_POOL + index]
        sleeping = ffi.cast("uint32_t *", neighbour.sleeping)
        for bell in bells.get(neighbour.role, []):
            lib.nt_tcp_set_bell(self._tcp, bell, sleeping, neighbour.doorbell)


def _memory(memory: Memory | None, what: str) -> tuple[_C, int]:
    if memory is None:
        raise TcpFaceError(f"TCP was given no {what}")
    return (ffi.cast("void *", memory.address), memory.bytes)


def _config(context: ServerContext) -> tuple[_C, _C]:
    """A struct nt_tcp_config, and what it refers to besides the context's memory."""
    conf = ffi.from_buffer(netconf.to_bytes(context.net))
    config = ffi.new("struct nt_tcp_config *")
    config.shape = shape_in(context.arena.bytes if context.arena is not None else 0)
    config.arena = _memory(context.arena, "arena")
    config.status = _memory(context.status, "status page")
    config.netconf = (conf, len(conf))
    config.seed = context.seed & (1 << 64) - 1
    config.lane = context.index
    ip, syscall = context.channels_with("ip"), context.channels_with("syscall")
    config.from_ip = _memory(ip.into, "channel from ip")
    config.to_ip = _memory(ip.out, "channel to ip")
    config.from_syscall = _memory(syscall.into, "channel from syscall")
    config.to_syscall = _memory(syscall.out, "channel to syscall")
    for owner in ("ip", *context.drivers):
        pool = context.pool(owner)
        config.pool[pool.region] = _memory(pool.memory, f"pool of {owner}")
        returns = context.channels_with(owner).returns_out
        config.returns[pool.region] = _memory(returns, f"return channel to {owner}")
    for index, driver in enumerate(context.drivers):
        status = context.neighbour(driver).status
        config.driver_status[index] = ffi.cast("struct nt_status *", status.address)
    return config, conf


SERVER = ServerSpec(
    name="tcp",
    arena_bytes=0,
    arena_bytes_for=arena_bytes_for,
    counters=counter_names(),
    create=TcpServer,
    sockets=read_sockets,
)
