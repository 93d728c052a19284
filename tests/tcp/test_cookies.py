"""SYN cookies (RFC 4987 §3.6): what a full SYN queue cannot keep comes back with the handshake."""

from collections.abc import Callable

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, SYN, Dialogue, Peer

# The shortest SYN queue there is (listen.c).
SYN_QUEUE = 16
LIFE_MS = 2 * 64_000
Make = Callable[..., Dialogue]


def flooded(d: Dialogue, backlog: int = 8) -> Socket:
    """A listener whose SYN queue is full of requests that nobody goes on with."""
    listener = d.listen(80, backlog)
    for port in range(6000, 6000 + SYN_QUEUE):
        peer = d.peer(port, to=80)
        peer.send(SYN)
        peer.expect(SYN | ACK, seq=0, ack=1)
    assert d.counter("tcbs_in_use") == SYN_QUEUE
    assert d.counter("cookies_sent") == 0
    return listener


def asked(d: Dialogue, port: int = 5000, **settings: object) -> Peer:
    """A peer that was sent a cookie."""
    peer = d.peer(port, to=80, **settings)
    peer.send(SYN)
    peer.expect(SYN | ACK, seq=0, ack=1)
    assert d.counter("tcbs_in_use") == SYN_QUEUE, "a cookie keeps nothing"
    return peer


def talk(d: Dialogue, listener: Socket, peer: Peer) -> Socket:
    sock, _ = listener.accept()
    peer.send(ACK, b"to you")
    assert sock.recv(10) == b"to you"
    sock.send(b"and back")
    peer.expect(ACK | PSH, b"and back", seq=1, ack=7)
    peer.send(ACK)
    d.run()
    return sock


