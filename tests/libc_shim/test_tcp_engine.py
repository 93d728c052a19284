"""The socket layer and the TCP server's engine together: two hosts, from call to call.

What flows under loss and crashes is tested by the simulator (tests/sim), which runs the same socket
layer; here it is what programs see: the scenarios that Linux is compared with, on real engines.
"""

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim._sim import lib as sim

from .conftest import error_of
from .scenarios import ALL_EVENTS, SCENARIOS, KernelPeer, Peer, outcome
from .tcp_engines import Engines, Request

PORT = 80
V6ONLY = 64  # NT_OPTION_V6ONLY
IN, OUT = select.POLLIN, select.POLLOUT
PATTERN = bytes(range(251)) * 4000


@pytest.fixture
def engines() -> Iterator[Engines]:
    with Engines() as made:
        yield made


class Running:
    """A socket after whose calls the engines run until they rest: as fast as loopback is."""

    def __init__(self, sock: Socket, engines: Engines) -> None:
        self._sock = sock
        self._engines = engines

    def __getattr__(self, name: str) -> Callable[..., object]:
        call = getattr(self._sock, name)

        def run(*args: object) -> object:
            try:
                return call(*args)
            finally:
                self._engines.run()

        return run


class EnginePeer:
    """A connection between two engines; the other end does as told."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        server, client = engines.hosts
        self.listening = engines.listen(server, PORT)
        plain = engines.socket(client)
        assert error_of(lambda: plain.connect((server.address, PORT))) == errno.EINPROGRESS
        engines.run()
        self.other, _ = self.listening.accept()
        self.plain = plain
        self.sock = Running(plain, engines)

    def poll(self) -> int:
        return self.plain.poll() & (ALL_EVENTS | select.POLLHUP | select.POLLERR)

    def sends(self, data: bytes) -> None:
        assert self.other.send(data) == len(data)
        self.engines.run()

    def shuts(self) -> None:
        self.other.shutdown(socket.SHUT_WR)
        self.engines.run()

    def resets(self) -> None:
        self.other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.other.close()
        self.engines.run()

    def acknowledges_fin(self) -> None:
        self.engines.run(after_ms=500)  # a delayed ACK at most


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_programs_see_what_they_see_on_linux(
    scenario: Callable[[Peer], Iterator[object]], engines: Engines
) -> None:
    kernel = KernelPeer()
    expected = list(scenario(kernel))
    kernel.close()
    assert list(scenario(EnginePeer(engines))) == expected  # type: ignore[arg-type]


def connect(engines: Engines, backlog: int = 8) -> tuple[Socket, Socket, Socket]:
    """Listening, connecting and accepted socket."""
    server, client = engines.hosts
    listening = engines.listen(server, PORT, backlog)
    sock = engines.socket(client)
    assert error_of(lambda: sock.connect((server.address, PORT))) == errno.EINPROGRESS
    engines.run()
    assert client.queue.collect() == [sock]
    assert server.queue.collect() == [listening]
    assert listening.poll() & IN
    accepted, peer = listening.accept()
    accepted.set_queue(sim.NT_SIM_QUEUE)
    sock.connect((server.address, PORT))
    assert peer == sock.getsockname()
    assert accepted.getpeername() == peer
    assert sock.getpeername() == accepted.getsockname() == (server.address, PORT)
    return listening, sock, accepted


def receive_all(sock: Socket) -> bytes:
    parts = []
    while True:
        try:
            part = sock.recv(70_000)
        except BlockingIOError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def test_connect_and_talk(engines: Engines) -> None:
    _, sock, accepted = connect(engines)
    sock.send(b"GET /")
    engines.run()
    assert engines.hosts[0].queue.collect() == [accepted]
    assert accepted.recv(100) == b"GET /"
    accepted.send(b"200 OK")
    accepted.shutdown(socket.SHUT_WR)
    engines.run()
    assert engines.hosts[1].queue.collect() == [sock]
    assert sock.poll() & select.POLLRDHUP
    assert sock.recv(100) == b"200 OK"
    assert sock.recv(100) == b""
    sock.close()
    engines.run()
    assert accepted.recv(1) == b""
    assert accepted.poll() & select.POLLHUP
    accepted.close()


def test_a_megabyte_each_way_with_rings_that_grow(engines: Engines) -> None:
    """Each end sends and reads only when its queue says so."""
    _, *ends = connect(engines)
    for host in engines.hosts:
        host.queue.collect()
    client, server = ends
    sent, got = dict.fromkeys(ends, 0), {end: bytearray() for end in ends}
    awake = set(ends)
    for _ in range(3000):
        for end in list(awake):
            while sent[end] < len(PATTERN) and end.poll() & OUT:
                sent[end] += end.send(PATTERN[sent[end] :][:50_000])
            got[end] += receive_all(end)
        awake.clear()
        engines.run(after_ms=1)
        for host in engines.hosts:
            awake |= set(host.queue.collect()) & set(ends)
        if not awake and all(len(data) == len(PATTERN) for data in got.values()):
            break
    assert [len(data) for data in got.values()] == [len(PATTERN)] * 2
    assert got[client] == got[server] == PATTERN
    geometry = [end.sock.program.tx_geometry & 0xFF for end in ends]
    assert max(geometry) > 14, "no ring grew"


def test_nobody_listens(engines: Engines) -> None:
    sock = engines.socket(engines.hosts[1])
    address = (engines.hosts[0].address, 81)
    assert error_of(lambda: sock.connect(address)) == errno.EINPROGRESS
    engines.run()
    assert sock.poll() & select.POLLERR
    assert error_of(lambda: sock.connect(address)) == errno.ECONNREFUSED
    engines.listen(engines.hosts[0], 81)
    assert error_of(lambda: sock.connect(address)) == errno.EINPROGRESS
    engines.run()
    sock.connect(address)
    assert sock.getpeername() == address


def test_no_route(engines: Engines) -> None:
    sock = engines.socket(engines.hosts[1])
    assert error_of(lambda: sock.connect(("192.0.2.1", 80))) == errno.EINPROGRESS
    engines.run()
    assert error_of(lambda: sock.connect(("192.0.2.1", 80))) == errno.ENETUNREACH


def test_a_bound_client_and_its_second_try(engines: Engines) -> None:
    server, client = engines.hosts
    sock = engines.socket(client)
    engines.bind(client, sock, (client.address, 4000))
    assert sock.getsockname() == (client.address, 4000)
    other = engines.socket(client)
    assert error_of(lambda: engines.bind(client, other, ("0.0.0.0", 4000))) == errno.EADDRINUSE
    address = (server.address, PORT)
    assert error_of(lambda: sock.connect(address)) == errno.EINPROGRESS
    engines.run()
    assert error_of(lambda: sock.connect(address)) == errno.ECONNREFUSED
    assert error_of(lambda: sock.connect(address)) == errno.EDESTADDRREQ
    engines.run()
    local = sock.bound_name()
    name = sock.identity()
    assert local is not None
    engines.request(client, Request(sim.NT_REQ_BIND, name.slot, name.generation, endpoint=local))
    sock.bound(local)
    listening = engines.listen(server, PORT)
    assert error_of(lambda: sock.connect(address)) == errno.EINPROGRESS
    engines.run()
    assert listening.accept()[1] == (client.address, 4000)


def test_unread_data_at_close_are_a_reset(engines: Engines) -> None:
    _, sock, accepted = connect(engines)
    sock.send(b"unread")
    engines.run()
    accepted.close()
    engines.run()
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET


def test_what_was_sent_before_close_arrives(engines: Engines) -> None:
    _, sock, accepted = connect(engines)
    sent = sock.send(PATTERN)
    assert sent >= 16384
    sock.close()
    got = b""
    for _ in range(20):  # more than one window of it
        engines.run(after_ms=5)
        got += receive_all(accepted)
    assert got == PATTERN[:sent]
    assert accepted.recv(1) == b""


def test_early_data_wait_for_accept(engines: Engines) -> None:
    server, client = engines.hosts
    listening = engines.listen(server, PORT)
    sock = engines.socket(client)
    assert error_of(lambda: sock.connect((server.address, PORT))) == errno.EINPROGRESS
    engines.run()
    sock.send(b"early")
    sock.shutdown(socket.SHUT_WR)
    engines.run()
    accepted, _ = listening.accept()
    assert accepted.poll() & (IN | select.POLLRDHUP) == IN | select.POLLRDHUP
    assert accepted.recv(100) == b"early"
    assert accepted.recv(100) == b""


def test_a_server_that_dies_between_two_steps_is_not_noticed(engines: Engines) -> None:
    _, sock, accepted = connect(engines)
    sock.send(b"before")
    engines.run()
    for host in engines.hosts:
        host.restart(cold=False)
    sock.send(b" and after")
    engines.run(after_ms=1000)
    assert accepted.recv(100) == b"before and after"
    accepted.send(b"answer")
    engines.run(after_ms=1000)
    assert sock.recv(100) == b"answer"


def test_a_server_that_lost_its_state_is_a_reset(engines: Engines) -> None:
    _, sock, accepted = connect(engines)
    engines.hosts[1].restart(cold=True)
    engines.run()
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET
    assert sock.recv(1) == b""
    accepted.send(b"to nobody")
    engines.run(after_ms=1000)
    assert error_of(lambda: accepted.recv(1)) == errno.ECONNRESET
    sock.close()


def test_slots_come_back(engines: Engines) -> None:
    """Twice as many connections as an area has slots, one after the other."""
    server, client = engines.hosts
    listening = engines.listen(server, PORT)
    for number in range(2 * sim.NT_SIM_SLOTS):
        sock = engines.socket(client)
        assert error_of(lambda s=sock: s.connect((server.address, PORT))) == errno.EINPROGRESS
        engines.run()
        accepted, _ = listening.accept()
        assert sock.send(number.to_bytes(4, "big")) == 4
        engines.run()
        assert accepted.recv(9) == number.to_bytes(4, "big")
        # Who closes first waits in TIME-WAIT, without a slot.
        first, second = (sock, accepted) if number % 2 else (accepted, sock)
        first.close()
        engines.run()
        assert second.recv(1) == b""
        second.close()
        engines.run(after_ms=1)
    assert outcome(listening.accept) == "EAGAIN"


def test_what_an_accepted_socket_does_is_no_event_of_its_own(engines: Engines) -> None:
    """An edge-triggered epoll must not hear of it: nothing new can be done."""
    server, client = engines.hosts
    listening = engines.listen(server, PORT)
    sock = engines.socket(client)
    assert error_of(lambda: sock.connect((server.address, PORT))) == errno.EINPROGRESS
    engines.run()
    accepted, _ = listening.accept()
    accepted.set_queue(sim.NT_SIM_QUEUE)
    before = accepted.events()
    assert accepted.send(b"first") == 5
    engines.run(after_ms=200)
    assert accepted.events() == before
    assert sock.recv(9) == b"first"
    assert sock.send(b"answer") == 6
    engines.run()
    assert accepted.events() != before


def test_a_closed_sockets_port_is_free_at_once(engines: Engines) -> None:
    """close() is a flag in the area, and bind() a request: the later one must not overtake."""
    server, _ = engines.hosts
    first, second = engines.socket(server), engines.socket(server)
    engines.bind(server, first, ("0.0.0.0", PORT))
    assert error_of(lambda: engines.bind(server, second, ("0.0.0.0", PORT))) == errno.EADDRINUSE
    first.close()
    engines.bind(server, second, ("0.0.0.0", PORT))
    assert second.getsockname() == ("0.0.0.0", PORT)


def test_who_speaks_only_ipv6_shares_a_port_with_ipv4(engines: Engines) -> None:
    server, _ = engines.hosts
    engines.listen(server, PORT)
    six = server.program.socket(socket.AF_INET6)
    assert error_of(lambda: engines.bind(server, six, ("::", PORT))) == errno.EADDRINUSE
    engines.bind(server, six, ("::", PORT), options=V6ONLY)
    assert six.getsockname() == ("::", PORT)


def test_what_was_sent_before_an_abort_arrives(engines: Engines) -> None:
    """Linux's send() has put it on the wire, and the reader gets it before ECONNRESET."""
    peer = EnginePeer(engines)
    assert peer.other.send(PATTERN[:3000]) == 3000
    peer.resets()
    assert peer.plain.recv(9000) == PATTERN[:3000]
    assert error_of(lambda: peer.plain.recv(1)) == errno.ECONNRESET


