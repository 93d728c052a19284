"""sockaddr against the kernel: which it refuses, with which errno, and what comes back."""

import ctypes
import errno
import socket
import struct

import pytest
from newtos_py.libc_shim.sockets._sockets import ffi, lib

LIBC = ctypes.CDLL(None, use_errno=True)
BIND, CONNECT, SENDTO, CONNECT_DGRAM = 1, 2, 3, 4
V6_FAMILY = socket.AF_INET6
MAPPED = bytes(10) + b"\xff\xff"

V4 = struct.pack("H", socket.AF_INET) + (80).to_bytes(2, "big") + bytes([10, 0, 0, 2]) + bytes(8)
V4_ANY = struct.pack("H", socket.AF_INET) + bytes(14)
UNSPEC = bytes(16)
UNSPEC_HOST = bytes(2) + V4[2:]
UNIX = struct.pack("H", socket.AF_UNIX) + bytes(26)


def v6(address: str, scope: int = 0, port: int = 80) -> bytes:
    raw = socket.inet_pton(socket.AF_INET6, address)
    head = struct.pack("H", socket.AF_INET6) + port.to_bytes(2, "big") + bytes(4)
    return head + raw + struct.pack("I", scope)


def convert(
    family: int, use: int, raw: bytes, v6only: bool = False
) -> tuple[bytes, int, int] | int:
    endpoint = ffi.new("struct nt_endpoint *")
    address = ffi.from_buffer("struct sockaddr *", raw + bytes(32))
    error = lib.nt_endpoint_from_sockaddr(endpoint, family, v6only, use, address, len(raw))
    return (bytes(endpoint.addr), endpoint.port, endpoint.scope) if error == 0 else -error


@pytest.mark.parametrize("use", [BIND, CONNECT, SENDTO, CONNECT_DGRAM])
def test_what_is_taken(use: int) -> None:
    assert convert(socket.AF_INET, use, V4) == (MAPPED + bytes([10, 0, 0, 2]), 80, 0)
    raw = v6("fe80::1", 3)
    assert convert(socket.AF_INET6, use, raw) == (raw[8:24], 80, 3)
    assert convert(socket.AF_INET6, use, raw[:24]) == (raw[8:24], 80, 0)
    mapped = v6("::ffff:10.0.0.2")
    assert convert(socket.AF_INET6, use, mapped) == (MAPPED + bytes([10, 0, 0, 2]), 80, 0)


def test_wildcards() -> None:
    assert convert(socket.AF_INET, BIND, V4_ANY) == (MAPPED + bytes(4), 0, 0)
    assert convert(socket.AF_INET6, BIND, v6("::")) == (bytes(16), 80, 0)
    loopback = MAPPED + bytes([127, 0, 0, 1])
    for use in (CONNECT, SENDTO):
        assert convert(socket.AF_INET, use, V4_ANY) == (loopback, 0, 0)
        assert convert(socket.AF_INET6, use, v6("::")) == (bytes(15) + b"\x01", 80, 0)
        assert convert(socket.AF_INET6, use, v6("::ffff:0.0.0.0")) == (loopback, 80, 0)


def kernel_errno(family: int, kind: int, use: int, raw: bytes, v6only: bool) -> int:
    """What the kernel says to a raw sockaddr: 0 if it takes it, or gets as far as the network."""
    with socket.socket(family, kind) as sock:
        sock.setblocking(False)
        if v6only:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ctypes.set_errno(0)
        if use == BIND:
            LIBC.bind(sock.fileno(), raw, len(raw))
        elif use == SENDTO:
            LIBC.sendto(sock.fileno(), b"", 0, 0, raw, len(raw))
        else:
            LIBC.connect(sock.fileno(), raw, len(raw))
        return ctypes.get_errno()


REFUSED = (errno.EINVAL, errno.EAFNOSUPPORT)


@pytest.mark.parametrize("use", [BIND, CONNECT, SENDTO, CONNECT_DGRAM])
@pytest.mark.parametrize(
    ("family", "v6only"),
    [(socket.AF_INET, False), (socket.AF_INET6, False), (socket.AF_INET6, True)],
    ids=["v4", "v6", "v6only"],
)
def test_what_is_refused_is_what_the_kernel_refuses(family: int, use: int, v6only: bool) -> None:
    kind = socket.SOCK_STREAM if use == CONNECT else socket.SOCK_DGRAM
    loopback = struct.pack("H", 2) + (9).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    for raw in (
        loopback,
        loopback[:15],
        loopback[:2],
        loopback[:1],
        b"",
        v6("::1", port=9),
        v6("::1", port=9)[:27],
        v6("::1", port=9)[:23],
        v6("::ffff:127.0.0.1", port=9),
        UNIX,
        UNSPEC_HOST,
    ):
        unspec = raw[:2] == bytes(2)
        if unspec and (use in (CONNECT, CONNECT_DGRAM) or (use, family) == (SENDTO, V6_FAMILY)):
            continue  # the caller's to look for
        any_port = raw[:2] + bytes(len(raw[2:4])) + raw[4:]
        given = any_port if use == BIND else raw
        theirs = kernel_errno(family, kind, use, given, v6only)
        ours = convert(family, use, given, v6only)
        error = ours if isinstance(ours, int) else 0
        if theirs in REFUSED or error in REFUSED:
            assert errno.errorcode.get(error) == errno.errorcode.get(theirs), raw.hex()


@pytest.mark.parametrize("room", [0, 1, 2, 15, 16, 28, 100])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_names_are_cut_to_the_room_there_is(family: int, room: int) -> None:
    endpoint = ffi.new("struct nt_endpoint *", {"addr": MAPPED + bytes([10, 0, 0, 2]), "port": 80})
    raw = ffi.new("char[]", b"\xee" * 128)
    length = ffi.new("socklen_t *", room)
    lib.nt_endpoint_to_sockaddr(endpoint, family, ffi.cast("struct sockaddr *", raw), length)
    whole = V4 if family == socket.AF_INET else v6("::ffff:10.0.0.2")
    assert length[0] == len(whole)
    given = min(room, len(whole))
    assert ffi.buffer(raw, 128)[:] == whole[:given] + b"\xee" * (128 - given)
