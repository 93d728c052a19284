"""The same scenario on Linux's own sockets and on ours must see the same, poll masks included.

On Linux the peer is a second socket on loopback; on ours the test does what the TCP server does
when such segments arrive.
"""

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from .conftest import BROKEN, CONNECTING, TX_DONE, Listener, World
from .scenarios import ALL_EVENTS, SCENARIOS, KernelPeer, Peer, kernel_poll, outcome, wait_until

Seen = list[object]


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
