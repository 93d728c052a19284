"""Datagram sockets move from one area to another, whatever dies when (request.h: MOVE)."""

import errno

import pytest

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.sim.udp_lab import AREA_DEAD, OUR, PEER, Program, Reply, Socket, UdpLab

DNS = (PEER, 53)
BIG = bytes(i % 251 for i in range(1400))
SLOT_BYTES = 4 << 20
# In the data: behind the byte rings that have not grown.
DATAGRAMS = 8192 << 14
FREE, GRANTED = 0, 1


class Mover:
    """Two programs, and the syscall server's part."""

    def __init__(self, crash_at: int = 0) -> None:
        self.lab = UdpLab()
        self.one: Program = self.lab.program()
        self.other: Program = self.lab.program(slots=36)  # some beyond those that are granted
        self.crash_at = crash_at
        self.target = (0, 0)

    def ask(self, kind: int, area: int, slot: int, generation: int, arg: int = 0) -> Reply:
        self.lab.push_request(kind, area, slot=slot, generation=generation, arg=arg)
        if self.crash_at:
            self.lab.runner.die_at(self.crash_at)
        (reply,) = self.lab.replies()
        return reply

    def begin(self, sock: Socket) -> None:
        reply = self.ask(
            lib.NT_REQ_MOVE, self.one.number, sock.slot, sock.generation, self.other.number
        )
        assert (reply.error, reply.area) == (0, self.other.number)
        self.target = reply.slot, reply.generation

    def copy(self, sock: Socket) -> None:
        slot, generation = self.target
        block = self.other.view.slot_program[slot]
        size = ffi.sizeof("struct nt_slot_program")
        cursors = ffi.new("struct nt_slot_cursors *")
        server = self.one.view.slot_server[sock.slot]
        lib.nt_slot_freeze(ffi.addressof(sock.own), ffi.addressof(server), cursors)
        ffi.memmove(ffi.addressof(block), ffi.addressof(sock.own), size)
        block.tx_tail, block.rx_head = cursors.tx_tail, cursors.rx_head
        block.generation, block.queue = 0, 0
        into = ffi.cast("char *", self.other.view.tx_data) + DATAGRAMS + slot * SLOT_BYTES
        ring = ffi.cast("char *", self.one.view.tx_data) + DATAGRAMS + sock.slot * SLOT_BYTES
        ffi.memmove(into, ring, 64 << 10)
        block.generation = generation

    def finish(self) -> Socket:
        slot, generation = self.target
        assert self.ask(lib.NT_REQ_MOVED, self.other.number, slot, generation).error == 0
        return Socket(self.other, slot, moved=True)

    def move(self, sock: Socket) -> Socket:
        self.begin(sock)
        self.copy(sock)
        moved = self.finish()
        sock.close()
        self.lab.run()
        return moved

    def shown(self, sock: Socket) -> int:
        return int(self.one.view.slot_server[sock.slot].state)


@pytest.fixture(params=range(12), ids=lambda n: f"crash{n}" if n else "alive")
def mover(request: pytest.FixtureRequest) -> Mover:
    return Mover(request.param)


