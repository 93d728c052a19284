"""Data both ways: acknowledgements, windows, Nagle, super-segments."""

import socket
from collections.abc import Callable

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, Dialogue, Peer

MSS = 1448  # 1460 less the timestamps
POLLIN, POLLOUT = 1, 4


def pattern(size: int, start: int = 0) -> bytes:
    return bytes((start + i) * 7 % 251 for i in range(size))


def connected(d: Dialogue, **settings: object) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(5000, to=80, **settings)
    peer.shake_hands()
    sock, _ = listener.accept()
    sock.set_queue(1)
    d.run()
    d.queue.collect()
    return sock, peer


def test_request_and_answer(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | PSH, b"GET /")
    assert sock.poll() & POLLIN
    assert sock in d.queue.collect()
    assert sock.recv(100) == b"GET /"
    sock.send(b"200 OK")
    peer.expect(ACK | PSH, b"200 OK", seq=1, ack=6)  # the answer takes the acknowledgement along
    peer.send(ACK)
    d.after(ms=1000)
    d.expect_nothing()


def test_first_acknowledgements_wait_a_millisecond(d: Dialogue) -> None:
    _, peer = connected(d)
    peer.send(ACK, b"x")
    peer.expect_nothing()
    d.after(ms=1.1)
    peer.expect(ACK, seq=1, ack=2)


def test_reading_acknowledges_what_is_never_answered(d: Dialogue) -> None:
    """The peer may wait for it (Nagle) before it sends more: tcp_cleanup_rbuf()."""
    sock, peer = connected(d)
    peer.send(ACK, b"x")
    assert sock.recv(1) == b"x"
    d.run()
    peer.expect_nothing()  # an answer may still come
    d.after(ms=1.1)
    peer.expect(ACK, ack=2)
    for n in range(20):
        peer.send(ACK | PSH, b"yz")
        peer.expect_nothing()
        assert sock.recv(1) == b"y"
        d.run()
        peer.expect_nothing()
        assert sock.recv(1) == b"z"
        d.run()
        peer.expect(ACK, ack=4 + 2 * n)
    sock.send(b"an answer")
    peer.expect(ACK | PSH, b"an answer")
    peer.send(ACK)
    peer.send(ACK | PSH, b"more")
    assert sock.recv(4) == b"more"
    d.run()
    peer.expect_nothing()


def test_later_acknowledgements_wait_forty(d: Dialogue) -> None:
    sock, peer = connected(d)
    for _ in range(15):  # the SYN-ACK was the first of sixteen
        peer.send(ACK, b"x")
        d.after(ms=1.1)
        peer.expect(ACK)
    peer.send(ACK, b"x")
    d.after(ms=38)
    peer.expect_nothing()
    d.after(ms=3)
    peer.expect(ACK, ack=17)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    d.run()
    peer.send(ACK, b"x")
    d.after(ms=1.1)
    peer.expect(ACK, ack=18)


def test_every_second_full_segment_is_acknowledged(d: Dialogue) -> None:
    _, peer = connected(d)
    peer.send(ACK, pattern(MSS))
    peer.expect_nothing()
    peer.send(ACK, pattern(MSS))
    peer.expect(ACK, ack=1 + 2 * MSS)
    peer.send(ACK, pattern(4 * MSS))  # a super-segment counts by its bytes
    peer.expect(ACK, ack=1 + 6 * MSS)


def test_out_of_order(d: Dialogue) -> None:
    sock, peer = connected(d)
    data = pattern(500)
    peer.send(ACK, data[100:200], seq=101)
    peer.expect(ACK, ack=1)  # at once: tells of the hole
    peer.send(ACK, data[300:400], seq=301)
    peer.expect(ACK, ack=1)
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    peer.send(ACK, data[200:300], seq=201)  # joins two ranges
    peer.expect(ACK, ack=1)
    peer.send(ACK, data[:100], seq=1)
    peer.expect(ACK, ack=401)
    peer.send(ACK, data[350:500], seq=351)  # overlaps what is there
    assert sock.recv(1000) == data
    d.after(ms=50)
    peer.expect(ACK, ack=501)


