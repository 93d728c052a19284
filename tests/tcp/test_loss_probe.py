"""Finding losses without waiting for a timeout: RFC 5681 §4.2, RFC 8985 §7."""

from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, PSH, Dialogue, Peer

MSS = 1448


def connected(d: Dialogue) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    sock, _ = listener.accept()
    return sock, peer


def send_segments(sock: Socket, peer: Peer, count: int) -> None:
    sock.send(b"x" * (count * MSS))
    for i in range(count):
        peer.expect(ACK if i + 1 < count else ACK | PSH, MSS, seq=1 + i * MSS)


def test_each_segment_of_a_batch_beyond_a_hole_is_answered(d: Dialogue) -> None:
    sock, peer = connected(d)
    with d.one_batch():
        for start in (100, 200, 300):
            peer.send(ACK, b"x" * 100, seq=1 + start)
    for _ in range(3):
        peer.expect(ACK, ack=1)  # the sender counts to three
    peer.expect_nothing()
    with d.one_batch():
        peer.send(ACK, b"x" * 100, seq=401)
        peer.send(ACK, b"x" * 100, seq=1)
    peer.expect(ACK, ack=501)  # once: it is no duplicate any more
    peer.expect_nothing()
    assert len(sock.recv(1000)) == 500


def round_trip(sock: Socket, peer: Peer, d: Dialogue) -> None:
    """The timer has a sample."""
    sock.send(b"ping")
    peer.expect(ACK | PSH, b"ping")
    d.after(ms=2)
    peer.send(ACK)


def test_lost_segments_are_probed_for(d: Dialogue) -> None:
    sock, peer = connected(d)
    round_trip(sock, peer, d)
    sock.send(b"x" * (4 * MSS))
    for _ in range(4):
        peer.expect(ACK, MSS)  # all of them are lost
    d.after(ms=8)
    peer.expect_nothing()
    d.after(ms=4)
    peer.expect(ACK, MSS, seq=5)
    assert d.counted("loss_probes", 1)
    peer.send(ACK, ack=5 + MSS)
    peer.expect(ACK, MSS, seq=5 + MSS)  # a partial acknowledgement brings the next
    assert d.counter("timeouts") == 0


def test_an_unanswered_probe_leaves_it_to_the_timeout(d: Dialogue) -> None:
    sock, peer = connected(d)
    round_trip(sock, peer, d)
    sock.send(b"x" * (4 * MSS))
    for _ in range(4):
        peer.expect(ACK, MSS)
    d.after(ms=12)
    peer.expect(ACK, MSS, seq=5)
    d.after(ms=180)
    peer.expect_nothing()
    d.after(ms=40)
    peer.expect(ACK, MSS, seq=5)
    assert d.counted("timeouts", 1)


def test_a_single_segment_is_not_probed_for(d: Dialogue) -> None:
    sock, peer = connected(d)
    round_trip(sock, peer, d)
    sock.send(b"x")
    peer.expect(ACK | PSH, b"x")
    d.after(ms=190)  # its acknowledgement may be delayed
    peer.expect_nothing()
    d.after(ms=20)
    peer.expect(ACK | PSH, b"x")
