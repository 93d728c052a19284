"""A program's sockets over socket areas: the code that the preloaded libc runs, for Python.

`Program` is what one program is attached to, `Socket` one of its sockets, with the methods and
the errors of the standard library's (`BlockingIOError` where a call would block: nothing here
ever does). Each call returns after ringing: `Program.ring` is called with the doorbell of every
server that sleeps and was left something to do.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

from newtos_py.libc_shim.sockets._sockets import ffi, lib

Address = tuple[str, int]
CData = Any  # a cffi object, or a buffer to make one of

_PROTOCOL_TCP = 6
_AF_INET = socket.AF_INET  # in Program, `socket` is a method
_ADDRESS_BYTES = 128  # struct sockaddr_storage
_COLLECT_BATCH = 64


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port as servers know them: 128 bit, IPv4 mapped."""

    addr: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a socket lives: what messages to the syscall server name it by."""

    protocol: int
    area: int
    slot: int
    generation: int
    options: int


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram, or what was given of it; `flags` may have MSG_TRUNC and MSG_CTRUNC."""

    data: bytes
    address: Address
    flags: int
    ancillary: tuple[tuple[int, int, bytes], ...]


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _sockaddr(address: Address | None) -> tuple[CData, int]:
    """A struct sockaddr for an address; None stands for AF_UNSPEC."""
    if address is None:
        raw = socket.AF_UNSPEC.to_bytes(2, "little") + bytes(14)
    elif ":" in address[0]:
        raw = (
            socket.AF_INET6.to_bytes(2, "little")
            + address[1].to_bytes(2, "big")
            + bytes(4)
            + socket.inet_pton(socket.AF_INET6, address[0])
            + bytes(4)
        )
    else:
        raw = (
            socket.AF_INET.to_bytes(2, "little")
            + address[1].to_bytes(2, "big")
            + socket.inet_pton(socket.AF_INET, address[0])
            + bytes(8)
        )
    return ffi.from_buffer("struct sockaddr *", raw, require_writable=False), len(raw)


