"""Recovering from loss: RFC 6298, RFC 5681, RFC 6582."""

import errno
import socket
from collections.abc import Callable

from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, PSH, RST, Dialogue, Peer

MSS = 1448


def connected(d: Dialogue, **settings: object) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(5000, to=80, **settings)
    peer.shake_hands()
    sock, _ = listener.accept()
    return sock, peer


def send_segments(sock: Socket, peer: Peer, count: int, first: int = 0) -> None:
    sock.send(b"x" * (count * MSS))
    for i in range(first, first + count):
        peer.expect(ACK if i + 1 < first + count else ACK | PSH, MSS, seq=1 + i * MSS)


def test_timeout_backs_off_and_ends(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"hello")
    peer.expect(ACK | PSH, b"hello")
    for wait in (200, 400, 800, 1600, 3200):
        d.after(ms=wait - 40)
        peer.expect_nothing()
        d.after(ms=45)
        peer.expect(ACK | PSH, b"hello", seq=1)
    peer.send(ACK)
    d.after(ms=10_000)
    d.expect_nothing()
    sock.send(b"again")  # the answer ended the backing off
    peer.expect(ACK | PSH, b"again")
    d.after(ms=250)
    peer.expect(ACK | PSH, b"again")


def test_given_up(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"hello")
    peer.expect(ACK | PSH, b"hello")
    d.after(ms=1_200_000)
    for _ in range(15):
        peer.expect(ACK | PSH, b"hello")
    peer.expect(RST | ACK)
    d.expect_nothing()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT


def test_user_timeout(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)
    sock.send(b"hello")
    d.after(ms=8000)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
    assert peer.dialogue.counter("tcbs_in_use") == 1


def test_fast_retransmit(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 8)
    peer.send(ACK, ack=1)
    peer.send(ACK, ack=1)
    peer.expect_nothing()
    peer.send(ACK, ack=1)
    peer.expect(ACK, MSS, seq=1)
    peer.send(ACK, ack=1)
    peer.expect_nothing()
    peer.send(ACK, ack=1 + 8 * MSS)
    d.after(ms=500)
    peer.expect_nothing()
    assert d.counted("fast_retransmits", 1)
    assert d.counter("timeouts") == 0


def test_partial_acknowledgements(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 10)
    for _ in range(3):
        peer.send(ACK, ack=1)
    peer.expect(ACK, MSS, seq=1)
    peer.send(ACK, ack=1 + 3 * MSS)  # the fourth was lost, too
    peer.expect(ACK, MSS, seq=1 + 3 * MSS)
    peer.send(ACK, ack=1 + 6 * MSS)
    peer.expect(ACK, MSS, seq=1 + 6 * MSS)
    peer.send(ACK, ack=1 + 10 * MSS)
    peer.expect_nothing()
    assert d.counted("fast_retransmits", 1)


def test_limited_transmit(make: Callable[..., Dialogue]) -> None:
    d = make()
    sock, peer = connected(d)
    sock.send(b"x" * (11 * MSS))  # cwnd is 10
    for _ in range(10):
        peer.expect(ACK, MSS)
    peer.expect_nothing()
    peer.send(ACK, ack=1)
    peer.expect(ACK | PSH, MSS, seq=1 + 10 * MSS)  # RFC 3042


def test_early_retransmit(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 2)
    peer.send(ACK, ack=1)
    peer.expect(ACK, MSS, seq=1)  # RFC 5827: no third duplicate can come


def test_a_timeout_sends_all_again(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 4)
    d.after(ms=250)
    peer.expect(ACK, MSS, seq=1)  # the probe
    peer.expect(ACK, MSS, seq=1)
    peer.expect_nothing()  # one segment: slow start
    peer.send(ACK, ack=1 + MSS)
    peer.expect(ACK, MSS, seq=1 + MSS)
    peer.expect(ACK, MSS, seq=1 + 2 * MSS)
    peer.send(ACK, ack=1 + 4 * MSS)  # the last one had arrived
    d.after(ms=1000)
    d.expect_nothing()


def test_a_window_update_is_no_duplicate(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 5)
    for i in range(5):
        peer.send(ACK, ack=1, window=60000 - i)
    peer.expect_nothing()


def test_the_round_trip_sets_the_timeout(d: Dialogue) -> None:
    sock, peer = connected(d)
    for _ in range(8):
        sock.send(b"ping")
        peer.expect(ACK | PSH, b"ping")
        d.after(ms=180)
        peer.send(ACK)
    sock.send(b"ping")
    peer.expect(ACK | PSH, b"ping")
    d.after(ms=220)  # would be time if the round trip were short
    peer.expect_nothing()


def test_a_timeout_that_was_too_early(d: Dialogue) -> None:
    """The peer was busy, nothing was lost: its answer is to the original (RFC 3522)."""
    sock, peer = connected(d)
    send_segments(sock, peer, 8)
    d.after(ms=250)
    while d.heard("10.0.0.3", 5000):
        peer.expect(ACK, MSS, seq=1)  # once for the probe, once for the timeout
    peer.ts_recent -= 240  # the echo of what was sent first
    peer.send(ACK, ack=1 + 4 * MSS)
    peer.expect_nothing()
    peer.send(ACK, ack=1 + 8 * MSS)
    assert sock.send(b"x" * (11 * MSS)) == 11 * MSS
    d.run()
    assert len(d.heard("10.0.0.3", 5000)) >= 10  # the window is what it was
    assert d.counted("spurious_losses", 1)


def test_a_loss_is_not_taken_back(d: Dialogue) -> None:
    sock, peer = connected(d)
    send_segments(sock, peer, 8)
    d.after(ms=250)
    while d.heard("10.0.0.3", 5000):
        peer.expect(ACK, MSS, seq=1)
    peer.send(ACK, ack=1 + MSS)
    peer.expect(ACK, MSS, seq=1 + MSS)
    assert d.counter("spurious_losses") == 0


def test_lost_fin(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"bye")
    sock.close()
    peer.expect(ACK | PSH | 1, b"bye")
    d.after(ms=250)
    peer.expect(ACK | PSH | 1, b"bye", seq=1)
    peer.send(ACK, ack=4)  # the FIN alone was lost
    d.after(ms=500)
    peer.expect(ACK | 1, seq=4)
    peer.ack = 5
    peer.send(ACK)
    d.after(ms=30_000)
    d.expect_nothing()


def test_an_orphan_gives_up_earlier(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"bye")
    sock.close()
    d.after(ms=200_000)
    for _ in range(9):
        peer.expect(ACK | PSH | 1, b"bye")
    peer.expect(RST | ACK)
    d.after(ms=1)
    assert d.counter("tcbs_in_use") == 0
    d.expect_nothing()
