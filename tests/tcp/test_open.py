"""Opening connections (RFC 9293 §3.5)."""

import errno
import socket

import pytest

from newtos_py.sim.tcp_dialogue import ACK, RST, SYN, Dialogue, lib

POLLOUT, POLLERR = 4, 8


def test_passive_open(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    said = peer.expect(SYN | ACK, seq=0, ack=1)
    assert (said.mss, said.wscale) == (1460, 7)
    assert said.timestamps is not None
    assert said.timestamps[1] == peer.ts_value
    with pytest.raises(BlockingIOError):
        listener.accept()
    peer.send(ACK)
    accepted, address = listener.accept()
    assert address == ("10.0.0.3", 5000)
    assert accepted.getpeername() == ("10.0.0.3", 5000)
    assert accepted.getsockname() == ("10.0.0.2", 80)
    d.expect_nothing()


def test_active_open(d: Dialogue) -> None:
    sock = d.socket()
    d.connect(sock, 80)
    port = next(iter(d._heard.values()))[0].src_port
    peer = d.peer(80, to=port)
    said = peer.expect(SYN, seq=0)
    assert (said.mss, said.wscale) == (1460, 7)
    assert not sock.poll() & POLLOUT
    peer.send(SYN | ACK)
    assert sock.poll() & POLLOUT
    peer.expect_nothing()  # a request may take the acknowledgement along
    d.after(ms=1.1)
    peer.expect(ACK, seq=1, ack=1)
    assert sock.getsockname() == ("10.0.0.2", port)
    d.expect_nothing()


def active(d: Dialogue, sock: socket.socket | None = None) -> tuple[object, object]:
    sock = sock or d.socket()
    d.connect(sock, 80)
    queue = next(q for (_, p), q in d._heard.items() if p == 80)
    return sock, d.peer(80, to=queue[-1].src_port)


def test_a_request_takes_the_last_ack_along(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN)
    peer.send(SYN | ACK)
    sock.send(b"GET /")
    peer.expect(ACK | 8, b"GET /", seq=1, ack=1)
    d.after(ms=100)
    d.expect_nothing()


def test_simultaneous_open(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN, seq=0)
    peer.send(SYN)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(SYN | ACK, seq=0)
    assert sock.poll() & POLLOUT
    peer.send(ACK, b"hello")
    assert sock.recv(100) == b"hello"


def test_nobody_listens(d: Dialogue) -> None:
    peer = d.peer(5000, to=81)
    peer.send(SYN)
    peer.expect(RST | ACK, ack=1)
    peer.send(ACK, seq=7, ack=3)
    raw = d.heard("10.0.0.3", 5000).popleft()
    assert (raw.flags, raw.seq, raw.ack) == (RST, (peer.their_isn + 3) & 0xFFFFFFFF, 0)
    peer.send(RST)
    d.expect_nothing()


def test_refused(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN)
    peer.send(RST | ACK)
    assert sock.poll() & POLLERR
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_a_reset_that_acknowledges_nothing_is_ignored(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN)
    peer.send(RST, seq=0)
    assert not sock.poll() & POLLERR
    peer.send(ACK, seq=0, ack=9)  # of a connection long gone
    raw = d.heard("10.0.0.3", 80).popleft()
    assert raw.flags == RST
    assert not sock.poll() & POLLERR


def test_syn_is_repeated_then_given_up(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN)
    for wait in (1, 2, 4, 8, 16, 32):
        d.after(ms=wait * 1000 - 40)
        peer.expect_nothing()
        d.after(ms=45)  # doubled each time, and a millisecond or two late
        peer.expect(SYN, seq=0)
    d.after(ms=70_000)
    d.expect_nothing()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
    assert d.counter("tcbs_in_use") == 1  # until it is closed
    sock.close()
    d.run()
    assert d.counter("tcbs_in_use") == 0


def test_syn_ack_is_repeated_then_given_up(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    peer.expect(SYN | ACK)
    d.after(ms=1002)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(SYN, seq=0)  # our answer was lost
    peer.expect(SYN | ACK, seq=0, ack=1)
    d.after(ms=70_000)
    for _ in range(4):
        peer.expect(SYN | ACK)
    d.expect_nothing()
    assert d.counter("tcbs_in_use") == 0
    listener.close()


def test_an_ack_that_ends_no_handshake_is_reset(d: Dialogue) -> None:
    d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK, ack=77)
    peer.expect(RST, seq=77)
    peer.send(ACK, seq=1, ack=1)
    d.expect_nothing()
    assert d.counted("established_total", 1)


def test_a_peer_without_options(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80, mss=None, wscale=None, timestamps=False)
    peer.send(SYN)
    said = peer.expect(SYN | ACK, seq=0, ack=1)
    assert (said.wscale, said.timestamps) == (None, None)
    assert said.mss == 1460
    peer.send(ACK)
    sock, _ = listener.accept()
    sock.send(b"x" * 1000)
    said = peer.expect(ACK, 536)  # RFC 9293 §3.7.1: no option means 536
    assert said.window == 16384  # not scaled


def test_the_backlog_is_a_limit(d: Dialogue) -> None:
    listener = d.listen(80, backlog=1)
    early = [d.peer(5000 + i, to=80) for i in range(3)]
    for peer in early:
        peer.send(SYN)
        peer.expect(SYN | ACK)
    for peer in early:
        peer.send(ACK)
    assert d.counted("established_total", 2)  # as Linux: one more than the backlog
    assert d.counted("listen_overflows", 1)
    late = d.peer(6000, to=80)
    late.send(SYN)
    late.expect_nothing()
    accepted = [listener.accept()[1][1] for _ in range(2)]
    assert accepted == [5000, 5001]
    early[2].send(ACK, b"patience")  # the last ACK comes again, with data
    sock, address = listener.accept()
    assert address[1] == 5002
    assert sock.recv(100) == b"patience"
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_data_with_the_last_ack(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK, b"GET /")
    sock, _ = listener.accept()
    assert sock.recv(100) == b"GET /"


def test_data_on_a_syn_come_again(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(SYN, b"early")
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.seq = 1
    peer.send(ACK, b"early")
    sock, _ = listener.accept()
    assert sock.recv(100) == b"early"


def test_closed_before_it_is_open(d: Dialogue) -> None:
    sock, peer = active(d)
    peer.expect(SYN)
    sock.close()
    d.run()
    assert d.counter("tcbs_in_use") == 0
    peer.send(SYN | ACK)
    peer.expect(RST, seq=1)


def test_ports_of_active_opens_differ(d: Dialogue) -> None:
    ports = []
    for _ in range(12):
        sock = d.socket()
        d.connect(sock, 80)
        ports.append(sock.getsockname()[1])
    assert len(set(ports)) == 12
    assert all(32768 <= port < 61000 for port in ports)


def test_no_route(d: Dialogue) -> None:
    sock = d.socket()
    d.connect(sock, 80, address="203.0.113.1")
    d.expect_nothing()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETUNREACH


def test_addresses_that_are_no_hosts(d: Dialogue) -> None:
    d.listen(80)
    for address in ("0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.255"):
        d.peer(5000, to=80, address=address).send(SYN)
        d.peer(5000, to=81, address=address).send(ACK)
    d.expect_nothing()
    assert d.counter("passive_opens") == 0


def test_the_program_limits_segments_and_ring(d: Dialogue) -> None:
    listener = d.socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 700)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
    assert d.bind(listener, 80) == 0
    assert d.start_listening(listener, 4) == 0
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    said = peer.expect(SYN | ACK)
    assert said.mss == 700
    assert said.window == 65535
    peer.send(ACK)
    sock, _ = listener.accept()
    sock.send(b"x" * 700)
    peer.expect(ACK, 688)


def test_listening_again_changes_the_limit(d: Dialogue) -> None:
    listener = d.listen(80, backlog=6)
    number, name = d.region_number(listener), listener.identity()
    ports = iter(range(5000, 5100))

    def established(backlog: int) -> int:
        next(iter(d.regions())).header.backlog = backlog  # as the syscall server writes it
        again = d.request(lib.NT_REQ_LISTEN, slot=name.slot, generation=name.generation, arg=number)
        assert again.error == 0
        for _ in range(8):
            peer = d.peer(next(ports), to=80)
            peer.send(SYN)
            if d.heard(peer.address, peer.port):
                peer.expect(SYN | ACK)
                peer.send(ACK)
        return int(next(iter(d.regions())).header.tail)

    assert established(1) == 2
    assert established(4) == 5
    assert established(2) == 5
