"""UDP sockets over an area: datagrams in and out, peers, errors, rings that fill and wrap."""

import errno
import select
import socket
import struct
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from newtos_py.libc_shim.sockets.program import Socket

from .conftest import BOUND, DGRAM_DATA, World, endpoint, error_of

IN = select.POLLIN | select.POLLRDNORM
OUT = select.POLLOUT | select.POLLWRNORM | select.POLLWRBAND
PEER = ("10.0.0.2", 53)
OTHER = ("10.0.0.9", 5353)
DATA_BYTES = 1 << 20


def connect(world: World, sock: Socket, address: tuple[str, int] | None, error: int = 0) -> None:
    assert error_of(lambda: sock.connect(address)) == errno.EAGAIN
    slot = sock.identity().slot
    asked = world.udp.answer(slot, error)
    assert asked == (address or ("::", 0))
    if error == 0:
        world.udp.ours(slot).local = endpoint(("10.0.0.3", 40000))
        world.udp.ours(slot).flags |= BOUND
    sock.connect(address)


def test_a_datagram_out(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    assert sock.poll() == OUT
    assert sock.sendto(b"query", PEER) == 5
    assert sock.sendto(b"", PEER) == 0
    assert world.udp.activity() == [slot]
    assert sock.tx_bytes() == 5
    assert world.udp.sent(slot) == [(b"query", PEER), (b"", PEER)]
    assert sock.tx_bytes() == 0


def test_the_name_that_the_server_gives(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    assert sock.getsockname() == ("0.0.0.0", 0)
    sock.sendto(b"x", PEER)
    assert error_of(sock.getsockname) == errno.EAGAIN
    world.udp.ours(slot).local = endpoint(("10.0.0.3", 40000))
    world.udp.ours(slot).flags |= BOUND
    assert sock.getsockname() == ("10.0.0.3", 40000)


def test_a_datagram_in(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    assert error_of(lambda: sock.recv(10)) == errno.EAGAIN
    world.udp.datagram(slot, b"answer", PEER)
    assert sock.poll() == IN | OUT
    assert sock.rx_bytes() == 6
    assert sock.recvfrom(10, socket.MSG_PEEK) == (b"answer", PEER)
    assert sock.recvfrom(10) == (b"answer", PEER)
    assert sock.rx_bytes() == 0
    world.udp.datagram(slot, b"", OTHER)
    assert sock.poll() == IN | OUT
    assert sock.recvfrom(10) == (b"", OTHER)
    assert sock.poll() == OUT


def test_what_does_not_fit_is_cut_and_said_so(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    world.udp.datagram(slot, b"0123456789", PEER)
    world.udp.datagram(slot, b"next", PEER, DGRAM_DATA + 64)
    assert sock.count(4, socket.MSG_PEEK | socket.MSG_TRUNC) == 10
    got = sock.recvmsg(4)
    assert (got.data, got.flags) == (b"0123", socket.MSG_TRUNC)
    got = sock.recvmsg(4)
    assert (got.data, got.flags) == (b"next", 0)


def test_control_messages(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    world.udp.datagram(slot, b"x", PEER)
    world.udp.datagram(slot, b"y", PEER)
    got = sock.recvmsg(9, 100)
    local = socket.inet_aton("10.0.0.3")
    assert got.ancillary == (
        (socket.IPPROTO_IP, 8, struct.pack("i", 0) + local + local),
        (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 61)),
    )
    got = sock.recvmsg(9, 28)
    assert got.flags == socket.MSG_CTRUNC
    assert len(got.ancillary) == 1


def test_connected(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    assert error_of(lambda: sock.send(b"x")) == errno.EDESTADDRREQ
    connect(world, sock, PEER)
    assert sock.getpeername() == PEER
    assert sock.getsockname() == ("10.0.0.3", 40000)
    sock.send(b"to the peer")
    sock.sendto(b"elsewhere", OTHER)
    assert world.udp.sent(slot) == [(b"to the peer", ("::", 0)), (b"elsewhere", OTHER)]
    connect(world, sock, OTHER)
    assert sock.getpeername() == OTHER
    connect(world, sock, None)
    assert error_of(sock.getpeername) == errno.ENOTCONN
    assert error_of(lambda: sock.send(b"x")) == errno.EDESTADDRREQ


def test_a_connect_that_the_server_refuses(world: World) -> None:
    sock = world.dgram()
    assert error_of(lambda: sock.connect(PEER)) == errno.EAGAIN
    assert error_of(lambda: sock.connect(PEER)) == errno.EAGAIN
    world.udp.answer(sock.identity().slot, errno.ENETUNREACH)
    assert error_of(lambda: sock.connect(PEER)) == errno.ENETUNREACH
    assert error_of(sock.getpeername) == errno.ENOTCONN


def test_a_connect_that_was_broken_off(world: World) -> None:
    """A signal ends the first call; the second, to another peer, must not get its answer."""
    sock = world.dgram()
    slot = sock.identity().slot
    assert error_of(lambda: sock.connect(PEER)) == errno.EAGAIN
    assert world.udp.answer(slot) == PEER
    assert error_of(lambda: sock.connect(OTHER)) == errno.EAGAIN
    assert world.udp.answer(slot) == OTHER
    sock.connect(OTHER)
    assert sock.getpeername() == OTHER


def test_each_error_is_told_once(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    connect(world, sock, PEER)
    world.udp.ours(slot).error = 1 << 16 | errno.ECONNREFUSED
    assert sock.poll() == OUT | select.POLLERR
    assert error_of(lambda: sock.recv(1)) == errno.ECONNREFUSED
    assert error_of(lambda: sock.recv(1)) == errno.EAGAIN
    assert sock.poll() == OUT
    world.udp.ours(slot).error = 2 << 16 | errno.ECONNREFUSED
    assert error_of(lambda: sock.send(b"x")) == errno.ECONNREFUSED
    assert sock.send(b"x") == 1
    world.udp.ours(slot).error = 3 << 16 | errno.EHOSTUNREACH
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EHOSTUNREACH
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_an_error_comes_before_a_datagram(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    world.udp.datagram(slot, b"x", PEER)
    world.udp.ours(slot).error = 1 << 16 | errno.ECONNREFUSED
    assert error_of(lambda: sock.recv(1)) == errno.ECONNREFUSED
    assert sock.recv(1) == b"x"


def test_impossible_descriptors_cost_only_this_socket(world: World) -> None:
    sock, other = world.dgram(), world.dgram()
    slot = sock.identity().slot
    world.udp.datagram(slot, b"x", PEER)
    world.udp.ours(slot).rx_tail += 64
    assert error_of(lambda: sock.recv(1)) == errno.EIO
    assert error_of(lambda: sock.sendto(b"x", PEER)) == errno.EIO
    slot = other.identity().slot
    for offset, length in ((0, 1), (DGRAM_DATA + DATA_BYTES, 1), (DGRAM_DATA, 1 << 31)):
        third = world.dgram()
        slot = third.identity().slot
        world.udp.datagram(slot, b"x", PEER)
        dgram = world.udp.rx_descriptors(slot)[0]
        dgram.offset, dgram.len = offset, length
        assert error_of(lambda sock=third: sock.recv(1)) == errno.EIO


def test_a_full_ring_of_descriptors(world: World) -> None:
    sock = world.dgram()
    slot = sock.identity().slot
    for i in range(64):
        assert bool(sock.poll() & OUT) == (i <= 32)
        sock.sendto(bytes([i]), PEER)
    assert error_of(lambda: sock.sendto(b"x", PEER)) == errno.EAGAIN
    assert [data[0] for data, _ in world.udp.sent(slot)] == list(range(64))
    assert sock.poll() == OUT


def test_poll_says_writable_only_if_any_datagram_fits(world: World) -> None:
    sock = world.dgram()
    count = 0
    while sock.poll() & OUT:
        sock.sendto(bytes(65507), PEER)
        count += 1
    assert count == 16
    assert error_of(lambda: sock.sendto(bytes(65507), PEER)) == errno.EAGAIN


def test_v6(world: World) -> None:
    sock = world.dgram(socket.AF_INET6)
    slot = sock.identity().slot
    sock.sendto(b"four", ("::ffff:10.0.0.2", 7))
    sock.sendto(b"host itself", ("::ffff:0.0.0.0", 7))
    assert world.udp.sent(slot) == [
        (b"four", ("10.0.0.2", 7)),
        (b"host itself", ("127.0.0.1", 7)),
    ]
    # There is no IPv6 on a host.
    assert error_of(lambda: sock.sendto(b"six", ("fd00::2", 7))) == errno.ENETUNREACH
    assert sock.sendto(b"host itself", ("::", 7)) == 11
    assert error_of(lambda: sock.bind_check(("fd00::1", 7))) == errno.EADDRNOTAVAIL
    world.udp.datagram(slot, b"x", PEER)
    assert sock.recvfrom(9) == (b"x", ("::ffff:10.0.0.2", 53))
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    assert error_of(lambda: sock.sendto(b"x", ("::ffff:10.0.0.2", 7))) == errno.ENETUNREACH


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.integers(0, 65507).map(lambda size: ("send", size)),
            st.integers(1, 64).map(lambda count: ("take", count)),
        ),
        max_size=150,
    )
)
def test_what_goes_in_comes_out(steps: list[tuple[str, int]]) -> None:
    """Datagrams of any size, taken at any time: in order, whole, and never lost to a full ring."""
    world = World()
    sock = world.dgram()
    slot = sock.identity().slot
    model: deque[bytes] = deque()
    for number, (step, size) in enumerate(steps):
        if step == "send":
            data = bytes([number % 251]) * size
            try:
                sock.sendto(data, PEER)
            except BlockingIOError:
                held = sum(max(len(waiting), 1) + 63 & ~63 for waiting in model)
                assert len(model) == 64 or held + 2 * 65536 > DATA_BYTES, "room was left"
            else:
                model.append(data)
        else:
            for _ in range(min(size, len(model))):
                data, to = world.udp.sent(slot, release=False)[0]
                assert (data, to) == (model.popleft(), PEER)
                world.udp.ours(slot).tx_head += 1
    assert [data for data, _ in world.udp.sent(slot)] == list(model)
    world.release()


def test_bind_checks(world: World) -> None:
    sock = world.dgram()
    assert error_of(lambda: sock.bind_check(("::", 53))) == errno.EAFNOSUPPORT
    local = sock.bind_check(("0.0.0.0", 53))
    sock.bound(local)
    assert error_of(lambda: sock.bind_check(("0.0.0.0", 53))) == errno.EINVAL
    six = world.dgram(socket.AF_INET6)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    assert error_of(lambda: six.bind_check(("::ffff:10.0.0.3", 53))) == errno.EINVAL
    assert six.bind_check(("::", 53)).addr == bytes(16)