def test_many_holes(d: Dialogue) -> None:
    sock, peer = connected(d)
    data = pattern(4000)
    for start in range(100, 3900, 200):  # 19 ranges: more than are kept
        peer.send(ACK, data[start : start + 100], seq=1 + start)
        peer.expect(ACK, ack=1)
    assert d.counted("ooo_drops", 7)
    peer.seq = 1
    peer.send(ACK, data)
    peer.expect(ACK, ack=4001)
    assert sock.recv(5000) == data


def test_duplicates_are_answered_and_dropped(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"hello")
    assert sock.recv(100) == b"hello"
    d.after(ms=2)
    peer.expect(ACK, ack=6)
    peer.send(ACK, b"hello", seq=1)
    peer.expect(ACK, ack=6)
    peer.send(ACK, b"lo world", seq=4)  # half of it is new
    assert sock.recv(100) == b" world"


def test_the_window_closes_and_opens(d: Dialogue) -> None:
    sock, peer = connected(d)
    data = pattern(16384)
    for start in range(0, 16384, 1024):
        peer.send(ACK, data[start : start + 1024])
    last = None
    while d.heard("10.0.0.3", 5000):
        last = peer.expect(ACK)
    d.after(ms=50)
    while d.heard("10.0.0.3", 5000):
        last = peer.expect(ACK)
    assert last is not None
    assert (last.ack, last.window) == (16385, 0)
    peer.send(ACK, b"!", seq=16385)  # a window probe
    peer.expect(ACK, ack=16385, window=0)
    assert sock.recv(1000) == data[:1000]
    d.run()
    peer.expect_nothing()  # too little to tell (RFC 9293 §3.8.6.2.2)
    assert sock.recv(20000) == data[1000:]
    said = peer.expect(ACK, ack=16385)
    assert said.window << 7 == 16384


def test_the_ring_grows_with_its_reader(d: Dialogue) -> None:
    sock, peer = connected(d)
    total, sent, edge, largest = 400_000, 0, 16384, 0
    while sent < total:
        size = min(edge - sent, 40_000, total - sent)
        peer.send(ACK, pattern(size, sent))
        assert sock.recv(1 << 20) == pattern(size, sent)
        sent += size
        d.after(ms=50)
        while d.heard("10.0.0.3", 5000):
            said = peer.expect(ACK)
            edge = said.ack - 1 + (said.window << 7)
            largest = max(largest, said.window << 7)
    assert largest >= 65536
    assert d.counter("rx_growths") >= 2


def test_a_reader_that_stays_away_gets_no_larger_ring(d: Dialogue) -> None:
    _, peer = connected(d)
    for start in range(0, 16384, 1024):
        peer.send(ACK, pattern(1024, start))
    d.after(ms=50)
    while d.heard("10.0.0.3", 5000):
        said = peer.expect(ACK)
    assert (said.ack, said.window) == (16385, 0)
    assert d.counter("rx_growths") == 0


def test_sending_respects_the_window(d: Dialogue) -> None:
    sock, peer = connected(d, wscale=0)
    peer.send(ACK, window=3 * MSS)
    assert sock.send(pattern(10 * MSS)) == 10 * MSS
    for i in range(3):
        peer.expect(ACK, MSS, seq=1 + i * MSS)
    peer.expect_nothing()
    peer.send(ACK, window=MSS)
    peer.expect(ACK, MSS, seq=1 + 3 * MSS)
    peer.expect_nothing()


def test_the_initial_window_is_ten_segments(d: Dialogue) -> None:
    sock, peer = connected(d)
    assert sock.send(pattern(16000)) == 16000
    d.run()
    sizes = [len(peer.expect(ACK, size).data) for size in [MSS] * 10]
    assert len(sizes) == 10
    peer.expect_nothing()
    peer.send(ACK, ack=1 + 2 * MSS)
    peer.expect(ACK, MSS)
    peer.expect(ACK | PSH, 16000 - 11 * MSS)
    peer.expect_nothing()


def test_super_segments(make: Callable[..., Dialogue]) -> None:
    d = make(gso_max=65000)
    sock, peer = connected(d)
    data = pattern(14000)
    sock.send(data)
    said = peer.expect(ACK | PSH, data)
    assert said.gso_size == MSS
    assert d.counted("segments_out", 2)  # the SYN-ACK and this one


