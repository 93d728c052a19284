"""Ending connections, in every order (RFC 9293 §3.6), and TIME-WAIT."""

import errno
import socket
import struct

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, SYN, Dialogue, Peer

POLLHUP, POLLRDHUP = 16, 0x2000


def connected(d: Dialogue, port: int = 5000, **settings: object) -> tuple[Socket, Peer]:
    listener = d.listeners.get(80) if hasattr(d, "listeners") else None
    if listener is None:
        listener = d.listen(80)
        d.listeners = {80: listener}
    peer = d.peer(port, to=80, **settings)
    peer.shake_hands()
    sock, _ = listener.accept()
    return sock, peer


def gone(d: Dialogue) -> bool:
    d.run()
    return d.counter("tcbs_in_use") == 0


def test_we_close_first(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK, seq=2, ack=2)
    assert gone(d)
    assert d.counter("time_waits_in_use") == 1
    peer.send(FIN | ACK, seq=1)  # our acknowledgement was lost
    peer.expect(ACK, seq=2, ack=2)
    d.after(ms=59_000)
    assert d.counter("time_waits_in_use") == 1
    d.after(ms=2_000)
    assert d.counter("time_waits_in_use") == 0
    d.expect_nothing()


def test_they_close_first(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(FIN | ACK)
    assert sock.recv(10) == b""
    assert sock.poll() & POLLRDHUP
    sock.send(b"rest")
    peer.expect(ACK | PSH, b"rest", ack=2)
    sock.close()
    peer.expect(FIN | ACK, seq=5, ack=2)
    peer.send(ACK)
    assert gone(d)
    assert d.counter("time_waits_in_use") == 0
    d.expect_nothing()


def test_both_at_once(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK, seq=1)
    peer.send(FIN | ACK, ack=1)  # crosses ours
    peer.expect(ACK, seq=2, ack=2)
    assert d.counter("tcbs_in_use") == 1  # CLOSING
    peer.send(ACK)
    assert gone(d)
    assert d.counter("time_waits_in_use") == 1


def test_fin_and_acknowledgement_of_ours_in_one(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK, seq=2, ack=2)
    assert gone(d)
    assert d.counter("time_waits_in_use") == 1


def test_half_close(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"request")
    sock.shutdown(socket.SHUT_WR)
    peer.expect(ACK | PSH | FIN, b"request")
    peer.send(ACK)
    with pytest.raises(BrokenPipeError):
        sock.send(b"more")
    peer.send(ACK, b"a long ")
    peer.send(ACK | FIN, b"answer")
    d.after(ms=2)
    peer.expect(ACK)
    assert sock.recv(100) == b"a long answer"
    assert sock.recv(100) == b""
    assert sock.poll() & POLLHUP
    sock.close()
    assert gone(d)
    assert d.counter("time_waits_in_use") == 1
    d.expect_nothing()


def test_fin_out_of_order(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(FIN | ACK, b"last", seq=6)
    peer.expect(ACK, ack=1)
    with pytest.raises(BlockingIOError):
        sock.recv(10)
    peer.send(ACK, b"first", seq=1)
    peer.expect(ACK, ack=11)
    assert sock.recv(100) == b"firstlast"
    assert sock.recv(100) == b""


def test_unread_data_mean_a_reset(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"unread")
    sock.close()
    peer.expect(RST | ACK, ack=7)
    assert gone(d)
    d.expect_nothing()


def test_data_after_close_mean_a_reset(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(ACK)
    peer.send(ACK, b"anybody there?")
    peer.expect(RST | ACK)
    assert gone(d)
    d.expect_nothing()


def test_linger_zero_means_a_reset(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    peer.expect(RST | ACK, seq=1)
    assert gone(d)


def test_an_orphan_does_not_wait_for_ever(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(ACK)
    d.after(ms=59_000)
    assert d.counter("tcbs_in_use") == 1
    d.after(ms=2_000)
    assert gone(d)


def test_a_half_closed_socket_waits_as_long_as_its_program(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.shutdown(socket.SHUT_WR)
    peer.expect(FIN | ACK)
    peer.send(ACK)
    d.after(ms=200_000)
    peer.send(ACK, b"late")
    assert sock.recv(10) == b"late"
    sock.close()
    d.after(ms=61_000)
    assert gone(d)


def test_close_with_much_unsent(d: Dialogue) -> None:
    sock, peer = connected(d)
    data = bytes(i % 251 for i in range(16000))
    assert sock.send(data) == 16000
    sock.close()
    got = b""
    while len(got) < len(data):
        d.run()
        queue = d.heard("10.0.0.3", 5000)
        while queue:
            size = len(queue[0].data)
            flags = (FIN | ACK) if queue[0].flags & FIN else ACK
            got += peer.expect(flags, size, seq=1 + len(got)).data
        peer.send(ACK)
    assert got == data
    assert d.counter("tcbs_in_use") == 1
    peer.send(FIN | ACK)
    peer.expect(ACK)
    assert gone(d)


def test_time_wait_ends_for_a_newer_syn(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    old = peer.their_isn
    d.after(ms=300)
    again = d.peer(5000, to=80, isn=peer.isn - 70_000)  # a smaller number, but a later time
    again.ts_value = peer.ts_value + 300
    again.send(SYN)
    again.expect(SYN | ACK, ack=1)
    assert (again.their_isn - old) % (1 << 32) < 1 << 31  # ours is beyond the old connection
    again.send(ACK, b"new")
    sock, _ = d.listeners[80].accept()
    assert sock.recv(10) == b"new"
    assert d.counted("time_wait_reused", 1)


def test_time_wait_stays_for_an_old_syn(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    peer.send(SYN, seq=0, ts=peer.ts_value - 1)
    peer.expect(ACK, seq=2, ack=2)
    peer.send(RST, seq=2)  # RFC 1337
    assert d.counter("time_waits_in_use") == 1
    peer.send(ACK, seq=2)
    d.expect_nothing()


def test_time_wait_by_sequence_number_without_timestamps(d: Dialogue) -> None:
    sock, peer = connected(d, timestamps=False)
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    again = d.peer(5000, to=80, isn=peer.isn + 3, timestamps=False)
    again.send(SYN)
    again.expect(SYN | ACK)


def test_time_wait_blocks_run_out(d: Dialogue) -> None:
    for i in range(12):  # there are eight
        sock, peer = connected(d, 5000 + i)
        sock.close()
        peer.expect(FIN | ACK)
        peer.send(FIN | ACK)
        peer.expect(ACK)
    assert d.counter("time_waits_in_use") == 8
    assert d.counted("no_time_wait", 4)


def test_a_reset_tells_the_program(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"data")
    peer.send(RST | ACK)
    assert sock.recv(10) == b"data"  # what came before it
    with pytest.raises(ConnectionResetError):
        sock.recv(10)
    sock.close()
    assert gone(d)


def test_a_reset_after_their_fin(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(FIN | ACK)
    peer.send(RST | ACK)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE  # as Linux


def test_closing_a_listener_resets_who_waits(d: Dialogue) -> None:
    listener = d.listen(80)
    waiting, half_open = d.peer(5000, to=80), d.peer(5001, to=80)
    waiting.shake_hands()
    half_open.send(SYN)
    half_open.expect(SYN | ACK)
    taken = d.peer(5002, to=80)
    taken.shake_hands()
    assert listener.accept()[1][1] == 5000
    listener.close()
    half_open.expect(RST | ACK)
    taken.expect(RST | ACK)
    waiting.expect_nothing()
    assert d.counter("tcbs_in_use") == 1
    late = d.peer(5003, to=80)
    late.send(SYN)
    late.expect(RST | ACK)
