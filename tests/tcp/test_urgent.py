"""Urgent data: the pointer, the mark, and what changes while some are under way."""

import socket
from collections.abc import Callable

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, Dialogue

from .test_data import connected, pattern

URG = 32
OOB = socket.MSG_OOB
POLLIN, POLLPRI = 1, 2


def reads(sock: Socket) -> tuple[bytes, bytes]:
    """What a reader gets that has been told of an urgent byte and looks at it first."""
    assert sock.poll() & POLLPRI
    return sock.recv(1, OOB), sock.recv(100)


def test_pointer_is_one_past_the_byte(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | URG, b"abXc", urgent=3)
    assert sock in d.queue.collect()
    assert reads(sock) == (b"X", b"ab")
    assert sock.at_mark()
    assert not sock.poll() & POLLPRI
    assert sock.recv(10) == b"c"
    assert not sock.at_mark()


def test_pointer_zero_is_the_first_byte(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | URG, b"Xab", urgent=0)
    assert reads(sock) == (b"X", b"ab")


def test_pointer_counts_only_with_the_flag(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"abc", urgent=2)
    assert not sock.poll() & POLLPRI
    assert sock.recv(10) == b"abc"


def test_mark_is_known_before_its_byte(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | URG, b"ab", urgent=3)
    assert not sock.poll() & POLLPRI
    with pytest.raises(BlockingIOError):
        sock.recv(1, OOB)
    assert sock.recv(10) == b"ab"
    assert sock.at_mark()
    peer.send(ACK, b"X")  # also where the sender tells of it no more
    assert reads_alone(sock) == b"X"


def reads_alone(sock: Socket) -> bytes:
    assert sock.poll() & (POLLIN | POLLPRI) == POLLPRI
    return sock.recv(1, OOB)


def test_urgent_byte_comes_before_what_was_lost(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | URG, b"cX", seq=3, urgent=2)
    assert sock.poll() & (POLLIN | POLLPRI) == POLLPRI
    assert sock.recv(1, OOB) == b"X"
    peer.send(ACK | URG, b"ab", seq=1, urgent=4)
    assert not sock.poll() & POLLPRI  # the same one
    assert sock.recv(10) == b"abc"
    assert sock.at_mark()


def test_later_mark_takes_the_place_of_an_earlier_one(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK | URG, b"aXb", urgent=2)
    peer.send(ACK | URG, b"cYd", urgent=2)
    assert reads(sock) == (b"Y", b"aXbc")
    assert sock.recv(10) == b"d"


def test_old_segments_mark_nothing(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"abc")
    peer.send(ACK | URG, b"abc", seq=1, urgent=2)
    assert not sock.poll() & POLLPRI
    assert sock.recv(10) == b"abc"


def test_mark_through_a_closed_window(d: Dialogue) -> None:
    """RFC 9293 §3.10.7.4: acceptable also where no byte is."""
    sock, peer = connected(d)
    data = pattern(16384)
    for start in range(0, 16384, 1024):
        peer.send(ACK, data[start : start + 1024])
    peer.send(ACK | URG, b"X", seq=16385, urgent=1)
    assert not sock.poll() & POLLPRI
    assert sock.recv(20000) == data
    assert sock.at_mark()
    d.run()  # the window opens
    peer.send(ACK | URG, b"X", seq=16385, urgent=1)
    assert reads_alone(sock) == b"X"


def test_sent_with_the_pointer_until_acknowledged(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"abX", OOB)
    assert peer.expect(ACK | URG, b"abX").urgent == 3
    sock.send(b"cd")
    peer.expect(ACK, b"cd")  # begins behind it
    d.after(ms=300)
    assert peer.expect(ACK | URG, b"abXcd", seq=1).urgent == 3  # lost
    peer.send(ACK, ack=6)
    sock.send(b"ef")
    peer.expect(ACK, b"ef")


def test_neither_nagle_nor_cork_holds_it_back(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"a")
    peer.expect(ACK, b"a")
    sock.send(b"b", socket.MSG_MORE)
    peer.expect_nothing()
    sock.send(b"X", OOB | socket.MSG_MORE)
    assert peer.expect(ACK | URG, b"bX").urgent == 2


def test_super_segments_are_cut(make: Callable[..., Dialogue]) -> None:
    """Their cuts would all have the pointer of the first."""
    d = make(gso_max=65000)
    sock, peer = connected(d)
    sock.send(pattern(3000), OOB)
    peer.window = 65535
    pointers = [peer.expect(ACK | URG, size).urgent for size in (1448, 1448, 104)]
    assert pointers == [3000, 1552, 104]
    peer.send(ACK, ack=3001)
    sock.send(pattern(2896))
    peer.expect(ACK, 2896)
