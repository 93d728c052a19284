"""In which lanes accept() looks first: the listen designs (libc_shim/sockets/accept_order.h)."""

from collections import Counter
from typing import Any

import pytest
from newtos_py.libc_shim.sockets._sockets import ffi, lib

FINE, AFFINITY = lib.NT_LISTEN_FINE, lib.NT_LISTEN_AFFINITY


class Lanes:
    """Accept rings whose servers run on cores 10, 11, ..."""

    def __init__(self, design: int, count: int, core: int = 10) -> None:
        self.headers = [ffi.new("struct nt_listener_header *") for _ in range(count)]
        self.rings = [ffi.new("struct nt_listener *", {"header": each}) for each in self.headers]
        for lane, header in enumerate(self.headers):
            header.design = design
            header.core = 10 + lane
        self.raw: Any = ffi.new("struct nt_accept_lanes *", {"count": count, "core": core})
        for lane, ring in enumerate(self.rings):
            self.raw.ring[lane] = ring

    def busy(self, *lanes: int) -> None:
        for lane, header in enumerate(self.headers):
            header.busy = lane in lanes

    def order(self, turn: int) -> tuple[list[int], int]:
        """The lanes in order, and how many steals stand first."""
        self.raw.turn = turn
        order = ffi.new("uint32_t[16]")
        steals = lib.nt_face_accept_order(self.raw, order)
        return list(order)[: self.raw.count], steals


@pytest.mark.parametrize("design", [FINE, AFFINITY])
@pytest.mark.parametrize("core", [10, 12, 99])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_lane_is_looked_at_once(design: int, core: int, count: int) -> None:
    lanes = Lanes(design, count, core)
    for busy in [(), (0,), (1, 2), tuple(range(8))]:
        lanes.busy(*busy)
        for turn in [*range(20), 2**32 - 1]:
            assert sorted(lanes.order(turn)[0]) == list(range(count))


def test_fine_takes_turns() -> None:
    lanes = Lanes(FINE, 3)
    assert [lanes.order(turn) for turn in range(4)] == [
        ([0, 1, 2], 0), ([1, 2, 0], 0), ([2, 0, 1], 0), ([0, 1, 2], 0),
    ]  # fmt: skip


def test_affinity_begins_with_its_own_lane_while_nobody_is_busy() -> None:
    lanes = Lanes(AFFINITY, 4, core=12)
    for turn in range(24):
        order, steals = lanes.order(turn)
        assert (order[0], steals) == (2, 0)


def test_affinity_steals_one_in_six_from_busy_lanes_in_turn() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(1, 3)
    first = Counter(lanes.order(turn)[0][0] for turn in range(6 * 40))
    assert first[0] == 5 * 40
    assert first[1] + first[3] == 40
    assert first[1] > 0
    assert first[3] > 0
    assert all(lanes.order(turn)[1] in (0, 2) for turn in range(60))


def test_who_is_busy_does_not_steal() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(0, 1)
    assert {lanes.order(turn)[0][0] for turn in range(60)} == {0}
    assert {lanes.order(turn)[1] for turn in range(60)} == {0}


def test_busy_lanes_come_before_those_that_are_not() -> None:
    lanes = Lanes(AFFINITY, 4, core=10)
    lanes.busy(3)
    for turn in range(5):
        assert lanes.order(turn)[0][:2] == [0, 3]


def test_who_is_local_to_no_lane_serves_all_in_turn() -> None:
    lanes = Lanes(AFFINITY, 3, core=99)
    assert Counter(lanes.order(turn)[0][0] for turn in range(30)) == {0: 10, 1: 10, 2: 10}
