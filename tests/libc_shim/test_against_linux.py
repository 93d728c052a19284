"""The same scenario on Linux's own sockets and on ours must see the same, poll masks included.

A scenario is a list of steps against one socket whose peer the test plays: on Linux with a
second socket on loopback, on ours by doing what the TCP server does when such segments arrive.
Each step appends what the program saw.
"""

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from .conftest import BROKEN, CONNECTING, TX_DONE, Listener, World

Seen = list[object]
ALL_EVENTS = (
    select.POLLIN
    | select.POLLPRI
    | select.POLLOUT
    | select.POLLRDNORM
    | select.POLLWRNORM
    | select.POLLRDHUP
)
WAIT_MS = 2000


class Peer(Protocol):
    """What the other end may do, and the socket under test."""

    sock: "socket.socket | Socket"

    def poll(self) -> int: ...
    def sends(self, data: bytes) -> None: ...
    def shuts(self) -> None: ...
    def resets(self) -> None: ...
    def acknowledges_fin(self) -> None: ...


def kernel_poll(sock: socket.socket) -> int:
    poller = select.poll()
    poller.register(sock, ALL_EVENTS)
    found = poller.poll(0)
    return found[0][1] if found else 0


def wait_until(sock: socket.socket, events: int) -> None:
    """Loopback delivers within the sender's call, except where the kernel defers it."""
    poller = select.poll()
    poller.register(sock, events)
    assert poller.poll(WAIT_MS), "nothing happened on loopback"


class KernelPeer:
    """Both ends are Linux's, on loopback."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.connect_ex(listener.getsockname())
            self.other, _ = listener.accept()
        wait_until(self.sock, select.POLLOUT)

    def poll(self) -> int:
        return kernel_poll(self.sock)

    def sends(self, data: bytes) -> None:
        self.other.send(data)
        wait_until(self.sock, select.POLLIN)

    def shuts(self) -> None:
        self.other.shutdown(socket.SHUT_WR)
        wait_until(self.sock, select.POLLRDHUP)

    def resets(self) -> None:
        self.other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.other.close()
        wait_until(self.sock, select.POLLHUP)

    def acknowledges_fin(self) -> None:
        pass  # the kernel has done that

    def close(self) -> None:
        self.sock.close()
        self.other.close()


class OurPeer:
    """Our socket; the peer's doings as the TCP server would show them."""

    def __init__(self, world: World) -> None:
        self.server = world.tcp
        world.tcp.grant()
        self.sock = world.program.socket()
        self.slot = self.sock.identity().slot
        with pytest.raises(BlockingIOError):
            self.sock.connect(("10.0.0.2", 80))
        self.server.answer(self.slot)
        self.server.connected(self.slot)

    def poll(self) -> int:
        return self.sock.poll() & (ALL_EVENTS | select.POLLHUP | select.POLLERR)

    def sends(self, data: bytes) -> None:
        self.server.deliver(self.slot, data)

    def shuts(self) -> None:
        self.server.fin(self.slot)

    def resets(self) -> None:
        # tcp_reset(): EPIPE where the peer's FIN was there before.
        fin = self.server.ours(self.slot).flags & 1
        self.server.broken(self.slot, errno.EPIPE if fin else errno.ECONNRESET)

    def acknowledges_fin(self) -> None:
        self.server.ours(self.slot).flags |= TX_DONE

    def close(self) -> None:
        self.sock.close()


def outcome(call: Callable[..., object], *args: object) -> object:
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def receive(peer: Peer, size: int = 100, flags: int = 0) -> object:
    return outcome(lambda: peer.sock.recv(size, flags))


def send(peer: Peer, data: bytes = b"data") -> object:
    return outcome(lambda: peer.sock.send(data, socket.MSG_NOSIGNAL))