def _address(raw: bytes) -> Address:
    family = int.from_bytes(raw[:2], "little")
    port = int.from_bytes(raw[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port


class Area:
    """A view over the three parts of a mapped socket area, from the program's side.

    Each part is a buffer, or a pointer to memory that the caller keeps.
    """

    def __init__(
        self,
        program: CData,
        server: CData,
        hint: CData,
        slots: int,
        number: int = 0,
        *,
        lane: int = 0,
    ) -> None:
        parts = tuple(
            part if isinstance(part, ffi.CData) else ffi.from_buffer(part)
            for part in (program, server, hint)
        )
        self._memory = parts
        self.view = ffi.new("struct nt_area *")
        if lib.nt_area_open(self.view, parts[0], parts[1], parts[2], slots) != 0:
            raise OSError(errno.EPROTO, "not a socket area of that many slots")
        self.view.number = number
        self.view.lane = lane


class Program:
    """The areas of one program, and the sockets in them."""

    def __init__(self, ring: Callable[[int], None] = lambda _doorbell: None) -> None:
        self.context = ffi.new("struct nt_sock_context *")
        lib.nt_sock_context_init(self.context, ffi.NULL)
        self.wake = ffi.new("struct nt_sock_wake *")
        self._ring = ring
        self._keep: list[object] = []
        self._sockets: dict[CData, Socket] = {}
        self._doorbells = ffi.new("int[]", lib.NT_SOCK_AREAS_MAX)

    def run_on(self, core: int) -> None:
        """Run on that core from now on, as far as servers can tell."""
        self._core = ffi.callback("uint32_t(void)", lambda: core)
        self.context.core = self._core

    def attach(self, area: Area, protocol: int, sleeping: CData, doorbell: int) -> int:
        """Attach an area; `sleeping` points to its server's flag (uint32_t). Its index."""
        self._keep += [area, sleeping]
        return _check(lib.nt_sock_attach(self.context, area.view, protocol, sleeping, doorbell))

    def flush(self) -> list[int]:
        """Ring every server that must be; the doorbells that were."""
        count = lib.nt_sock_flush(self.context, self.wake, self._doorbells)
        bells = [self._doorbells[i] for i in range(count)]
        for bell in bells:
            self._ring(bell)
        return bells

    def socket(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        protocol: int = 0,
    ) -> "Socket":
        """A new socket; BlockingIOError if no slot is granted just now."""
        new = Socket(self)
        try:
            _check(lib.nt_sock_create(self.context, new.sock, family, kind, protocol, self.wake))
        finally:
            self.flush()
        self.register(new)
        return new

    def joined(self, area: int, slot: int, generation: int, family: int = _AF_INET) -> "Socket":
        """A listening socket of another program's, in the slot that JOIN answered."""
        new = Socket(self)
        _check(lib.nt_sock_joined(self.context, new.sock, family, area, slot, generation))
        self.register(new)
        return new

    def resumed(self, old: "Socket", area: int, slot: int, generation: int) -> "Socket":
        """Another program's socket, in the slot of this one's to which it was moved."""
        new = Socket(self)
        image = ffi.new("struct nt_sock_image *")
        lib.nt_sock_save(old.sock, image)
        assert lib.nt_sock_restore(new.sock, image, ffi.sizeof("struct nt_sock_image"))
        protocol = old.identity().protocol
        _check(lib.nt_sock_resume(self.context, new.sock, protocol, area, slot, generation))
        self.register(new)
        return new

    def abandon(self, old: "Socket") -> None:
        """Let the server have the slot back that a socket was moved out of."""
        lib.nt_sock_abandon(old.sock, self.wake)
        self.flush()
        self.forget(old)

    def register(self, new: "Socket", part: "Socket | None" = None) -> None:
        """Let sweeps find a socket, also by what it is in a further lane."""
        self._sockets[(part or new).sock] = new

    def forget(self, old: "Socket", part: "Socket | None" = None) -> None:
        """Let no sweep find a socket that was closed, or what it is in a further lane."""
        gone = (part or old).sock
        del self._sockets[gone]
        # The object outlives its socket: a sweep that runs at the same time may still see it.
        self._keep.append(gone)

    def find(self, sock: CData) -> "Socket | None":
        """The socket of a C object."""
        return self._sockets.get(sock)


class Socket:
    """One socket; made by Program.socket() or accept()."""

    def __init__(self, program: Program) -> None:
        self.program = program
        # A cdata object of its own, aligned as malloc does: 16 bytes are enough for C, the
        # line it starts in is only a matter of speed.
        self.sock = ffi.new("struct nt_sock *")
        self._listener: object = None
        # What it is in further lanes.
        self._parts: list[Socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, result: int) -> int:
        self.program.flush()
        return _check(result)

    # -- Names and connections --

    def identity(self) -> Identity:
        """What messages to the syscall server name the socket by."""
        found = ffi.new("struct nt_sock_identity *")
        lib.nt_sock_identify(self.sock, found)
        return Identity(found.protocol, found.area, found.slot, found.generation, found.options)

    def bind_check(self, address: Address) -> Endpoint:
        """The first half of bind(): what to ask the syscall server for."""
        raw, length = _sockaddr(address)
        local = ffi.new("struct nt_endpoint *")
        _check(lib.nt_sock_bind_check(self.sock, raw, length, local))
        return Endpoint(bytes(local.addr), local.port)

    def bound(self, local: Endpoint) -> None:
        """The second half of bind(): what the syscall server answered."""
        endpoint = ffi.new("struct nt_endpoint *", {"addr": local.addr, "port": local.port})
        lib.nt_sock_bound(self.sock, endpoint)

    def bound_name(self) -> Endpoint | None:
        """The name that bound() gave, for a fresh slot."""
        local = ffi.new("struct nt_endpoint *")
        if not lib.nt_sock_bound_name(self.sock, local):
            return None
        return Endpoint(bytes(local.addr), local.port)

    def listen_check(self) -> int:
        """The first half of listen(); 1 if the socket listens already."""
        return _check(lib.nt_sock_listen_check(self.sock))

    def listening(self, ring: CData, claims: CData, entries: int) -> None:
        """The listener region that listen() got from the syscall server."""
        lib.nt_sock_listening(self.sock, self.open_listener(ring, claims, entries))

    def beside(
        self, part: "Socket", where: Identity, ring: CData, claims: CData, entries: int
    ) -> None:
        """Listen in a further lane, too: `part`, a fresh Socket, is what it is there."""
        listener = part.open_listener(ring, claims, entries)
        self._parts.append(part)
        slot = ffi.new("struct nt_beside *", (where.area, where.slot, where.generation, entries))
        context = self.program.context
        _check(lib.nt_sock_add_part(context, self.sock, part.sock, slot, listener))
        self.program.register(self, part)

    def open_listener(self, ring: CData, claims: CData, entries: int) -> CData:
        """A struct nt_listener over a region; kept as long as the socket."""
        memory = tuple(
            part if isinstance(part, ffi.CData) else ffi.from_buffer(part)
            for part in (ring, claims)
        )
        listener = ffi.new("struct nt_listener *")
        if lib.nt_listener_open(listener, memory[0], memory[1], entries) != 0:
            raise OSError(errno.EPROTO, "not a listener region of that many entries")
        self._listener = (memory, listener)
        return listener

    def connect(self, address: Address | None) -> None:
        """Connect; None disconnects (AF_UNSPEC)."""
        raw, length = _sockaddr(address)
        self._call(
            lib.nt_sock_connect(self.program.context, self.sock, raw, length, self.program.wake)
        )

    def accept(self) -> tuple["Socket", Address]:
        """The oldest pending connection and its peer."""
        accepted = Socket(self.program)
        raw = ffi.new("char[]", _ADDRESS_BYTES)
        length = ffi.new("socklen_t *", _ADDRESS_BYTES)
        self._call(
            lib.nt_sock_accept(
                self.program.context,
                self.sock,
                accepted.sock,
                ffi.cast("struct sockaddr *", raw),
                length,
                self.program.wake,
            )
        )
        self.program.register(accepted)
        return accepted, _address(ffi.buffer(raw, length[0])[:])

    def shutdown(self, how: int) -> int:
        """Shut a direction; 1 if it no longer listens and the syscall server must hear of it."""
        return self._call(lib.nt_sock_shutdown(self.sock, how, self.program.wake))

    def close(self) -> None:
        """Tell the server and forget the slot; again: nothing."""
        if self.program.find(self.sock) is None:
            return
        while (taken := lib.nt_sock_take_part(self.sock, self.program.wake)) != ffi.NULL:
            self.program.flush()
            self.program.forget(self, next(part for part in self._parts if part.sock == taken))
        self._call(lib.nt_sock_close(self.sock, self.program.wake))
        self.program.forget(self)

    def linger_ms(self) -> int:
        """How long a close must linger."""
        return lib.nt_sock_linger_ms(self.sock)

    def drained(self) -> bool:
        """Whether everything sent, and the FIN, is acknowledged."""
        return lib.nt_sock_drained(self.sock)

    def _name(self, ask: Callable[[CData, CData, CData], int]) -> Address:
        raw = ffi.new("char[]", _ADDRESS_BYTES)
        length = ffi.new("socklen_t *", _ADDRESS_BYTES)
        _check(ask(self.sock, ffi.cast("struct sockaddr *", raw), length))
        return _address(ffi.buffer(raw, length[0])[:])

    def getsockname(self) -> Address:
        """The local name."""
        return self._name(lib.nt_sock_getsockname)

    def getpeername(self) -> Address:
        """The peer's name."""
        return self._name(lib.nt_sock_getpeername)

    # -- Data --

    def send(self, data: bytes, flags: int = 0) -> int:
        """Send what fits; how much that was."""
        return self.sendv([data], flags)

    def sendv(self, parts: Iterable[bytes], flags: int = 0, to: Address | None = None) -> int:
        """Send several buffers; `to` names a datagram's destination."""
        buffers = [ffi.from_buffer(part) for part in parts]
        iov = ffi.new("struct iovec[]", [(buffer, len(buffer)) for buffer in buffers])
        raw, length = (ffi.NULL, 0) if to is None else _sockaddr(to)
        return self._call(
            lib.nt_sock_send(self.sock, iov, len(buffers), flags, raw, length, self.program.wake)
        )

    def sendto(self, data: bytes, to: Address, flags: int = 0) -> int:
        """Send a datagram."""
        return self.sendv([data], flags, to)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive up to `size` bytes."""
        return b"".join(self.recvv([size], flags))

    def recvv(self, sizes: list[int], flags: int = 0) -> list[bytes]:
        """Receive into several buffers; what each got."""
        buffers = [ffi.new("char[]", max(size, 1)) for size in sizes]
        iov = ffi.new("struct iovec[]", list(zip(buffers, sizes, strict=True)))
        left = self._call(
            lib.nt_sock_recv(self.sock, iov, len(sizes), flags, ffi.NULL, self.program.wake)
        )
        parts = []
        for buffer, size in zip(buffers, sizes, strict=True):
            parts.append(ffi.buffer(buffer, min(size, left))[:])
            left -= len(parts[-1])
        return parts

    def count(self, size: int, flags: int) -> int:
        """Receive `size` bytes for the result alone: lengths beyond the buffer (MSG_TRUNC)."""
        buffer = ffi.new("char[]", max(size, 1))
        iov = ffi.new("struct iovec *", (buffer, size))
        return self._call(lib.nt_sock_recv(self.sock, iov, 1, flags, ffi.NULL, self.program.wake))

    def recvmsg(self, size: int, control: int = 0, flags: int = 0) -> Received:
        """Receive with name and `control` bytes of room for ancillary data."""
        buffer = ffi.new("char[]", max(size, 1))
        name = ffi.new("char[]", _ADDRESS_BYTES)
        ancillary = ffi.new("char[]", max(control, 1))
        message = ffi.new("struct msghdr *")
        iov = ffi.new("struct iovec *", (buffer, size))
        message.msg_name, message.msg_namelen = name, _ADDRESS_BYTES
        message.msg_iov, message.msg_iovlen = iov, 1
        message.msg_control, message.msg_controllen = ancillary, control
        count = self._call(lib.nt_sock_recvmsg(self.sock, message, flags, self.program.wake))
        raw = ffi.buffer(name, message.msg_namelen)[:]
        return Received(
            ffi.buffer(buffer, min(count, size))[:],
            _address(raw) if raw else ("", 0),
            message.msg_flags,
            tuple(_ancillary(ffi.buffer(ancillary, message.msg_controllen)[:])),
        )

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address]:
        """Receive a datagram and where it came from."""
        got = self.recvmsg(size, 0, flags)
        return got.data, got.address

    def sendfile(self, data: bytes, flags: int = 0) -> int:
        """Read `data` straight into the ring; the bytes that fitted."""
        piece = ffi.new("void **")
        room = self._call(lib.nt_sock_reserve(self.sock, len(data), piece))
        if room > 0:
            ffi.memmove(piece[0], data, room)
            lib.nt_sock_commit(self.sock, room, flags, self.program.wake)
            self.program.flush()
        return room

    # -- Events --

    def poll(self) -> int:
        """All events that hold now."""
        return lib.nt_sock_poll(self.sock)

    def at_mark(self) -> bool:
        """Tell if the next byte is the urgent one (SIOCATMARK)."""
        return bool(lib.nt_sock_at_mark(self.sock))

    def events(self) -> int:
        """A number that changes with everything worth a wake-up."""
        return lib.nt_sock_events(self.sock)

    def set_queue(self, number: int) -> None:
        """Name the event queue that hears of the socket from now on."""
        lib.nt_sock_set_queue(self.sock, number)

    # -- Options --

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""
        raw = value.to_bytes(4, "little", signed=True) if isinstance(value, int) else value
        self._call(
            lib.nt_sock_setsockopt(
                self.sock, level, name, ffi.from_buffer(raw), len(raw), self.program.wake
            )
        )

    def getsockopt(self, level: int, name: int) -> int:
        """An option that is an int."""
        return int.from_bytes(self.getsockopt_bytes(level, name, 4), "little", signed=True)

    def getsockopt_bytes(self, level: int, name: int, size: int) -> bytes:
        """An option of up to `size` bytes."""
        value = ffi.new("char[]", max(size, 1))
        length = ffi.new("socklen_t *", size)
        _check(lib.nt_sock_getsockopt(self.sock, level, name, value, length))
        return bytes(ffi.buffer(value, length[0]))

    def rx_bytes(self) -> int:
        """FIONREAD: unread bytes, or those of the next datagram."""
        return _check(lib.nt_sock_rx_bytes(self.sock))

    def tx_bytes(self) -> int:
        """SIOCOUTQ: bytes sent and not yet acknowledged."""
        return _check(lib.nt_sock_tx_bytes(self.sock))


class Queue:
    """An event queue: what a thread that waits for several sockets sweeps."""

    def __init__(self, program: Program, number: int) -> None:
        self._program = program
        self._queue = ffi.new("struct nt_queue *")
        lib.nt_queue_init(program.context, self._queue, number)

    def collect(self, limit: int = _COLLECT_BATCH) -> list[Socket]:
        """Up to `limit` sockets that are worth a look."""
        out = ffi.new("struct nt_sock *[]", limit)
        count = lib.nt_queue_collect(self._program.context, self._queue, out, limit)
        found = (self._program.find(out[i]) for i in range(count))
        return [sock for sock in found if sock is not None]

    def sleep(self) -> bool:
        """True if the caller may block; wake() must follow in any case."""
        return lib.nt_queue_sleep(self._program.context, self._queue)

    def wake(self) -> None:
        """After sleep(), whatever it said."""
        lib.nt_queue_wake(self._program.context, self._queue)


def _ancillary(raw: bytes) -> Iterable[tuple[int, int, bytes]]:
    """The control messages (struct cmsghdr, 64 bit) of a buffer."""
    at = 0
    while at + 16 <= len(raw):
        length = int.from_bytes(raw[at : at + 8], "little")
        if length < 16:
            return
        level = int.from_bytes(raw[at + 8 : at + 12], "little")
        kind = int.from_bytes(raw[at + 12 : at + 16], "little")
        yield level, kind, raw[at + 16 : at + length]
        at += (length + 7) & ~7
