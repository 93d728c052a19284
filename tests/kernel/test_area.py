"""Socket areas: made, opened, refused; byte rings that grow under their readers; hints."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel import memfd, region
from newtos_py.kernel._kernel import ffi, lib

SLOTS = 128
TCP = 6


class Area:
    """An area with all three parts mapped writable, as only a test may."""

    def __init__(self) -> None:
        self.memory = [
            self._part(size)
            for size in (
                lib.nt_area_program_bytes(SLOTS),
                lib.nt_area_server_bytes(SLOTS),
                lib.nt_area_hint_bytes(),
            )
        ]
        self.parts = [ffi.cast("void *", memory.address) for memory in self.memory]
        lib.nt_area_format(*self.parts, SLOTS, TCP)
        self.area = ffi.new("struct nt_area *")

    @staticmethod
    def _part(size: int) -> region.Memory:
        descriptor = memfd.create_memfd("newtos-test", size)
        memory = region.map_memory(descriptor, size, region.all_of(size))
        os.close(descriptor)
        return memory

    def open(self, slots: int = SLOTS) -> int:
        return lib.nt_area_open(self.area, *self.parts, slots)


@pytest.fixture
def area() -> Iterator[Area]:
    made = Area()
    yield made
    for memory in made.memory:
        region.unmap_memory(memory)


def test_an_area_opens_as_it_was_made(area: Area) -> None:
    assert area.open() == 0
    view = area.area
    assert (view.slots, view.server.protocol, view.program.slots) == (SLOTS, TCP, SLOTS)
    assert view.slot_server[SLOTS - 1].state == lib.NT_SLOT_FREE


def test_parts_do_not_overlap_and_the_last_slot_is_in_bounds(area: Area) -> None:
    area.open()
    reserve = lib.NT_RING_RESERVE
    program, server, hint = area.memory
    view = area.area
    ends = {
        program: ffi.cast("uintptr_t", view.tx_data + lib.NT_AREA_LARGE_OFFSET + SLOTS * reserve),
        server: ffi.cast("uintptr_t", view.rx_data + lib.NT_AREA_LARGE_OFFSET + SLOTS * reserve),
        hint: ffi.cast("uintptr_t", view.ready + lib.NT_AREA_QUEUES),
    }
    for memory, end in ends.items():
        assert int(end) == memory.address + memory.bytes
    assert ffi.cast("char *", view.slot_program + lib.NT_AREA_SLOTS_MAX) <= view.tx_data
    assert ffi.cast("char *", view.slot_server + lib.NT_AREA_SLOTS_MAX) <= view.rx_data
    assert ffi.cast("char *", view.queue + lib.NT_AREA_QUEUES) <= ffi.cast(
        "char *", view.slot_program
    )


@pytest.mark.parametrize("slots", [0, SLOTS - 1, SLOTS + 1, 8193, 2**32 - 1])
def test_what_the_caller_was_told_decides(area: Area, slots: int) -> None:
    assert area.open(slots) == -1


@pytest.mark.parametrize("side", ["program", "server"])
@pytest.mark.parametrize("field", ["magic", "version", "slots"])
def test_another_layout_is_refused(area: Area, side: str, field: str) -> None:
    area.open()
    header = getattr(area.area, side)
    setattr(header, field, getattr(header, field) + 1)
    assert area.open() == -1


@pytest.mark.parametrize("slot", [0, 63, 64, SLOTS - 1])
def test_hints_name_the_slot(area: Area, slot: int) -> None:
    area.open()
    lib.nt_face_set_activity(area.area, slot)
    lib.nt_face_set_ready(area.area, 7, slot)
    for hints in (area.area.hints, area.area.ready[7]):
        assert hints.bitmap[slot // 64] == 1 << slot % 64
        assert hints.summary[0] == 1 << slot // 64
    assert area.area.hints.activity == 1
    assert area.area.ready[6].summary[0] == 0


# -- Byte rings --------------------------------------------------------------------------------


class Ring:
    """The data of one direction of a slot: its writer, its reader, and what they share."""

    def __init__(self, first_cursor: int) -> None:
        self.geometry = lib.nt_face_geometry(first_cursor, 12)
        self.head = self.tail = first_cursor
        self.memory: dict[int, int] = {}

    def size(self, geometry: int) -> int:
        return 1 << (geometry & 0xFF)

    def write(self, data: bytes, *, grow: bool) -> int:
        """Write what there is room for; bytes written."""
        written = 0
        for byte in data:
            full = (self.tail - self.head) % 2**32 == self.size(self.geometry)
            if grow and lib.nt_face_geometry_can_double(self.geometry, self.tail):
                self.geometry = lib.nt_face_geometry_doubled(self.geometry, self.tail)
                assert lib.nt_face_geometry_valid(self.geometry)
            elif full:
                break
            self.memory[lib.nt_face_geometry_position(self.geometry, self.tail)] = byte
            self.tail = (self.tail + 1) % 2**32
            written += 1
        return written

    def read(self, size: int, tail: int) -> bytes:
        """Read up to a tail that was loaded earlier, under the geometry of now."""
        size = min(size, (tail - self.head) % 2**32)
        data = bytes(
            self.memory[lib.nt_face_geometry_position(self.geometry, (self.head + i) % 2**32)]
            for i in range(size)
        )
        self.head = (self.head + size) % 2**32
        return data


@given(
    st.sampled_from([0, 2**32 - 5000, 2**32 - 1]),
    st.lists(
        st.tuples(st.integers(0, 5000), st.booleans(), st.integers(0, 6000)),
        min_size=1,
        max_size=8,
    ),
)
def test_a_growing_ring_is_a_plain_queue(
    first_cursor: int, steps: list[tuple[int, bool, int]]
) -> None:
    ring, model, number = Ring(first_cursor), bytearray(), 0
    for size, grow, read in steps:
        tail = ring.tail  # the reader loads the tail before the writer goes on, perhaps to grow
        seen = len(model)
        data = bytes((number + i) % 251 for i in range(size))
        written = ring.write(data, grow=grow)
        number += written
        model += data[:written]
        expected = bytes(model[: min(read, seen)])
        assert ring.read(read, tail) == expected
        del model[: len(expected)]
    assert ring.read(2**31, ring.tail) == bytes(model)


def test_a_ring_grows_at_its_end_only_and_up_to_the_reserve() -> None:
    first = lib.nt_face_geometry(100, lib.NT_RING_FIRST_LOG2)
    size = 1 << lib.NT_RING_FIRST_LOG2
    can = [tail for tail in range(100, 100 + 3 * size)
           if lib.nt_face_geometry_can_double(first, tail)]  # fmt: skip
    assert can == [100 + size, 100 + 2 * size]
    largest = lib.nt_face_geometry(0, lib.NT_RING_LAST_LOG2)
    assert lib.nt_face_geometry_valid(largest)
    assert not lib.nt_face_geometry_can_double(largest, lib.NT_RING_RESERVE)


@pytest.mark.parametrize("geometry", [0, 11, 23, 255, 14 | 1 << 40, 2**64 - 1])
def test_a_geometry_that_cannot_be(geometry: int) -> None:
    assert not lib.nt_face_geometry_valid(geometry)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_valid_geometry_keeps_every_cursor_in_the_reserve(geometry: int, cursor: int) -> None:
    geometry = geometry & ~0xFF | (12 + geometry % 11)
    geometry &= 2**40 - 1
    assert lib.nt_face_geometry_valid(geometry)
    assert lib.nt_face_geometry_position(geometry, cursor) < lib.NT_RING_RESERVE
