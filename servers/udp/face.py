"""The UDP server's Python face: it opens what the context names and hands it to the engine.

It also keeps the table of bells: one for each event queue of each attached program, from
NT_UDP_BELL_QUEUE on. An index is given again once its area is gone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from newtos_py.servers.udp._engine import ffi, lib

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import (
    UDP,
    AreaMapping,
    ArenaUnusableError,
    ListenerMapping,
    Memory,
    ServerContext,
    ServerSpec,
)
from newtos_py.kernel.sockets import SocketEnd, SocketInfo, SocketState
from newtos_py.net import netconf

# A cffi object: a pointer, a struct or an array.
_C = Any
_WHY_BYTES = 256
# Where an area's event queues and their sleeping flags are (area.h).
_QUEUES_OFFSET = 4096
_QUEUE_BYTES = 64


class UdpFaceError(NewtosError):
    """The wiring that the context describes is not one that UDP can serve."""


def counter_names() -> tuple[str, ...]:
    """Names of the engine's counters, in the order of its status page."""
    prefix = "NT_UDP_COUNT_"
    members = ffi.typeof("enum nt_udp_counter").elements
    named = [members[i] for i in sorted(members)]
    return tuple(name.removeprefix(prefix).lower() for name in named if name.startswith(prefix))


class UdpServer:
    """One UDP engine over a host's memory; a RunningServer (kernel/server.py)."""

    def __init__(self, context: ServerContext) -> None:
        why = ffi.new("char[]", _WHY_BYTES)
        config, netconf_bytes = _config(context)
        self._role = context.role
        self._recovered = context.recovered
        self._engine = lib.nt_udp_new(config, why, _WHY_BYTES)
        del netconf_bytes  # copied by the engine; it had to live until here
        if self._engine == ffi.NULL:
            raise self._unusable(ffi.string(why).decode())
        self._programs: dict[int, Memory] = {}
        self._bells: dict[tuple[int, int], int] = {}
        self._free_bells = list(range(lib.NT_BELLS_MAX - 1, lib.NT_UDP_BELL_QUEUE - 1, -1))
        self._set_neighbour_bells(context)

    @property
    def engines(self) -> Sequence[int]:
        """The address of the one engine."""
        return (int(ffi.cast("uintptr_t", self._engine)),)

    def start(self) -> None:
        """Recover from the arena; look at every socket and ring everybody once."""
        why = ffi.new("char[]", _WHY_BYTES)
        if lib.nt_udp_start(self._engine, why, _WHY_BYTES) != 0:
            raise self._unusable(ffi.string(why).decode())

    def map_area(self, area: AreaMapping) -> None:
        """Sockets of a program may come to life in this area from now on."""
        if area.protocol != UDP or area.server is None or area.hint is None:
            raise UdpFaceError(f"area {area.number} is not one of UDP's")
        parts = [
            ffi.cast("void *", part.address) for part in (area.program, area.server, area.hint)
        ]
        if lib.nt_udp_map_area(self._engine, area.number, area.slots, area.pid, *parts) != 0:
            raise UdpFaceError(f"area {area.number} is malformed, or its number out of range")
        self._programs[area.number] = area.program

    def unmap_area(self, number: int) -> None:
        """Forget an area, and the bells of its event queues."""
        lib.nt_udp_unmap_area(self._engine, number)
        self._programs.pop(number, None)
        for key in [key for key in self._bells if key[0] == number]:
            index = self._bells.pop(key)
            lib.nt_bells_clear(self._engine.bells, index)
            self._free_bells.append(index)

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """Ring this eventfd when a socket of that event queue has news."""
        if (area, queue) not in self._bells:
            if not self._free_bells:
                raise UdpFaceError("all bells are in use: too many event queues on this host")
            self._bells[area, queue] = self._free_bells.pop()
        index = self._bells[area, queue]
        address = self._programs[area].address + _QUEUES_OFFSET + queue * _QUEUE_BYTES
        sleeping = ffi.cast("uint32_t *", address)
        lib.nt_bells_set(self._engine.bells, index, sleeping, doorbell)
        if lib.nt_udp_set_queue(self._engine, area, queue, index) != 0:
            raise UdpFaceError(f"area {area} has no event queue {queue}")

    def map_listener(self, listener: ListenerMapping) -> None:
        """Datagram sockets do not listen."""

    def unmap_listener(self, number: int) -> None:
        """Datagram sockets do not listen."""

    def inject(self, crash_at: int, crash: int = 0) -> None:
        """Die at the n-th crash point from now (0: never): SIGKILL, or a call of `crash`."""
        callback = ffi.cast("void(*)(void *)", crash)
        lib.nt_udp_inject(self._engine, crash_at, callback, ffi.NULL)

    def _unusable(self, why: str) -> NewtosError:
        message = f"{self._role}: {why}"
        return ArenaUnusableError(message) if self._recovered else UdpFaceError(message)

    def _set_neighbour_bells(self, context: ServerContext) -> None:
        bells = {"ip": lib.NT_UDP_BELL_IP, "syscall": lib.NT_UDP_BELL_SYSCALL}
        bells |= {role: lib.NT_UDP_BELL_DRIVER + i for i, role in enumerate(context.drivers)}
        for neighbour in context.neighbours:
            if neighbour.role in bells:
                sleeping = ffi.cast("uint32_t *", neighbour.sleeping)
                lib.nt_bells_set(
                    self._engine.bells, bells[neighbour.role], sleeping, neighbour.doorbell
                )