def test_what_was_not_read_goes_along(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    for text in (b"one", b"two", b"three"):
        mover.lab.deliver(text, (OUR, 53))
    mover.lab.run()
    sock.own.rx_head += 1
    moved = mover.move(sock)
    assert [each.payload for each in moved.receive()] == [b"two", b"three"]
    mover.lab.deliver(b"four", (OUR, 53))
    assert [each.payload for each in moved.receive()] == [b"four"]
    assert moved.name() == (OUR, 53)
    assert mover.shown(sock) in (FREE, GRANTED)


@pytest.mark.parametrize("is_copied", [False, True])
def test_what_comes_meanwhile_is_not_lost(mover: Mover, is_copied: bool) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    for text in (b"one", b"two"):
        mover.lab.deliver(text, (OUR, 53))
    mover.lab.run()
    sock.own.rx_head += 1
    mover.begin(sock)
    if is_copied:
        mover.copy(sock)
    mover.lab.deliver(b"three", (OUR, 53))
    mover.lab.run()
    mover.copy(sock)
    moved = mover.finish()
    mover.lab.deliver(b"four", (OUR, 53))
    assert [each.payload for each in moved.receive()] == [b"two", b"three", b"four"]


def test_what_was_not_sent_is_sent_from_there(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    sock.send(b"before", DNS)
    mover.lab.run()
    mover.begin(sock)
    sock.send(b"too late to be swept", DNS)
    mover.copy(sock)
    moved = mover.finish()
    moved.tell()
    mover.lab.run()
    assert [each.payload for each in mover.lab.sent()] == [b"before", b"too late to be swept"]
    assert moved.server.tx_head == moved.own.tx_tail


def test_a_connected_socket_stays_connected(mover: Mover) -> None:
    sock = mover.one.socket()
    assert sock.connect(DNS) == 0
    moved = mover.move(sock)
    moved.send(b"hello")
    mover.lab.run()
    (sent,) = mover.lab.sent()
    assert (sent.payload, sent.dst) == (b"hello", DNS)
    assert moved.connect(None) == 0


def test_a_fresh_socket(mover: Mover) -> None:
    moved = mover.move(mover.one.socket())
    assert moved.bind(OUR, 53).error == 0


def test_datagrams_under_way_keep_the_old_slot(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    sock.send(BIG, DNS)
    mover.lab.run()
    moved = mover.move(sock)
    taken = [mover.one.socket().slot for _ in range(4)]
    assert sock.slot not in taken
    mover.lab.pass_fences()
    mover.lab.run(after_ms=1)
    assert mover.shown(sock) in (FREE, GRANTED)
    moved.send(b"fine", DNS)
    mover.lab.run()
    assert mover.lab.sent()[-1].payload == b"fine"


def test_asking_twice_is_asking_once(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    mover.begin(sock)
    target = mover.target
    mover.begin(sock)
    assert mover.target == target
    mover.copy(sock)
    mover.finish()
    mover.finish()
    again = mover.ask(
        lib.NT_REQ_MOVE, mover.one.number, sock.slot, sock.generation, mover.other.number
    )
    assert again.error == errno.EBADF


def test_the_last_word_of_a_program_is_heard(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    sock.send(b"before", DNS)
    mover.lab.run()
    for number in range(40):
        sock.send(bytes([number]), DNS)
    mover.lab.push_request(AREA_DEAD, mover.one.number)
    if mover.crash_at:
        mover.lab.runner.die_at(mover.crash_at)
    mover.lab.run(after_ms=2)
    said = [each.payload for each in mover.lab.sent()]
    assert said == [b"before", *(bytes([number]) for number in range(40))]
    assert {reply.kind for reply in mover.lab.replies()} == {AREA_DEAD}


def test_the_new_program_dies_on_the_way(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    mover.begin(sock)
    reply = mover.ask(AREA_DEAD, mover.other.number, 0, 0)
    assert reply.kind == AREA_DEAD
    sock.close()
    mover.lab.run(after_ms=1)
    assert mover.shown(sock) in (FREE, GRANTED)
    assert mover.one.socket().bind(OUR, 53).error == 0


def test_the_old_program_dies_on_the_way(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    mover.lab.deliver(b"kept", (OUR, 53))
    mover.lab.run()
    mover.begin(sock)
    mover.lab.push_request(AREA_DEAD, mover.one.number)
    assert mover.lab.replies() == []
    mover.copy(sock)
    slot, generation = mover.target
    mover.lab.push_request(lib.NT_REQ_MOVED, mover.other.number, slot=slot, generation=generation)
    if mover.crash_at:
        mover.lab.runner.die_at(mover.crash_at)
    assert {reply.kind for reply in mover.lab.replies()} == {lib.NT_REQ_MOVED, AREA_DEAD}
    moved = Socket(mover.other, slot, moved=True)
    assert [each.payload for each in moved.receive()] == [b"kept"]


def test_a_cursor_that_cannot_be_breaks_the_socket(mover: Mover) -> None:
    sock = mover.one.socket().bound(OUR, 53)
    mover.begin(sock)
    mover.copy(sock)
    mover.other.view.slot_program[mover.target[0]].rx_head = 77
    moved = mover.finish()
    mover.lab.run()
    assert int(moved.server.error) & 0xFFFF == errno.ECONNABORTED


@pytest.mark.parametrize("wrong", ["area", "slot", "generation", "target"])
def test_what_cannot_be_moved(wrong: str) -> None:
    mover = Mover()
    sock = mover.one.socket().bound(OUR, 53)
    area, slot, generation, target = 0, sock.slot, sock.generation, 1
    if wrong == "area":
        area = 9
    elif wrong == "slot":
        slot = 63
    elif wrong == "generation":
        generation += 1
    else:
        target = 9
    assert mover.ask(lib.NT_REQ_MOVE, area, slot, generation, target).error == errno.EBADF