def test_a_full_queue_refuses_nobody(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    assert d.counted("cookies_sent", 1)
    peer.send(ACK)
    d.expect_nothing()
    assert d.counted("cookies_accepted", 1)
    sock = talk(d, listener, peer)
    sock.close()
    peer.expect(FIN | ACK, seq=9)
    peer.send(FIN | ACK)
    peer.expect(ACK, ack=8)
    assert d.counter("tcbs_in_use") == SYN_QUEUE


def test_many_in_turn(d: Dialogue) -> None:
    listener = flooded(d, backlog=4)
    for port in range(5000, 5020):
        peer = asked(d, port)
        peer.send(ACK)
        sock = talk(d, listener, peer)
        peer.send(RST)
        sock.close()
        d.run()
    assert d.counted("cookies_accepted", 20)
    assert d.counter("tcbs_in_use") == SYN_QUEUE


def test_the_first_data_may_bring_the_cookie_back(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    peer.send(ACK, b"lost was my ACK")
    sock, _ = listener.accept()
    assert sock.recv(100) == b"lost was my ACK"


def test_what_comes_before_the_first_data_waits_for_it(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    peer.send(ACK, b"second", seq=6)
    d.expect_nothing()
    peer.send(ACK, b"first", seq=1)
    sock, _ = listener.accept()
    assert sock.recv(100) == b"first"


def test_an_answer_to_no_cookie_is_reset(d: Dialogue) -> None:
    flooded(d)
    peer = asked(d)
    peer.send(ACK, ack=2)
    peer.expect(RST, seq=2)
    peer.send(ACK, seq=2)  # a cookie of another connection's
    peer.expect(RST, seq=1)
    stranger = d.peer(5001, to=80)
    stranger.their_isn = peer.their_isn
    stranger.send(ACK, seq=1, ack=1)
    stranger.expect(RST)
    assert d.counted("cookies_refused", 3)
    assert d.counter("cookies_accepted") == 0


def test_without_cookies_sent_none_is_taken(make: Make) -> None:
    d = make()
    d.listen(80)
    peer = d.peer(5000, to=80)
    peer.send(ACK, b"hello", seq=1, ack=1)
    peer.expect(RST)
    assert d.counter("cookies_refused") == 0


def test_a_cookie_is_good_for_one_period_more(d: Dialogue) -> None:
    flooded(d)
    peer = asked(d)
    d.after(ms=LIFE_MS)
    peer.send(ACK)
    peer.expect(RST)
    assert d.counter("cookies_accepted") == 0


def test_a_cookie_is_good_for_its_period(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    d.after(ms=LIFE_MS / 2 - 1)
    peer.send(ACK, b"late")
    sock, _ = listener.accept()
    assert sock.recv(10) == b"late"


def test_a_cookie_outlives_the_server(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    d.restart()
    peer.send(ACK)
    d.expect_nothing()
    talk(d, listener, peer)


def test_a_full_accept_queue_leaves_the_cookie_to_the_data(d: Dialogue) -> None:
    listener = flooded(d, backlog=1)
    first, second, third = (asked(d, port) for port in (5000, 5001, 5002))
    for peer in (first, second, third):
        peer.send(ACK)
    d.expect_nothing()
    assert d.counted("cookies_accepted", 2)
    listener.accept()
    third.send(ACK, b"again")
    listener.accept()
    sock, _ = listener.accept()
    assert sock.recv(10) == b"again"


@pytest.mark.parametrize(
    ("mss", "remembered"), [(1460, 1460), (9000, 1460), (1459, 1440), (1000, 536), (100, 64)]
)
def test_the_mss_is_remembered_roughly(d: Dialogue, mss: int, remembered: int) -> None:
    listener = flooded(d)
    peer = asked(d, mss=mss, timestamps=False)
    peer.send(ACK)
    sock, _ = listener.accept()
    sock.send(b"x" * 3000)
    peer.expect(ACK, remembered)


def test_without_mss_it_is_the_least(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d, mss=None, timestamps=False)
    peer.send(ACK)
    sock, _ = listener.accept()
    sock.send(b"x" * 3000)
    peer.expect(ACK, 536)


@pytest.mark.parametrize("wscale", [0, 7, 14])
def test_the_window_scale_comes_back_in_the_timestamp(d: Dialogue, wscale: int) -> None:
    listener = flooded(d)
    peer = d.peer(5000, to=80, wscale=wscale)
    peer.send(SYN)
    said = peer.expect(SYN | ACK)
    assert said.wscale == 7
    assert said.timestamps is not None
    peer.send(ACK, window=1)
    sock, _ = listener.accept()
    sock.send(b"x" * 3000)
    d.after(ms=1000)  # a byte at a time if need be, but no more than the window
    heard = list(d.heard(peer.address, peer.port))
    end = max((each.seq - peer.their_isn) % (1 << 32) + len(each.data) for each in heard)
    assert end == 1 + min(3000, 1 << wscale)


def test_our_timestamps_never_go_back(d: Dialogue) -> None:
    listener = flooded(d)
    for port in range(5000, 5040):
        peer = d.peer(port, to=80, wscale=port % 15)
        peer.send(SYN)
        first = peer.expect(SYN | ACK)
        peer.send(ACK, b"?")
        d.after(ms=1.1)
        later = peer.expect(ACK, ack=2)
        assert first.timestamps is not None
        assert later.timestamps is not None
        assert 0 <= (later.timestamps[0] - first.timestamps[0]) % (1 << 32) <= 20
        sock, _ = listener.accept()
        peer.send(RST)
        sock.close()
        d.run()


@pytest.mark.parametrize("settings", [{"timestamps": False}, {"wscale": None}])
def test_what_cannot_be_remembered_is_not_agreed_on(d: Dialogue, settings: dict[str, None]) -> None:
    listener = flooded(d)
    peer = d.peer(5000, to=80, **settings)
    peer.send(SYN)
    said = peer.expect(SYN | ACK)
    assert said.wscale is None
    peer.send(ACK)
    talk(d, listener, peer)


def test_cookies_cannot_be_foretold(make: Make) -> None:
    first, second = make(seed=1), make(seed=2)
    isns = []
    for d in (first, second):
        flooded(d)
        isns.append([asked(d, port).their_isn for port in range(5000, 5040)])
    assert len({isn & 0xFFFFFFF for of in isns for isn in of}) == 80


def test_when_the_flood_is_over_all_is_as_before(d: Dialogue) -> None:
    listener = flooded(d)
    peer = asked(d)
    peer.send(ACK)
    talk(d, listener, peer)
    d.after(ms=70_000)  # the others' requests are given up
    assert d.counter("tcbs_in_use") == 1
    d._heard.clear()
    other = d.peer(5001, to=80)
    other.send(SYN)
    assert other.expect(SYN | ACK).wscale == 7
    assert d.counter("tcbs_in_use") == 2
    assert d.counted("cookies_sent", 1)
