"""Byte rings against a plain model: random sizes, growth, wrap of the ring and of the cursors."""

from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import WRAP, World, geometry

PATTERN = bytes(range(256)) * (1 << 14)
Steps = list[tuple[str, int]]

sizes = st.one_of(
    st.integers(1, 300), st.integers(1, 40_000), st.sampled_from([16384, 8192, 16383])
)
steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "acknowledge", "allow"]), sizes), max_size=60
)


def start_cursors(world: World, slot: int, sock: object, at: int, *, ring: str) -> None:
    """Put both ends of a fresh ring to a later cursor, as after `at` bytes."""
    mail, block = world.tcp.theirs(slot), world.tcp.ours(slot)
    private = sock.sock  # type: ignore[attr-defined]
    base = at & ~16383
    if ring == "tx":
        mail.tx_tail = private.tx_tail = block.tx_head = at
        mail.tx_geometry = geometry(base, 14)
    else:
        block.rx_tail = mail.rx_head = private.rx_head = private.rx_noted = at
        block.rx_geometry = geometry(base, 14)


class Ring:
    """What a TX ring must do with a write, by area.h: the model."""

    def __init__(self, start: int) -> None:
        self.log2, self.base, self.tail, self.held = 14, start & ~16383, start, 0

    def write(self, size: int, largest: int) -> int:
        """How many of `size` bytes are taken; grows only at its end, and only for want of room."""
        taken = 0
        while taken < size:
            room = (1 << self.log2) - self.held
            position = (self.tail - self.base) % (1 << self.log2)
            at_end = position == 0 and self.tail != self.base
            if at_end and room < size - taken and self.log2 < largest:
                self.base = (self.tail - (1 << self.log2)) % WRAP
                self.log2 += 1
                continue
            piece = min(room, (1 << self.log2) - position, size - taken)
            if piece == 0:
                break
            self.tail = (self.tail + piece) % WRAP
            self.held += piece
            taken += piece
        return taken


@settings(max_examples=80, deadline=None)
@given(steps=steps, start=st.sampled_from([0, 5000, 0xFFFF_F000, 0xFFFF_0000]))
def test_sending(steps: Steps, start: int) -> None:
    world = World()
    sock, slot = world.connected()
    start_cursors(world, slot, sock, start, ring="tx")
    block = world.tcp.ours(slot)
    ring = Ring(start)
    written = acknowledged = 0
    for step, size in steps:
        if step == "write":
            data = PATTERN[written & 255 :][:size]
            try:
                count = sock.sendv([data[:7], data[7:]])
            except BlockingIOError:
                count = 0
            assert count == ring.write(size, block.tx_max_log2)
            assert world.tcp.theirs(slot).tx_geometry == geometry(ring.base, ring.log2)
            written += count
        elif step == "acknowledge":
            data = world.tcp.acknowledge(slot, size)
            assert data == PATTERN[acknowledged & 255 :][: len(data)]
            assert len(data) == min(size, written - acknowledged)
            acknowledged += len(data)
            ring.held -= len(data)
        else:
            block.tx_max_log2 = min(block.tx_max_log2 + 1, 17)
        assert sock.tx_bytes() == written - acknowledged
    assert world.tcp.acknowledge(slot) == PATTERN[acknowledged & 255 :][: written - acknowledged]
    world.release()


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["deliver", "read", "peek", "skip"]), sizes)),
    start=st.sampled_from([0, 5000, 0xFFFF_F000, 0xFFFF_0000]),
)
def test_receiving(steps: Steps, start: int) -> None:
    world = World()
    sock, slot = world.connected()
    start_cursors(world, slot, sock, start, ring="rx")
    block = world.tcp.ours(slot)
    delivered = read = 0
    for step, size in steps:
        held = delivered - read
        if step == "deliver":
            fits = min(size, world.tcp.rx_room(slot))
            world.tcp.deliver(slot, PATTERN[delivered & 255 :][:fits])
            delivered += fits
        elif held == 0:
            assert sock.poll() & 1 == 0
        elif step == "skip":
            count = sock.count(size, 0x20)  # MSG_TRUNC
            assert count == min(size, held)
            read += count
        else:
            data = sock.recv(size, 2 if step == "peek" else 0)
            assert data == PATTERN[read & 255 :][: min(size, held)]
            read += len(data) if step == "read" else 0
        assert sock.rx_bytes() == delivered - read
        assert world.tcp.rx_head(slot) == (start + read) & 0xFFFF_FFFF
    assert block.rx_geometry & 0xFF <= 18
    world.release()
