"""The socket layer and the UDP server's engine together, over the area that they share."""

import errno
import select
import socket

import pytest
from newtos_py.libc_shim.sockets._sockets import ffi
from newtos_py.libc_shim.sockets.program import Address, Area, Endpoint, Program, Queue, Socket

from newtos_py.net.addr import pack
from newtos_py.sim import udp_lab
from newtos_py.sim.packets import ICMP, UDP, icmp, ipv4, udp
from newtos_py.sim.udp_lab import OUR, PEER, Ipv4, UdpLab

from .conftest import QUEUE, error_of

STATUS_SLEEPING = 128  # offset in struct nt_status
OUT = select.POLLOUT
IN = select.POLLIN


class Host:
    """A program on a host whose UDP server is the real engine."""

    def __init__(self) -> None:
        self.lab = UdpLab()
        self.played = self.lab.program()
        parts = [
            ffi.buffer(ffi.cast("char *", part.address), part.bytes)
            for part in (self.played.program, self.played.server, self.played.hint)
        ]
        area = Area(parts[0], parts[1], parts[2], udp_lab.SLOTS, self.played.number)
        sleeping = ffi.cast("uint32_t *", self.lab.status.address + STATUS_SLEEPING)
        self.program = Program()
        self.program.attach(area, socket.IPPROTO_UDP, sleeping, -1)
        self.queue = Queue(self.program, QUEUE)

    def socket(self) -> Socket:
        sock = self.program.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.set_queue(QUEUE)
        return sock

    def bind(self, sock: Socket, address: Address) -> None:
        """What the preloaded libc does: check, ask the syscall server, note the answer."""
        sock.bind_check(address)
        name = sock.identity()
        reply = self.lab.request(
            udp_lab.BIND, name.area, slot=name.slot, generation=name.generation,
            options=name.options, to=address,
        )  # fmt: skip
        if reply.error:
            raise OSError(reply.error, "bind")
        sock.bound(Endpoint(pack(reply.addr), reply.port))

    def connect(self, sock: Socket, address: Address | None) -> None:
        """Wait for the server's answer, as a nonblocking connect does, too."""
        assert error_of(lambda: sock.connect(address)) == errno.EAGAIN
        self.lab.run()
        assert sock in self.queue.collect()
        sock.connect(address)


@pytest.fixture
def host() -> Host:
    return Host()


def test_out_and_back(host: Host) -> None:
    sock = host.socket()
    sock.sendto(b"question", (PEER, 53))
    (sent,) = host.lab.sent()
    assert (sent.dst, sent.payload) == ((PEER, 53), b"question")
    name = sock.getsockname()
    assert name[1] == sent.src[1] != 0
    host.queue.collect()
    host.lab.deliver(b"answer", (OUR, name[1]), (PEER, 53))
    host.lab.run()
    assert host.queue.collect() == [sock]
    assert sock.poll() & IN
    assert sock.recvfrom(100) == (b"answer", (PEER, 53))
    assert error_of(lambda: sock.recv(1)) == errno.EAGAIN


def test_bind_and_serve(host: Host) -> None:
    sock = host.socket()
    host.bind(sock, ("0.0.0.0", 11211))
    assert sock.getsockname() == ("0.0.0.0", 11211)
    other = host.socket()
    assert error_of(lambda: host.bind(other, ("0.0.0.0", 11211))) == errno.EADDRINUSE
    for size in (0, 1, 1400):
        host.lab.deliver(bytes(size), (OUR, 11211), (PEER, 1000 + size))
    host.lab.run()
    for size in (0, 1, 1400):
        data, peer = sock.recvfrom(2000)
        assert (len(data), peer) == (size, (PEER, 1000 + size))
        sock.sendto(data, peer)
    assert [(s.src, s.dst, len(s.payload)) for s in host.lab.sent()] == [
        ((OUR, 11211), (PEER, 1000 + size), size) for size in (0, 1, 1400)
    ]


def test_connected_datagrams_and_a_port_that_nobody_has(host: Host) -> None:
    sock = host.socket()
    host.connect(sock, (PEER, 7))
    assert sock.getpeername() == (PEER, 7)
    address, port = sock.getsockname()
    assert address == OUR
    sock.send(b"anybody?")
    host.lab.sent()
    refused = ipv4(Ipv4(OUR, PEER, UDP, udp(OUR, port, PEER, 7, b"anybody?")))
    host.lab.deliver_packet(Ipv4(PEER, OUR, ICMP, icmp(3, 3, 0, refused)), kind=udp_lab.ICMP_ERROR)
    host.lab.run()
    assert sock.poll() & select.POLLERR
    assert error_of(lambda: sock.recv(1)) == errno.ECONNREFUSED
    assert error_of(lambda: sock.recv(1)) == errno.EAGAIN
    host.lab.deliver(b"from elsewhere", (OUR, port), (PEER, 8))
    host.lab.deliver(b"from the peer", (OUR, port), (PEER, 7))
    host.lab.run()
    assert sock.recv(100) == b"from the peer"
    assert error_of(lambda: sock.recv(1)) == errno.EAGAIN


def test_a_burst_waits_for_room_and_is_told_of_it(host: Host) -> None:
    sock = host.socket()
    sent = 0
    received = []
    for _ in range(20):
        while sock.poll() & OUT:
            sock.sendto(sent.to_bytes(4, "big") * 100, (PEER, 9))
            sent += 1
        host.queue.collect()
        received += [int.from_bytes(one.payload[:4], "big") for one in host.lab.sent()]
        host.lab.run(after_ms=5)  # the fence that gives referenced bytes back
        received += [int.from_bytes(one.payload[:4], "big") for one in host.lab.sent()]
        assert sock in host.queue.collect(), "nobody told of the room"
        assert sock.poll() & OUT
    assert sent > 300
    assert received == list(range(sent))


def test_slots_come_back(host: Host) -> None:
    for number in range(5 * udp_lab.SLOTS):
        sock = host.socket()
        sock.sendto(b"x", (PEER, 9))
        sock.close()
        assert len(host.lab.sent()) == 1, number
        host.lab.run(after_ms=5)


def test_a_server_that_dies_loses_nothing(host: Host) -> None:
    """Killed at every crash point of the step that takes two datagrams and a request."""
    crash_point = 1
    while True:
        sock = host.socket()
        sock.sendto(b"one", (PEER, 9))
        sock.sendto(b"two", (PEER, 9))
        with pytest.raises(BlockingIOError):
            sock.connect((PEER, 9))
        died = host.lab.runner.die_at(crash_point)
        assert [one.payload for one in host.lab.sent()] == [b"one", b"two"], crash_point
        sock.connect((PEER, 9))
        assert sock.getpeername() == (PEER, 9)
        sock.close()
        host.lab.run(after_ms=5)
        host.lab.sent()
        if not died:
            break
        crash_point += 1
    assert crash_point > 5
