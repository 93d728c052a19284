"""A program goes on using a socket while another takes it: each byte counts once, in order.

A call looks at the socket, moves bytes, and then moves a cursor on. What a call saw that began
before the move is played by showing it the old generation; the move then comes to any of its steps
before the call has its effect.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from moving import Mover
from newtos_py.libc_shim.sockets._sockets import ffi as shim
from newtos_py.libc_shim.sockets._sockets import lib as shim_lib
from newtos_py.libc_shim.sockets.program import Socket
from test_moves import accepted

from newtos_py.sim.tcp_dialogue import ACK, PSH, Dialogue, lib

# How far the move has come when the call has its effect.
STEPS = ("before", "begun", "copied", "copied twice", "finished")
IN_TIME = ("before", "begun")
RESTART = os.strerror(errno.ERESTART)

# Kills matter little here: test_moves.py has more of them.
pytestmark = pytest.mark.parametrize("make", [0, 2, 5, 20], indirect=True)


@pytest.fixture
def mover(d: Dialogue) -> Mover:
    return Mover(d)


class Race:
    """A socket of one program's, which another takes."""

    def __init__(self, d: Dialogue, mover: Mover, step: str) -> None:
        self.d, self.mover, self.step = d, mover, step
        self.sock, self.peer = accepted(d)
        shim_lib.nt_sock_share(self.sock.sock)
        self.moved: Socket | None = None
        self.said = b""

    def advance(self) -> None:
        """The move comes to its step."""
        if self.step != "before":
            self.mover.begin(self.sock)
        if self.step.startswith("copied") or self.step == "finished":
            self.mover.copy(self.sock)
        if self.step == "copied twice":  # who did it was killed
            self.mover.copy(self.sock)
        if self.step == "finished":
            self.moved = self.mover.finish(self.sock)

    @contextmanager
    def looked_before(self) -> Iterator[None]:
        """Calls in between find the socket as if it had not moved."""
        block = lib.nt_sim_host_area(self.d.host, 0).slot_server[self.sock.sock.slot]
        shown, block.generation = block.generation, self.sock.sock.generation
        yield
        block.generation = shown

    def call(self, what: Callable[[Socket], object]) -> object | None:
        """The call; None: it has done nothing, and is made again once the socket is back."""
        if self.step in IN_TIME:
            with self.looked_before():
                return what(self.sock)
        with self.looked_before(), pytest.raises(OSError, match=RESTART):
            what(self.sock)
        assert shim_lib.nt_sock_was_moved(self.sock.sock)
        return None

    def elsewhere(self) -> Socket:
        """The socket at its new place, all being over."""
        if self.step == "before":
            self.mover.begin(self.sock)
        if self.step in IN_TIME:
            self.mover.copy(self.sock)
        if self.moved is None:
            self.moved = self.mover.finish(self.sock)
        self.d.program.abandon(self.sock)
        self.d.run()
        return self.moved

    def heard(self) -> bytes:
        """All that the peer has received."""
        self.d.after(ms=250)
        queue = self.d.heard("10.0.0.3", 5000)
        while queue:
            segment = queue.popleft()
            if (segment.seq - self.peer.their_isn - 1) & 0xFFFFFFFF == len(self.said):
                self.said += segment.data
        return self.said


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("size", [5, 16384])
def test_what_is_sent_meanwhile(d: Dialogue, mover: Mover, step: str, size: int) -> None:
    race = Race(d, mover, step)
    race.peer.send(ACK, window=60000)
    data = bytes(range(251)) * 70
    assert race.sock.send(data[:1000]) == 1000
    d.run()
    race.peer.send(ACK, ack=1001, window=60000)
    race.advance()
    sent = race.call(lambda sock: sock.send(data[1000 : 1000 + size]))
    moved = race.elsewhere()
    if sent is None:
        sent = moved.send(data[1000 : 1000 + size])
    end = 1000 + int(str(sent))
    with suppress(BlockingIOError):
        end += moved.send(data[end : end + 100])
    for _ in range(20):
        race.heard()
        race.peer.send(ACK, ack=1 + len(race.said), window=60000)
        if len(race.said) >= end:
            break
    assert race.said == data[:end]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["all", "some", "thrown away"])
def test_what_is_read_meanwhile(d: Dialogue, mover: Mover, step: str, how: str) -> None:
    race = Race(d, mover, step)
    race.peer.send(ACK, b"one two ")
    assert race.sock.recv(2) == b"on"
    race.advance()
    race.peer.send(ACK, b"three ")  # it may come at any time
    size = 3 if how == "some" else 6

    def read(sock: Socket) -> bytes:
        if how != "thrown away":
            return sock.recv(size)
        ahead = sock.recv(size, socket.MSG_PEEK)
        assert sock.count(size, socket.MSG_TRUNC) == size
        return ahead

    got = race.call(read)
    assert got is None or got == b"e two "[:size]
    moved = race.elsewhere()
    race.peer.send(ACK, b"four", seq=15)
    rest = moved.recv(50)
    assert (bytes(got) if isinstance(got, bytes) else b"") + rest == b"e two three four"


@pytest.mark.parametrize("step", STEPS)
def test_a_half_close_meanwhile(d: Dialogue, mover: Mover, step: str) -> None:
    race = Race(d, mover, step)
    race.sock.send(b"the end")
    race.peer.expect(ACK | PSH, b"the end")
    race.advance()
    done = race.call(lambda sock: (sock.shutdown(socket.SHUT_WR), "done")[1])
    moved = race.elsewhere()
    if done is None:
        moved.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        moved.send(b"no")
    d.after(ms=5)
    assert any(segment.flags & 1 for segment in d.heard("10.0.0.3", 5000))


@pytest.mark.parametrize("step", STEPS)
def test_an_option_meanwhile(d: Dialogue, mover: Mover, step: str) -> None:
    """It is stored, and said again where that may have been too late."""
    race = Race(d, mover, step)
    race.advance()
    with race.looked_before():
        race.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    again = shim_lib.nt_sock_was_moved(race.sock.sock)
    assert again == (step != "before")
    moved = race.elsewhere()
    if again:
        moved.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert moved.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("step", STEPS)
def test_a_piece_that_sendfile_reads_meanwhile(d: Dialogue, mover: Mover, step: str) -> None:
    race = Race(d, mover, step)
    piece = shim.new("void **")
    assert shim_lib.nt_sock_reserve(race.sock.sock, 10, piece) == 10
    shim.memmove(piece[0], b"0123456789", 10)
    race.advance()
    result = shim_lib.nt_sock_commit(race.sock.sock, 10, 0, d.program.wake)
    assert result == (0 if step in IN_TIME else -errno.ERESTART)
    moved = race.elsewhere()
    if result != 0:
        moved.send(b"0123456789")
    moved.send(b", and on")
    race.heard()
    race.peer.send(ACK, ack=11)
    assert race.heard() == b"0123456789, and on"
