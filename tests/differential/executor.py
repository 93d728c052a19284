"""Makes socket calls on demand and tells all that a program can see of them.

Reads one JSON list a line, `[call, arguments...]`, and answers with one line: the result and the
state of every socket. The same file runs on Linux and on a host, so that answers can be compared;
whatever differs between two runs (numbers of descriptors, ports that were chosen) gets a name.

Calls go to libc by ctypes, not through Python's socket module, which adds checks of its own. All
sockets are nonblocking. `--alone` moves to a network namespace of its own, `name=address` gives an
address a name. Sockets have slots, 0 to 7; ports are counted from a base that each script
has to itself, so that no TIME-WAIT of one is met by the next.
"""

import ctypes
import errno
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
SLOTS = 8
SETTLE_S = float(os.environ.get("SETTLE_S", "10"))
EVENTS = 0x27FF & ~0x0038  # all that can be asked for

HOSTS = {
    "any": "0.0.0.0",
    "lo": "127.0.0.1",
    "lo2": "127.0.0.2",
    "none": "10.99.99.99",  # no route
    "bcast": "255.255.255.255",
    "mcast": "239.1.2.3",
    "any6": "::",
    "lo6": "::1",
    "mapped": "::ffff:127.0.0.1",
    "mapped_any": "::ffff:0.0.0.0",
    "none6": "2001:db8::9",
}
NAMES = {text: name for name, text in HOSTS.items()}