def test_nagle(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"a")
    peer.expect(ACK | PSH, b"a")
    sock.send(b"b")
    peer.expect_nothing()  # a short one is unacknowledged
    sock.send(b"c")
    peer.expect_nothing()
    peer.send(ACK)
    peer.expect(ACK | PSH, b"bc")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.send(b"d")
    peer.expect(ACK | PSH, b"d")


def test_nagle_lets_the_tail_of_a_large_write_go(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(pattern(2 * MSS + 10))
    peer.expect(ACK, MSS)
    peer.expect(ACK, MSS)
    peer.expect(ACK | PSH, 10)  # Minshall: no short segment is outstanding


def test_cork(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.send(b"header")
    peer.expect_nothing()
    sock.send(pattern(MSS))
    peer.expect(ACK, MSS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    peer.expect(ACK | PSH, 6)
    peer.send(ACK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.send(b"forgotten")
    d.after(ms=150)
    peer.expect_nothing()
    d.after(ms=60)  # as Linux: 200 ms at most
    peer.expect(ACK | PSH, b"forgotten")


def test_zero_window_is_probed(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, window=0)
    sock.send(b"anybody there?")
    peer.expect_nothing()
    d.after(ms=1100)
    peer.expect(ACK, b"a")
    for _ in range(3):
        peer.send(ACK, ack=1, window=0)
        d.after(ms=9000)
        while d.heard("10.0.0.3", 5000):
            peer.expect(ACK, b"a", seq=1)
    peer.ack = 1
    peer.send(ACK, ack=1, window=100)
    peer.expect(ACK | PSH, b"anybody there?", seq=1)
    peer.send(ACK)
    d.after(ms=10_000)
    d.expect_nothing()


def test_a_probe_that_is_taken(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, window=0)
    sock.send(b"abc")
    d.after(ms=250)
    peer.expect(ACK, b"a")
    peer.send(ACK, ack=2)
    peer.expect(ACK | PSH, b"bc", seq=2)


def test_a_window_in_small_pieces_is_not_used(d: Dialogue) -> None:
    sock, peer = connected(d, wscale=0)
    peer.send(ACK, window=4 * MSS)
    sock.send(pattern(8 * MSS))
    for _ in range(4):
        peer.expect(ACK, MSS)
    peer.send(ACK, window=100)  # silly
    peer.expect_nothing()
    peer.send(ACK, window=MSS)
    peer.expect(ACK, MSS)


def test_a_blocked_writer_is_woken(d: Dialogue) -> None:
    sock, peer = connected(d)
    written = 0
    while True:
        try:
            written += sock.send(pattern(4096))
        except BlockingIOError:
            break
    assert not sock.poll() & POLLOUT
    d.run()
    d.queue.collect()
    acked = 0
    while acked < written and not sock.poll() & POLLOUT:
        while d.heard("10.0.0.3", 5000):
            said = peer.expect(ACK, len(d.heard("10.0.0.3", 5000)[0].data))
            acked = max(acked, said.seq + len(said.data) - 1)
        peer.send(ACK, ack=1 + acked)
    assert sock in d.queue.collect()


def test_a_writer_is_woken_when_it_may_write(d: Dialogue) -> None:
    """Sooner by a byte does not count: it would sleep again, and nobody tell it a second time."""
    sock, peer = connected(d)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)  # of 16 kB for ever
    written = 0
    while True:
        try:
            written += sock.send(pattern(4096))
        except BlockingIOError:
            break
    heard = 0
    while (third := written // 3) > heard:
        while d.heard("10.0.0.3", 5000):
            said = peer.expect(ACK, len(d.heard("10.0.0.3", 5000)[0].data))
            heard = said.seq + len(said.data) - 1
        peer.send(ACK, ack=1 + min(heard, third - 3))
    d.queue.collect()
    for acked in range(third - 2, third + 4):
        assert not sock.poll() & POLLOUT
        peer.send(ACK, ack=1 + acked)
        woken = sock in d.queue.collect()
        if sock.poll() & POLLOUT:
            break
    assert sock.poll() & POLLOUT
    assert woken


def test_fin_with_data_both_ways(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | FIN, b"bye")
    assert sock.recv(100) == b"bye"
    assert sock.recv(100) == b""
    sock.send(b"bye")
    sock.close()
    peer.expect(ACK | PSH | FIN, b"bye", ack=5)
    peer.send(ACK)
    d.expect_nothing()
    assert d.counter("tcbs_in_use") == 0
