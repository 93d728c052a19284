"""A capture ring hands frames to observers, never waits for one, and says what was lost."""

import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.kernel._kernel import ffi, lib

CAPACITY = 4096
RECORD_BYTES = 40
FRAME_MAX = 3000
LEASE_NS = 1000


class Ring:
    """A region with the driver's end."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.size = lib.nt_capture_bytes(capacity)
        self.memory = ffi.new("char[]", self.size)
        lib.nt_capture_format(self.memory, capacity)
        self.control = ffi.cast("struct nt_capture_control *", self.memory)
        self.header = ffi.cast("struct nt_capture_header *", self.memory + 4096)
        self.restart()

    def restart(self) -> None:
        self.capture = ffi.new("struct nt_capture *")
        assert lib.nt_capture_open(self.capture, self.memory, self.size) == 0

    def wanted(self, now_ns: int) -> bool:
        return lib.nt_face_capture_wanted(self.capture, now_ns)

    def write(self, *parts: bytes, now_ns: int = 0, direction: int = lib.NT_CAPTURE_IN) -> None:
        buffers = [ffi.new("char[]", part) for part in parts]
        pieces = ffi.new(
            "struct nt_capture_piece[]",
            [(buffer, len(part)) for buffer, part in zip(buffers, parts, strict=True)],
        )
        lib.nt_capture_frame(self.capture, now_ns, direction, pieces, len(parts))


class Observer:
    """An observer's end."""

    def __init__(self, ring: Ring) -> None:
        self.reader = ffi.new("struct nt_capture_reader *")
        self.record = ffi.new("struct nt_capture_record *")
        self.out = ffi.new("char[]", FRAME_MAX)
        assert lib.nt_capture_reader_open(self.reader, ring.memory, ring.size) == 0

    def renew(self, now_ns: int, snap_bytes: int = 0) -> None:
        lib.nt_capture_renew(self.reader, now_ns, now_ns + LEASE_NS, snap_bytes)

    def next(self) -> bytes | None:
        if not lib.nt_capture_next(self.reader, self.record, self.out, FRAME_MAX):
            return None
        return ffi.buffer(self.out)[: self.record.captured_bytes]

    def drain(self) -> list[bytes]:
        return list(iter(self.next, None))

    @property
    def lost(self) -> int:
        return self.reader.lost


def test_a_frame_arrives_as_it_was_gathered() -> None:
    ring = Ring()
    observer = Observer(ring)
    assert observer.next() is None
    ring.write(b"head", b"", b"er, then payload", now_ns=77, direction=lib.NT_CAPTURE_OUT)
    assert observer.next() == b"header, then payload"
    record = observer.record
    assert (record.time_ns, record.direction) == (77, lib.NT_CAPTURE_OUT)
    assert (record.captured_bytes, record.original_bytes) == (20, 20)
    assert observer.next() is None


def test_every_observer_gets_every_frame_from_where_it_began() -> None:
    ring = Ring()
    first = Observer(ring)
    ring.write(b"one")
    second = Observer(ring)
    ring.write(b"two")
    assert first.drain() == [b"one", b"two"]
    assert second.drain() == [b"two"]
    assert (first.lost, second.lost) == (0, 0)