class Executor:
    """The sockets of a script."""

    def __init__(self) -> None:
        self.fds: list[int] = [-1] * SLOTS
        self.base = 20000
        self.blocked = False

    # -- Addresses ---------------------------------------------------------------------------

    def packed(self, address: Any) -> bytes:
        """`[host, port]` with ports counted from the base, `"unspec"`, or hexadecimal bytes."""
        if address == "unspec":
            return bytes(16)
        if isinstance(address, str):
            return bytes.fromhex(address)
        host, port = HOSTS[address[0]], address[1]
        number = self.base + port if port else 0
        if ":" in host:
            inner = socket.inet_pton(socket.AF_INET6, host)
            return struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(number), 0, inner, 0)
        return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(number), socket.inet_aton(host))

    def unpacked(self, raw: bytes) -> Any:
        """An address in words."""
        if len(raw) < 8:
            return raw[:2].hex()
        family, port = struct.unpack("=HH", raw[:4])
        port = socket.ntohs(port)
        count = port - self.base
        said = count if 0 < count < 8 else "free" if port else 0
        if family == socket.AF_INET and len(raw) == 16:
            text = socket.inet_ntoa(raw[4:8])
        elif family == socket.AF_INET6 and len(raw) == 28:
            text = socket.inet_ntop(socket.AF_INET6, raw[8:24])
        else:
            return [family, len(raw)]
        return [NAMES.get(text, text), said]

    # -- Results -----------------------------------------------------------------------------

    def said(self, result: int) -> Any:
        if result >= 0:
            return result
        return errno.errorcode.get(ctypes.get_errno(), "?")

    def state(self) -> list[Any]:
        """Of each open socket: what poll says, how many bytes wait, whether it has a peer."""
        seen: list[Any] = []
        for slot, fd in enumerate(self.fds):
            if fd < 0:
                continue
            poller = select.poll()
            poller.register(fd, EVENTS)
            mask = dict(poller.poll(0)).get(fd, 0)
            waiting = ctypes.c_int(-1)
            answer = libc.ioctl(fd, 0x541B, ctypes.byref(waiting))  # FIONREAD
            bytes_said = waiting.value if answer == 0 else self.said(answer)
            length = ctypes.c_uint32(0)
            named = libc.getpeername(fd, b"", ctypes.byref(length)) == 0
            seen.append([slot, mask, bytes_said, named])
        return seen

    def settled(self, expected: Any) -> list[Any]:
        """The state once it is as expected, or at the deadline; without one, once it stays."""
        deadline = time.monotonic() + SETTLE_S
        seen = self.state()
        if expected is None:
            while time.monotonic() < deadline:
                select.select([], [], [], 0)
                again = self.state()
                if again == seen:
                    break
                seen = again
            return seen
        while seen != expected and time.monotonic() < deadline:
            select.select([], [], [], 0.0005)
            seen = self.state()
        return seen

    # -- Calls -------------------------------------------------------------------------------

    def take(self, slot: int, fd: int) -> Any:
        if fd < 0:
            return self.said(fd)
        if self.fds[slot] >= 0:
            libc.close(self.fds[slot])
        self.fds[slot] = fd
        return "fd"

    def do_socket(self, slot: int, family: int, kind: int, protocol: int) -> Any:
        return self.take(slot, libc.socket(family, kind | socket.SOCK_NONBLOCK, protocol))

    def do_close(self, slot: int) -> Any:
        fd, self.fds[slot] = self.fds[slot], -1
        return self.said(libc.close(fd))

    def do_dup(self, slot: int, to: int) -> Any:
        return self.take(to, libc.dup(self.fds[slot]))

    def do_bind(self, slot: int, address: Any) -> Any:
        raw = self.packed(address)
        return self.said(libc.bind(self.fds[slot], raw, len(raw)))

    def do_connect(self, slot: int, address: Any) -> Any:
        raw = self.packed(address)
        return self.said(libc.connect(self.fds[slot], raw, len(raw)))

    def do_listen(self, slot: int, backlog: int) -> Any:
        return self.said(libc.listen(self.fds[slot], backlog))

    def do_accept(self, slot: int, to: int, flags: int, room: int) -> Any:
        name = ctypes.create_string_buffer(128)
        length = ctypes.c_uint32(room)
        fd = libc.accept4(self.fds[slot], name, ctypes.byref(length), flags | socket.SOCK_NONBLOCK)
        said = self.take(to, fd)
        return [said, self.unpacked(name.raw[: min(length.value, room)])] if fd >= 0 else said

    def do_shutdown(self, slot: int, how: int) -> Any:
        return self.said(libc.shutdown(self.fds[slot], how))

    def name(self, call: Callable[..., int], slot: int, room: int) -> Any:
        name = ctypes.create_string_buffer(128)
        length = ctypes.c_int32(room)
        result = call(self.fds[slot], name, ctypes.byref(length))
        if result < 0:
            return self.said(result)
        return [length.value, self.unpacked(name.raw[: max(0, min(length.value, room))])]

    def do_getsockname(self, slot: int, room: int) -> Any:
        return self.name(libc.getsockname, slot, room)

    def do_getpeername(self, slot: int, room: int) -> Any:
        return self.name(libc.getpeername, slot, room)

    def do_getsockopt(self, slot: int, level: int, name: int, room: int) -> Any:
        value = ctypes.create_string_buffer(b"\xee" * 512, 512)
        length = ctypes.c_int32(room)
        result = libc.getsockopt(self.fds[slot], level, name, value, ctypes.byref(length))
        if result < 0:
            return self.said(result)
        return [length.value, value.raw[: max(0, min(length.value, 512))].hex()]

    def do_setsockopt(self, slot: int, level: int, name: int, value: str) -> Any:
        raw = bytes.fromhex(value)
        return self.said(libc.setsockopt(self.fds[slot], level, name, raw, len(raw)))

    def do_fcntl(self, slot: int, command: int, argument: int) -> Any:
        return self.said(libc.fcntl(self.fds[slot], command, ctypes.c_long(argument)))

    def do_ioctl(self, slot: int, request: int, value: str) -> Any:
        buffer = ctypes.create_string_buffer(bytes.fromhex(value), 128)
        result = libc.ioctl(self.fds[slot], ctypes.c_ulong(request), buffer)
        return self.said(result) if result < 0 else [result, buffer.raw[: len(value) // 2].hex()]

    def do_send(self, slot: int, size: int, flags: int, address: Any = None) -> Any:
        data = bytes(i % 251 for i in range(size))
        raw = self.packed(address) if address is not None else None
        flags |= socket.MSG_NOSIGNAL
        return self.said(
            libc.sendto(self.fds[slot], data, size, flags, raw, len(raw) if raw else 0)
        )

    def do_recv(self, slot: int, size: int, flags: int, room: int = 0) -> Any:
        data = ctypes.create_string_buffer(max(size, 1))
        name = ctypes.create_string_buffer(128) if room else None
        length = ctypes.c_uint32(room)
        got = libc.recvfrom(
            self.fds[slot], data, size, flags, name, ctypes.byref(length) if room else None
        )
        if got < 0:
            return self.said(got)
        answer: list[Any] = [got, digest(data.raw[: min(got, size)])]
        if name is not None:
            answer.append([length.value, self.unpacked(name.raw[: min(length.value, room)])])
        return answer

    def do_read(self, slot: int, size: int) -> Any:
        data = ctypes.create_string_buffer(max(size, 1))
        got = libc.read(self.fds[slot], data, size)
        return self.said(got) if got < 0 else [got, digest(data.raw[:got])]

    def do_write(self, slot: int, size: int) -> Any:
        return self.said(libc.write(self.fds[slot], bytes(i % 251 for i in range(size)), size))

    def vector(self, sizes: list[int], filled: bool) -> tuple[Any, list[Any]]:
        buffers = [ctypes.create_string_buffer(max(size, 1)) for size in sizes]
        pieces = (ctypes.c_size_t * (2 * len(sizes)))()
        for i, (buffer, size) in enumerate(zip(buffers, sizes, strict=True)):
            if filled:
                ctypes.memmove(buffer, bytes((i + k) % 251 for k in range(size)), size)
            pieces[2 * i], pieces[2 * i + 1] = ctypes.addressof(buffer), size
        return pieces, buffers

    def do_sendmsg(
        self, slot: int, sizes: list[int], flags: int, address: Any, control: list[Any]
    ) -> Any:
        pieces, buffers = self.vector(sizes, filled=True)
        raw = self.packed(address) if address is not None else b""
        name = ctypes.create_string_buffer(raw, max(len(raw), 1))
        packed = b"".join(cmsg(level, kind, bytes.fromhex(data)) for level, kind, data in control)
        controls = ctypes.create_string_buffer(packed, max(len(packed), 1))
        header = MsgHdr(
            ctypes.addressof(name) if raw else None,
            len(raw),
            ctypes.addressof(pieces),
            len(sizes),
            ctypes.addressof(controls) if packed else None,
            len(packed),
            0,
        )
        result = libc.sendmsg(self.fds[slot], ctypes.byref(header), flags | socket.MSG_NOSIGNAL)
        del buffers
        return self.said(result)

    def do_recvmsg(self, slot: int, sizes: list[int], flags: int, room: int, controls: int) -> Any:
        pieces, buffers = self.vector(sizes, filled=False)
        name = ctypes.create_string_buffer(128)
        control = ctypes.create_string_buffer(512)
        header = MsgHdr(
            ctypes.addressof(name) if room else None,
            room,
            ctypes.addressof(pieces),
            len(sizes),
            ctypes.addressof(control) if controls else None,
            controls,
            0,
        )
        got = libc.recvmsg(self.fds[slot], ctypes.byref(header), flags)
        if got < 0:
            return self.said(got)
        data = b"".join(b.raw[:size] for b, size in zip(buffers, sizes, strict=True))
        return [
            got,
            digest(data[: min(got, len(data))]),
            header.flags,
            [header.namelen, self.unpacked(name.raw[: min(header.namelen, room)])],
            cmsgs(control.raw[: header.controllen]),
        ]

    def do_look(self) -> Any:
        """Nothing: for the state."""
        return 0

    def do_reset(self, base: int) -> Any:
        """Close all; count ports from `base`."""
        for slot, fd in enumerate(self.fds):
            if fd >= 0:
                libc.close(fd)
                self.fds[slot] = -1
        self.base = base
        return 0


class MsgHdr(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


def digest(data: bytes) -> str:
    """Bytes in few letters: the first ones, and a sum over all."""
    return f"{data[:8].hex()}:{sum((i % 97 + 1) * byte for i, byte in enumerate(data))}"


def cmsg(level: int, kind: int, data: bytes) -> bytes:
    """One control message, padded."""
    length = 16 + len(data)
    return struct.pack("=Qii", length, level, kind) + data + bytes(-length % 8)


def cmsgs(raw: bytes) -> list[Any]:
    """Control messages, as (level, type, data); times left out."""
    found: list[Any] = []
    while len(raw) >= 16:
        length, level, kind = struct.unpack("=Qii", raw[:16])
        if length < 16:
            break
        data = raw[16:length].hex()
        timed = level == socket.SOL_SOCKET and kind in (29, 35, 37)
        found.append([level, kind, len(data) if timed else data])
        raw = raw[(length + 7) & ~7 :]
    return found


def be_alone() -> None:
    """Move to a network namespace of one's own, with a loopback device and nothing else."""
    new_user, new_net = 0x10000000, 0x40000000
    if libc.unshare(new_net) < 0 and libc.unshare(new_user | new_net) < 0:
        sys.exit(f"cannot make a network namespace: {errno.errorcode[ctypes.get_errno()]}")
    set_flags, up = 0x8914, 1
    with socket.socket() as any_socket:
        request = ctypes.create_string_buffer(struct.pack("=16sH", b"lo", up), 40)
        assert libc.ioctl(any_socket.fileno(), ctypes.c_ulong(set_flags), request) == 0


def main() -> None:
    executor = Executor()
    if "--alone" in sys.argv:
        be_alone()
    for word in sys.argv[1:]:
        name, equals, text = word.partition("=")
        if equals:
            HOSTS[name], NAMES[text] = text, name
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        (call, *arguments), expected = json.loads(line)
        result = getattr(executor, f"do_{call}")(*arguments)
        print(json.dumps([result, executor.settled(expected)]), flush=True)


if __name__ == "__main__":
    main()
