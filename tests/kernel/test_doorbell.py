"""Bells ring once a batch, only for who sleeps; a new generation rings everybody."""

import os
from collections.abc import Iterator

import pytest

from newtos_py.kernel import doorbell
from newtos_py.kernel._kernel import ffi, lib


class Bells:
    """A table with three neighbours."""

    def __init__(self) -> None:
        self.table = ffi.new("struct nt_bells *")
        lib.nt_bells_init(self.table)
        self.flags = ffi.new("uint32_t[3]")
        self.fds = [doorbell.create_doorbell() for _ in range(3)]
        for i, fd in enumerate(self.fds):
            assert lib.nt_bells_set(self.table, i, self.flags + i, fd) == 0

    def mark(self, *indices: int) -> None:
        for index in indices:
            lib.nt_face_bells_mark(self.table, index)

    def rings(self) -> list[int]:
        return [doorbell.drain(fd) for fd in self.fds]


@pytest.fixture
def bells() -> Iterator[Bells]:
    made = Bells()
    yield made
    for fd in made.fds:
        os.close(fd)


def test_only_the_marked_and_sleeping_are_rung_each_once(bells: Bells) -> None:
    bells.flags[0] = bells.flags[2] = 1
    bells.mark(2, 1, 2, 2)
    assert lib.nt_bells_ring(bells.table) == 1
    assert bells.rings() == [0, 0, 1]
    assert lib.nt_bells_ring(bells.table) == 0, "marks are gone"
    assert bells.table.rung == 1


def test_who_is_awake_hears_nothing(bells: Bells) -> None:
    bells.mark(0, 1, 2)
    assert lib.nt_bells_ring(bells.table) == 0
    assert bells.rings() == [0, 0, 0]


def test_a_new_generation_rings_everybody(bells: Bells) -> None:
    bells.flags[1] = 1
    lib.nt_bells_ring_all(bells.table)
    assert bells.rings() == [1, 1, 1]


def test_a_bell_that_is_cleared_while_marked(bells: Bells) -> None:
    bells.flags[0] = bells.flags[1] = 1
    bells.mark(0, 1)
    lib.nt_bells_clear(bells.table, 0)
    bells.mark(0)
    assert lib.nt_bells_ring(bells.table) == 1
    assert bells.rings() == [0, 1, 0]
    assert lib.nt_bells_set(bells.table, 0, bells.flags, bells.fds[0]) == 0
    bells.mark(0)
    assert lib.nt_bells_ring(bells.table) == 1
    assert bells.rings() == [1, 0, 0]


def test_marks_never_outgrow_the_table(bells: Bells) -> None:
    for _ in range(2 * lib.NT_BELLS_MAX):
        bells.mark(0)
        lib.nt_bells_clear(bells.table, 0)
        lib.nt_bells_set(bells.table, 0, bells.flags, bells.fds[0])
    assert bells.table.marked_count == 1


def test_a_full_doorbell_does_not_block(bells: Bells) -> None:
    os.eventfd_write(bells.fds[0], 2**64 - 2)
    bells.flags[0] = 1
    bells.mark(0)
    assert lib.nt_bells_ring(bells.table) == 1


def test_numbers_that_name_no_bell(bells: Bells) -> None:
    assert lib.nt_bells_set(bells.table, lib.NT_BELLS_MAX, bells.flags, bells.fds[0]) == -1
    lib.nt_bells_clear(bells.table, lib.NT_BELLS_MAX)
    bells.mark(lib.NT_BELLS_MAX - 1)
    assert bells.table.marked_count == 0
