"""Where accept() looks, in which order, and at what: the listen designs (accept_order.h)."""

from collections import Counter
from typing import Any

import pytest
from newtos_py.libc_shim.sockets._sockets import ffi, lib

STOCK, FINE, REUSEPORT = lib.NT_LISTEN_STOCK, lib.NT_LISTEN_FINE, lib.NT_LISTEN_REUSEPORT
AFFINITY, FASTSOCKET = lib.NT_LISTEN_AFFINITY, lib.NT_LISTEN_FASTSOCKET
ANY, SHARED, OWN = lib.NT_LISTENER_ANY, lib.NT_LISTENER_SHARED, lib.NT_LISTENER_OWN
ENTRIES = 8
NOWHERE = 2**32 - 1


class Lanes:
    """Accept rings whose servers run on cores 10, 11, ..."""

    def __init__(self, design: int, count: int, core: int = 10) -> None:
        sizes = lib.nt_listener_ring_bytes(ENTRIES), lib.nt_listener_claims_bytes()
        self.memory = [[ffi.new("uint8_t[]", each) for each in sizes] for _ in range(count)]
        self.rings = [ffi.new("struct nt_listener *") for _ in range(count)]
        self.raw: Any = ffi.new("struct nt_accept_lanes *", {"count": count, "core": core})
        for lane, (ring, memory) in enumerate(zip(self.rings, self.memory, strict=True)):
            lib.nt_listener_format(*memory, ENTRIES, ENTRIES)
            header = ffi.cast("struct nt_listener_header *", memory[0])
            header.design, header.core = design, 10 + lane
            assert lib.nt_listener_open(ring, *memory, ENTRIES) == 0
            self.raw.ring[lane] = ring

    def busy(self, *lanes: int) -> None:
        for lane, ring in enumerate(self.rings):
            ring.header.busy = lane in lanes

    def add(self, lane: int, offered_us: int) -> None:
        """A connection waits there."""
        ring = self.rings[lane]
        entry = ffi.new("struct nt_accept_entry *", {"offered_us": offered_us % 2**32})
        lib.nt_listener_fill(ring, ring.header.tail, entry)
        lib.nt_listener_publish(ring, ring.header.tail + 1)

    def looks(self, turn: int = 0) -> list[tuple[int, int, bool]]:
        """The lanes in order, at which entries, and whether that is stealing."""
        self.raw.turn = turn
        order = ffi.new("struct nt_accept_order *")
        lib.nt_face_accept_order(self.raw, order)
        return [(each.lane, each.scope, each.is_steal) for each in order.look[0 : order.count]]

    def order(self, turn: int = 0) -> list[int]:
        """The lanes in order."""
        return [lane for lane, _, _ in self.looks(turn)]

    def stolen_from(self, turn: int) -> list[int]:
        return [lane for lane, _, is_steal in self.looks(turn) if is_steal]


@pytest.mark.parametrize("design", [STOCK, FINE, REUSEPORT, AFFINITY])
@pytest.mark.parametrize("core", [10, 12, NOWHERE])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_lane_is_looked_at_once(design: int, core: int, count: int) -> None:
    lanes = Lanes(design, count, core)
    lanes.add(count - 1, 5)
    for busy in [(), (0,), (1, 2), tuple(range(8))]:
        lanes.busy(*busy)
        for turn in [*range(20), 2**32 - 1]:
            assert sorted(lanes.order(turn)) == list(range(count))


@pytest.mark.parametrize("design", [STOCK, FINE, AFFINITY])
def test_some_designs_let_anybody_take_anything(design: int) -> None:
    for busy in [(), (0,), (1, 2)]:
        lanes = Lanes(design, 3)
        lanes.busy(*busy)
        assert {scope for turn in range(12) for _, scope, _ in lanes.looks(turn)} == {ANY}


def test_stock_takes_what_has_waited_longest() -> None:
    lanes = Lanes(STOCK, 4)
    lanes.add(2, 300)
    lanes.add(2, 100)  # behind, so it counts only when it is at the head
    lanes.add(0, 200)
    lanes.add(3, 250)
    assert lanes.order() == [0, 3, 2, 1]


def test_stock_knows_what_is_older_when_the_clock_has_gone_round() -> None:
    lanes = Lanes(STOCK, 2)
    lanes.add(0, 2**32 + 5)
    lanes.add(1, 2**32 - 5)
    assert lanes.order() == [1, 0]


def test_fine_takes_turns() -> None:
    lanes = Lanes(FINE, 3)
    assert [lanes.order(turn) for turn in range(4)] == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_reuseport_looks_at_its_own_in_turn() -> None:
    lanes = Lanes(REUSEPORT, 3)
    assert [lanes.looks(turn) for turn in range(2)] == [
        [(0, OWN, False), (1, OWN, False), (2, OWN, False)],
        [(1, OWN, False), (2, OWN, False), (0, OWN, False)],
    ]


def test_fastsocket_looks_at_the_global_table_then_at_its_own_lane() -> None:
    lanes = Lanes(FASTSOCKET, 3, core=11)
    for turn in range(6):
        looks = lanes.looks(turn)
        assert sorted(looks[:3]) == [(0, SHARED, False), (1, SHARED, False), (2, SHARED, False)]
        assert looks[3:] == [(1, ANY, False)]


def test_fastsocket_has_several_own_lanes_on_one_core() -> None:
    lanes = Lanes(FASTSOCKET, 4, core=11)
    lanes.rings[3].header.core = 11
    assert lanes.looks()[4:] == [(1, ANY, False), (3, ANY, False)]


@pytest.mark.parametrize("core", [99, NOWHERE])
def test_who_is_local_to_no_lane_serves_all_in_turn(core: int) -> None:
    for design in (AFFINITY, FASTSOCKET):
        lanes = Lanes(design, 3, core)
        assert Counter(lanes.looks(turn)[0] for turn in range(30)) == {
            (lane, ANY, False): 10 for lane in range(3)
        }


def test_affinity_begins_with_its_own_lane_while_nobody_is_busy() -> None:
    lanes = Lanes(AFFINITY, 4, core=12)
    for turn in range(24):
        assert lanes.order(turn)[0] == 2
        assert lanes.stolen_from(turn) == []


def test_affinity_steals_one_in_six_from_busy_lanes_in_turn() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(1, 3)
    first = Counter(lanes.order(turn)[0] for turn in range(6 * 40))
    assert first[0] == 5 * 40
    assert first[1] + first[3] == 40
    assert first[1] > 0
    assert first[3] > 0
    # Also where it comes second, because there is nothing in its own.
    assert all(sorted(lanes.stolen_from(turn)) == [1, 3] for turn in range(60))


def test_who_is_busy_does_not_steal() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(0, 1)
    assert {lanes.order(turn)[0] for turn in range(60)} == {0}
    assert not any(lanes.stolen_from(turn) for turn in range(60))


def test_busy_lanes_come_before_those_that_are_not() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(3)
    for turn in range(5):
        assert lanes.order(turn)[:2] == [0, 3]
