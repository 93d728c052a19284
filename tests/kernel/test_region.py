"""Regions: made whole, found by name, refused with a reason; memfds sealed and re-opened."""

import fcntl
import itertools
import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from newtos_py.kernel import memfd, region
from newtos_py.kernel.region import Part, RegionError

PAGE = region.PAGE_BYTES


@pytest.fixture
def name() -> Iterator[Callable[[], str]]:
    """Names of regions that are gone after the test."""
    names = (f"newtos-test.{os.getpid()}.{number}" for number in itertools.count())
    made: list[str] = []

    def new() -> str:
        made.append(next(names))
        return made[-1]

    yield new
    for each in made:
        region.unlink_region(each)


def test_a_region_is_zeroed_private_and_allocated_in_full(name: Callable[[], str]) -> None:
    made = region.create_region(name(), 5 * PAGE)
    stat = os.fstat(made.descriptor)
    assert (stat.st_size, stat.st_mode & 0o777) == (5 * PAGE, 0o600)
    assert stat.st_blocks * 512 == 5 * PAGE
    assert not os.get_inheritable(made.descriptor)
    assert bytes(region.view(region.map_memory(made.descriptor, made.bytes))) == bytes(5 * PAGE)
    os.close(made.descriptor)


def test_found_by_name_the_bytes_are_the_same(name: Callable[[], str]) -> None:
    made = region.create_region(name(), PAGE)
    found = region.open_region(made.name)
    assert found.bytes == PAGE
    ours = region.map_memory(made.descriptor, PAGE, region.all_of(PAGE))
    theirs = region.map_memory(found.descriptor, PAGE)
    region.view(ours)[100:105] = b"hello"
    assert region.view(theirs)[100:105] == b"hello"
    assert ours.address != theirs.address
    for memory in (ours, theirs):
        region.unmap_memory(memory)
    for descriptor in (made.descriptor, found.descriptor):
        os.close(descriptor)


def test_an_observer_cannot_map_for_writing(name: Callable[[], str]) -> None:
    made = region.create_region(name(), PAGE)
    found = region.open_region(made.name)
    for writable in (region.all_of(PAGE), (Part(0, PAGE),)):
        with pytest.raises(RegionError, match="Permission denied"):
            region.map_memory(found.descriptor, PAGE, writable)
    os.close(made.descriptor)
    os.close(found.descriptor)


def test_a_name_is_used_once(name: Callable[[], str]) -> None:
    made = region.create_region(name(), PAGE)
    with pytest.raises(RegionError, match=r"exists already.*newtos clean"):
        region.create_region(made.name, PAGE)
    region.unlink_region(made.name)
    region.unlink_region(made.name)
    with pytest.raises(RegionError, match="there is no shared memory"):
        region.open_region(made.name)
    os.close(made.descriptor)


def test_a_full_shm_is_an_error_that_says_how_much_is_missing(name: Callable[[], str]) -> None:
    too_much = region.free_bytes() + 2**30
    wanted = name()
    with pytest.raises(RegionError, match=rf"needs {too_much} bytes, /dev/shm has \d+ free"):
        region.create_region(wanted, too_much)
    with pytest.raises(RegionError, match="there is no"):
        region.open_region(wanted)


def test_a_memfd_is_sealed_and_sparse() -> None:
    descriptor = memfd.create_memfd("newtos-test", 32 * 2**30)
    stat = os.fstat(descriptor)
    assert (stat.st_size, stat.st_blocks) == (32 * 2**30, 0)
    for change in (0, 2**40):
        with pytest.raises(PermissionError):
            os.truncate(descriptor, change)
    with pytest.raises(PermissionError):
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    memory = region.map_memory(descriptor, stat.st_size, region.all_of(stat.st_size))
    region.view(memory)[2**34 : 2**34 + 3] = b"far"
    assert os.fstat(descriptor).st_blocks * 512 == PAGE
    region.unmap_memory(memory)
    os.close(descriptor)


def test_a_reader_of_a_memfd_cannot_write() -> None:
    descriptor = memfd.create_memfd("newtos-test", PAGE)
    reader = memfd.reopen_read_only(descriptor)
    assert not os.get_inheritable(reader)
    memory = region.map_memory(reader, PAGE)
    with pytest.raises(RegionError, match="Permission denied"):
        region.map_memory(reader, PAGE, region.all_of(PAGE))
    with pytest.raises(PermissionError):
        mmap.mmap(reader, PAGE)
    os.pwrite(descriptor, b"seen", 8)
    assert region.view(memory)[8:12] == b"seen"
    region.unmap_memory(memory)
    os.close(reader)
    os.close(descriptor)