def so_error(peer: Peer) -> object:
    return outcome(lambda: peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def shut(peer: Peer, how: int) -> object:
    return outcome(lambda: peer.sock.shutdown(how) or 0)


def named(peer: Peer) -> object:
    return outcome(lambda: peer.sock.getpeername() and "named")


def fresh_connection(peer: Peer) -> Iterator[object]:
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield so_error(peer)
    yield named(peer)
    yield receive(peer, 1, socket.MSG_OOB)
    yield receive(peer, 1, socket.MSG_ERRQUEUE)


def data_and_fin(peer: Peer) -> Iterator[object]:
    peer.sends(b"abcdef")
    yield peer.poll()
    yield receive(peer, 2, socket.MSG_PEEK)
    yield receive(peer, 2)
    peer.shuts()
    yield peer.poll()
    yield receive(peer, 100)
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield so_error(peer)
    yield shut(peer, socket.SHUT_WR)
    peer.acknowledges_fin()
    yield peer.poll()
    yield send(peer)
    yield receive(peer)


def reset(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield peer.poll()
    yield receive(peer)
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield named(peer)
    yield shut(peer, socket.SHUT_RDWR)
    yield so_error(peer)


def reset_seen_by_send(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield send(peer)
    yield send(peer)
    yield receive(peer)
    yield peer.poll()


def reset_seen_by_so_error(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield so_error(peer)
    yield so_error(peer)
    yield receive(peer)
    yield send(peer)


def reset_behind_data(peer: Peer) -> Iterator[object]:
    peer.sends(b"last words")
    peer.resets()
    yield peer.poll()
    yield receive(peer, 4)
    yield receive(peer, 100)
    yield receive(peer)
    yield receive(peer)


def reset_after_fin(peer: Peer) -> Iterator[object]:
    peer.shuts()
    yield receive(peer)
    peer.resets()
    yield peer.poll()
    yield receive(peer)
    yield so_error(peer)
    yield send(peer)


def shut_write(peer: Peer) -> Iterator[object]:
    yield shut(peer, socket.SHUT_WR)
    yield peer.poll()
    yield send(peer)
    yield receive(peer)
    peer.sends(b"still")
    yield peer.poll()
    yield receive(peer)
    yield shut(peer, socket.SHUT_WR)


def shut_read(peer: Peer) -> Iterator[object]:
    yield shut(peer, socket.SHUT_RD)
    yield peer.poll()
    yield receive(peer)
    peer.sends(b"late")
    yield receive(peer)
    yield receive(peer)
    yield send(peer)
    yield shut(peer, socket.SHUT_WR)
    yield peer.poll()


def connect_again(peer: Peer) -> Iterator[object]:
    address = ("127.0.0.1", 1)
    yield outcome(lambda: peer.sock.connect(address))
    yield outcome(lambda: peer.sock.connect(address))
    yield outcome(lambda: peer.sock.accept() and None)


def connect_after_reset(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield outcome(lambda: peer.sock.connect(("127.0.0.1", 1)))
    yield peer.poll()
    yield send(peer)


SCENARIOS = [
    fresh_connection,
    data_and_fin,
    reset,
    reset_seen_by_send,
    reset_seen_by_so_error,
    reset_behind_data,
    reset_after_fin,
    shut_write,
    shut_read,
    connect_again,
    connect_after_reset,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_connection(scenario: Callable[[Peer], Iterator[object]], world: World) -> None:
    kernel, ours = KernelPeer(), OurPeer(world)
    try:
        expected = list(scenario(kernel))
        assert list(scenario(ours)) == expected
    finally:
        kernel.close()
        ours.close()


# -- Sockets without a connection ------------------------------------------------------------


def never_connected(sock: "socket.socket | Socket", poll: Callable[[], int]) -> Iterator[object]:
    yield poll()
    yield outcome(lambda: sock.recv(1))
    yield outcome(lambda: sock.send(b"x", socket.MSG_NOSIGNAL))
    yield outcome(sock.getpeername)
    yield outcome(sock.getsockname)
    yield outcome(sock.accept)
    yield outcome(lambda: sock.shutdown(socket.SHUT_WR))
    yield poll()
    yield outcome(lambda: sock.shutdown(socket.SHUT_RDWR))
    yield poll()
    yield outcome(lambda: sock.recv(1))


def unconnected_datagrams(
    sock: "socket.socket | Socket", poll: Callable[[], int]
) -> Iterator[object]:
    yield poll()
    yield outcome(lambda: sock.recv(1))
    yield outcome(lambda: sock.send(b"x"))
    yield outcome(lambda: sock.sendto(bytes(65508), ("127.0.0.1", 9)))
    yield outcome(lambda: sock.sendto(b"x", ("127.0.0.1", 0)))
    yield outcome(sock.getpeername)
    yield outcome(sock.accept)
    yield outcome(lambda: sock.shutdown(socket.SHUT_RD))
    yield poll()
    yield outcome(lambda: sock.recv(1, socket.MSG_DONTWAIT))
    yield outcome(lambda: sock.shutdown(socket.SHUT_WR))
    yield poll()
    yield outcome(lambda: sock.sendto(b"x", ("127.0.0.1", 9)))


@pytest.mark.parametrize(
    ("kind", "scenario"),
    [(socket.SOCK_STREAM, never_connected), (socket.SOCK_DGRAM, unconnected_datagrams)],
    ids=["stream", "dgram"],
)
def test_without_a_connection(
    kind: int,
    scenario: Callable[["socket.socket | Socket", Callable[[], int]], Iterator[object]],
    world: World,
) -> None:
    ours = world.stream() if kind == socket.SOCK_STREAM else world.dgram()
    with socket.socket(socket.AF_INET, kind) as kernel:
        kernel.setblocking(False)
        expected = list(scenario(kernel, lambda: kernel_poll(kernel)))
    mask = ALL_EVENTS | select.POLLHUP | select.POLLERR
    assert list(scenario(ours, lambda: ours.poll() & mask)) == expected


def test_a_refused_connect(world: World) -> None:
    """Refused while nobody looks; then connect, SO_ERROR, poll, in two orders."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        target = unused.getsockname()

        def scenario(sock: "socket.socket | Socket", poll: Callable[[], int]) -> Iterator[object]:
            yield outcome(lambda: sock.connect(target))
            refuse(sock)
            yield poll()
            yield outcome(lambda: sock.recv(1))
            yield outcome(lambda: sock.recv(1))
            yield outcome(lambda: sock.send(b"x", socket.MSG_NOSIGNAL))
            yield poll()
            yield outcome(lambda: sock.connect(target))
            yield poll()
            yield outcome(lambda: sock.connect(target))
            refuse(sock)
            yield outcome(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            yield outcome(lambda: sock.shutdown(socket.SHUT_WR))
            yield outcome(lambda: sock.connect(target))

        def refuse(sock: "socket.socket | Socket") -> None:
            if isinstance(sock, Socket):
                world.tcp.broken(sock.identity().slot, errno.ECONNREFUSED)
            else:
                wait_until(sock, select.POLLHUP)

        with socket.socket() as kernel:
            kernel.setblocking(False)
            expected = list(scenario(kernel, lambda: kernel_poll(kernel)))
    ours = world.stream()
    world.tcp.grant()
    mask = ALL_EVENTS | select.POLLHUP | select.POLLERR
    assert list(scenario(ours, lambda: ours.poll() & mask)) == expected


def test_a_listening_socket(world: World) -> None:
    def scenario(sock: "socket.socket | Socket", poll: Callable[[], int]) -> Iterator[object]:
        yield poll()
        yield outcome(sock.accept)
        yield outcome(lambda: sock.recv(1))
        yield outcome(lambda: sock.send(b"x", socket.MSG_NOSIGNAL))
        yield outcome(lambda: sock.connect(("127.0.0.1", 9)))
        yield outcome(sock.getpeername)
        yield outcome(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        arrive()
        yield poll()
        accepted, _ = sock.accept()
        yield poll()
        yield accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        yield accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        accepted.close()

    with socket.create_server(("127.0.0.1", 0)) as kernel:
        kernel.setblocking(False)
        kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients: list[socket.socket] = []

        def arrive() -> None:
            clients.append(socket.create_connection(kernel.getsockname()))
            wait_until(kernel, select.POLLIN)

        expected = list(scenario(kernel, lambda: kernel_poll(kernel)))
        for client in clients:
            client.close()
    ours, listener = world.listening()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def arrive() -> None:
        offer(listener, world)

    assert list(scenario(ours, ours.poll)) == expected


def offer(listener: Listener, world: World) -> None:
    listener.offer(world.tcp, ("127.0.0.1", 5000))


def test_a_full_ring_and_its_poll_level(world: World) -> None:
    """POLLOUT comes back at the third, not with the first byte, as Linux's does."""
    sock, slot = world.connected()
    assert sock.send(bytes(20000)) == 16384
    assert outcome(lambda: sock.send(b"x")) == "EAGAIN"
    assert not sock.poll() & select.POLLOUT
    world.tcp.acknowledge(slot, 5000)
    assert not sock.poll() & select.POLLOUT
    world.tcp.acknowledge(slot, 462)
    assert sock.poll() & select.POLLOUT


def test_connecting_looks_like_linux(world: World) -> None:
    """SYN-SENT: no event at all (a kernel socket can't be held there on loopback)."""
    sock = world.stream()
    with pytest.raises(BlockingIOError):
        sock.connect(("10.0.0.2", 80))
    slot = sock.identity().slot
    world.tcp.answer(slot)
    world.tcp.ours(slot).state = CONNECTING
    assert sock.poll() == 0
    world.tcp.broken(slot, errno.ETIMEDOUT)
    assert world.tcp.ours(slot).state == BROKEN
    assert outcome(lambda: sock.recv(1)) == "ETIMEDOUT"
    assert outcome(lambda: sock.recv(1)) == b""


# -- Options ---------------------------------------------------------------------------------

SOL, TCP, IP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP
IPV6 = socket.IPPROTO_IPV6
OPTIONS: list[tuple[int, int, list[int]]] = [
    (SOL, socket.SO_REUSEADDR, [1, 5, 0]),
    (SOL, socket.SO_REUSEPORT, [1]),
    (SOL, socket.SO_KEEPALIVE, [1, -1]),
    (SOL, socket.SO_BROADCAST, [1]),
    (SOL, socket.SO_RCVLOWAT, [7, 0]),
    (SOL, socket.SO_SNDLOWAT, [1]),
    (SOL, socket.SO_OOBINLINE, [1]),
    (SOL, socket.SO_TYPE, [1]),
    (SOL, socket.SO_DOMAIN, []),
    (SOL, socket.SO_PROTOCOL, []),
    (SOL, socket.SO_ACCEPTCONN, []),
    (SOL, socket.SO_ERROR, []),
    (SOL, socket.SO_SNDBUF, [1, 5000, 100_000]),
    (SOL, socket.SO_RCVBUF, [1, 5000, 100_000]),
    (SOL, 9999, [1]),
    (TCP, socket.TCP_NODELAY, [1, 0]),
    (TCP, socket.TCP_CORK, [1, 0]),
    (TCP, socket.TCP_KEEPIDLE, [30, 0, 40_000]),
    (TCP, socket.TCP_KEEPINTVL, [5, 0]),
    (TCP, socket.TCP_KEEPCNT, [4, 128]),
    (TCP, socket.TCP_SYNCNT, [3, 0]),
    (TCP, socket.TCP_USER_TIMEOUT, [1234, -1]),
    (TCP, socket.TCP_MAXSEG, [87, 40_000]),
    (TCP, 9999, [1]),
    (IP, socket.IP_TTL, [12, 0, 256, -1]),
    (IP, socket.IP_TOS, [0x10, 3]),
    (IP, socket.IP_RECVTOS, [1]),
    (IP, 9999, [1]),
    (IPV6, socket.IPV6_V6ONLY, [1, 0]),
    (IPV6, socket.IPV6_UNICAST_HOPS, [9, -1]),
    (IPV6, socket.IPV6_RECVPKTINFO, [1]),
    (IPV6, 9999, [1]),
]
# Linux's own numbers hang on its memory and sysctls; that they are doubled is tested.
ONLY_AFTER_SETTING = {(SOL, socket.SO_SNDBUF), (SOL, socket.SO_RCVBUF)}


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_options(family: int, kind: int, world: World) -> None:
    def scenario(sock: "socket.socket | Socket") -> Iterator[object]:
        for level, name, values in OPTIONS:
            if (level, name) not in ONLY_AFTER_SETTING:
                yield level, name, outcome(sock.getsockopt, level, name)
            for value in values:
                yield level, name, value, outcome(sock.setsockopt, level, name, value)
                yield level, name, value, outcome(sock.getsockopt, level, name)

    ours = world.stream(family) if kind == socket.SOCK_STREAM else world.dgram(family)
    with socket.socket(family, kind) as kernel:
        expected = list(scenario(kernel))
    assert list(scenario(ours)) == expected


def test_struct_options(world: World) -> None:
    timeval = struct.pack("qq", 2, 500_000)

    def scenario(get: Callable[[int, int], bytes], set_: Callable[[int, bytes], None]) -> Seen:
        seen: Seen = [get(socket.SO_LINGER, 8), get(socket.SO_RCVTIMEO, 16)]
        for name, value in (
            (socket.SO_LINGER, struct.pack("ii", 1, 7)),
            (socket.SO_RCVTIMEO, timeval),
            (socket.SO_SNDTIMEO, timeval),
            (socket.SO_SNDTIMEO, struct.pack("qq", 0, 1_000_000)),
            (socket.SO_LINGER, b"\x01\x00\x00\x00"),
            (socket.SO_KEEPALIVE, b"\x01"),
        ):
            seen += [outcome(set_, name, value), get(name, len(value))]
        return seen

    ours = world.stream()
    with socket.socket() as kernel:
        expected = scenario(
            lambda name, size: kernel.getsockopt(SOL, name, size),
            lambda name, value: kernel.setsockopt(SOL, name, value),
        )
    assert expected == scenario(
        lambda name, size: ours.getsockopt_bytes(SOL, name, size),
        lambda name, value: ours.setsockopt(SOL, name, value),
    )