@given(st.lists(st.one_of(st.binary(max_size=1500), st.none()), max_size=60))
def test_what_is_read_and_what_is_lost_add_up(steps: list[bytes | None]) -> None:
    ring = Ring()
    observer = Observer(ring)
    written: list[bytes] = []
    numbers: list[int] = []

    def drain() -> None:
        while (frame := observer.next()) is not None:
            assert frame == written[observer.record.number]
            numbers.append(observer.record.number)

    for step in steps:
        if step is None:
            drain()
        else:
            ring.write(step[: len(step) // 2], step[len(step) // 2 :])
            written.append(step)
    drain()
    ring.write(b"last")
    written.append(b"last")
    drain()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == len(written) - 1
    assert len(numbers) + observer.lost == len(written)


def test_a_ring_that_holds_all_loses_nothing() -> None:
    ring = Ring()
    observer = Observer(ring)
    for _ in range(10):
        frames = [bytes([i]) * 24 for i in range(CAPACITY // (RECORD_BYTES + 24))]
        for frame in frames:
            ring.write(frame)
        assert observer.drain() == frames
    assert observer.lost == 0


def test_frames_are_cut_at_the_snap_length() -> None:
    ring = Ring()
    observer = Observer(ring)
    observer.renew(0, snap_bytes=5)
    ring.write(b"abc", b"defgh", b"ijk")
    assert observer.next() == b"abcde"
    assert observer.record.original_bytes == 11


def test_a_huge_frame_is_cut_at_half_the_ring() -> None:
    ring = Ring()
    observer = Observer(ring)
    ring.write(bytes(100_000))
    assert observer.next() == bytes(CAPACITY // 2 - RECORD_BYTES)
    assert observer.record.original_bytes == 100_000


def test_a_lease_ends_by_itself() -> None:
    ring = Ring()
    observer = Observer(ring)
    assert not ring.wanted(10)
    observer.renew(10)
    assert ring.wanted(10 + LEASE_NS - 1)
    assert not ring.wanted(10 + LEASE_NS)


def test_observers_do_not_take_from_each_other() -> None:
    ring = Ring()
    greedy, modest = Observer(ring), Observer(ring)
    greedy.renew(500, snap_bytes=1000)
    modest.renew(100, snap_bytes=64)
    assert ring.control.snap_bytes == 1000
    assert ring.wanted(500 + LEASE_NS - 1)
    modest.renew(100, snap_bytes=0)
    assert ring.control.snap_bytes == 0
    # The others' leases are over: now the modest one decides alone.
    modest.renew(500 + LEASE_NS, snap_bytes=64)
    assert ring.control.snap_bytes == 64


def test_a_driver_without_a_region_records_nothing() -> None:
    assert not lib.nt_face_capture_wanted(ffi.new("struct nt_capture *"), 0)


def test_a_driver_killed_in_a_record_leaves_none() -> None:
    ring = Ring()
    observer = Observer(ring)
    ring.write(b"before")
    ring.header.reserved += 200  # died while writing
    ring.restart()
    assert observer.drain() == [b"before"]
    ring.write(b"after")
    assert observer.drain() == [b"after"]


def test_an_observer_survives_what_a_driver_scribbles() -> None:
    ring = Ring()
    observer = Observer(ring)
    ring.write(b"x" * 100)
    record = ffi.cast("struct nt_capture_record *", ring.memory + 8192)
    record.captured_bytes = 0xFFFF_FFF0
    assert observer.next() is None
    ring.header.head = 0xFFFF_FFFF_FFFF_FFF8
    assert observer.next() is None


@pytest.mark.parametrize("field", ["magic", "version", "capacity"])
def test_refuses_what_is_no_capture_ring(field: str) -> None:
    ring = Ring()
    setattr(ring.header, field, 12345)
    assert lib.nt_capture_open(ffi.new("struct nt_capture *"), ring.memory, ring.size) == -1
    reader = ffi.new("struct nt_capture_reader *")
    assert lib.nt_capture_reader_open(reader, ring.memory, ring.size) == -1


def test_refuses_a_ring_larger_than_its_region() -> None:
    ring = Ring()
    reader = ffi.new("struct nt_capture_reader *")
    assert lib.nt_capture_reader_open(reader, ring.memory, ring.size - 1) == -1


@pytest.mark.parametrize("sanitizer", ["none", "thread"])
def test_no_observer_ever_gets_a_torn_frame(
    c_program: Callable[[str, str], list[str]], sanitizer: str
) -> None:
    subprocess.run(c_program("capture_race", sanitizer), check=True)