def test_a_full_backlog_lets_nobody_through_and_loses_nobody(engines: Engines) -> None:
    server, client = engines.hosts
    listening = engines.listen(server, PORT, backlog=2)
    socks = [engines.socket(client) for _ in range(6)]
    for sock in socks:
        assert error_of(lambda s=sock: s.connect((server.address, PORT))) == errno.EINPROGRESS
    peers = []
    for _ in range(60):
        engines.run(after_ms=500)
        while True:
            try:
                accepted, peer = listening.accept()
            except BlockingIOError:
                break
            peers.append(peer)
            accepted.close()
        if len(peers) == len(socks):
            break
    assert len(set(peers)) == len(socks)


def test_listening_ends(engines: Engines) -> None:
    server, client = engines.hosts
    listening = engines.listen(server, PORT)
    waiting = engines.socket(client)
    assert error_of(lambda: waiting.connect((server.address, PORT))) == errno.EINPROGRESS
    engines.run()
    name = listening.identity()
    engines.request(server, Request(sim.NT_REQ_UNLISTEN, name.slot, name.generation))
    listening.close()
    engines.run()
    assert error_of(lambda: waiting.recv(1)) == errno.ECONNRESET
    late = engines.socket(client)
    assert error_of(lambda: late.connect((server.address, PORT))) == errno.EINPROGRESS
    engines.run()
    assert error_of(lambda: late.connect((server.address, PORT))) == errno.ECONNREFUSED