def _memory(memory: Memory | None, what: str) -> tuple[_C, int]:
    if memory is None:
        raise UdpFaceError(f"UDP was given no {what}")
    return (ffi.cast("void *", memory.address), memory.bytes)


def _config(context: ServerContext) -> tuple[_C, _C]:
    """A struct nt_udp_config, and what it refers to besides the context's memory."""
    conf = ffi.from_buffer(netconf.to_bytes(context.net))
    config = ffi.new("struct nt_udp_config *")
    ip, syscall = context.channels_with("ip"), context.channels_with("syscall")
    config.arena = _memory(context.arena, "arena")
    config.status = _memory(context.status, "status page")
    config.netconf = (conf, len(conf))
    config.from_ip = _memory(ip.into, "channel from ip")
    config.to_ip = _memory(ip.out, "channel to ip")
    config.from_syscall = _memory(syscall.into, "channel from syscall")
    config.to_syscall = _memory(syscall.out, "channel to syscall")
    config.ip_pool.pool = _memory(context.pool("ip").memory, "pool of ip")
    config.ip_pool.returns_out = _memory(ip.returns_out, "return channel to ip")
    for index, role in enumerate(context.drivers):
        driver = config.driver[index]
        driver.pool = _memory(context.pool(role).memory, f"pool of {role}")
        returns = context.channels_with(role).returns_out
        driver.returns_out = _memory(returns, f"return channel to {role}")
        driver.status = _memory(context.neighbour(role).status, f"status page of {role}")
    config.seed = context.seed
    return config, conf


def sockets(arena: Memory) -> Iterator[SocketInfo]:
    """The bound sockets of an arena that may be changing."""
    row = ffi.new("struct nt_udp_row *")
    base = ffi.cast("void *", arena.address)
    for index in range(lib.nt_udp_rows()):
        if not lib.nt_udp_row(base, arena.bytes, index, row):
            continue
        yield SocketInfo(
            protocol=UDP,
            state=SocketState.ESTABLISHED if row.state == 2 else SocketState.CLOSED,
            recv_q=0,  # what is unread is the program's to know
            send_q=row.tx_ungathered,
            local=SocketEnd(bytes(row.local_addr), row.local_port),
            peer=SocketEnd(bytes(row.remote_addr), row.remote_port),
            pid=row.pid or None,
        )


SERVER = ServerSpec(
    name="udp",
    arena_bytes=lib.nt_udp_arena_bytes(),
    counters=counter_names(),
    create=UdpServer,
    sockets=sockets,
)
