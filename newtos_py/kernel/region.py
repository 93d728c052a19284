"""Shared memory between a host's servers: made once, mapped with exactly the right protection.

A region is POSIX shared memory with a name, so that observers can attach to it; servers are handed
its descriptor. It is allocated in full when it is made: a full /dev/shm is an error at boot, never
a SIGBUS under load. The name outlives every process until somebody unlinks it, and so do the bytes.

Protection belongs to a mapping, not to a region: `map_memory` maps everything readable, and opens
the listed parts for writing. The functions below it say which parts those are for each kind of
region (architecture.md §4 has the table). Mappings live as long as their process needs them;
engines get their address as a number.
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

import posix_ipc  # type: ignore[import-not-found]  # a C module without stubs

from newtos_py.errors import NewtosError
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import Memory

SHM_DIR = "/dev/shm"
PAGE_BYTES: int = lib.NT_PAGE


class RegionError(NewtosError):
    """A shared memory region can't be made, opened or mapped."""


@dataclass(frozen=True, slots=True)
class Region:
    """An open region; `descriptor` is the caller's to close."""

    name: str
    descriptor: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Part:
    """A page-aligned stretch of a region."""

    offset: int
    bytes: int


# -- Making and finding ------------------------------------------------------------------------


def create_region(name: str, size: int) -> Region:
    """Make a zeroed region of `size` bytes, private to this user; RegionError if it can't be."""
    try:
        shared = posix_ipc.SharedMemory(f"/{name.lstrip('/')}", posix_ipc.O_CREX, mode=0o600)
    except posix_ipc.ExistentialError as error:
        raise RegionError(
            f"shared memory {name} exists already: is this host running? "
            "If not, `newtos clean` removes what a dead one has left"
        ) from error
    free = free_bytes()
    try:
        if size > free:  # else Linux would fill all of it before it found out
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(shared.fd, 0, size)
    except OSError as error:
        os.close(shared.fd)
        unlink_region(name)
        raise RegionError(
            f"shared memory {name} needs {size} bytes, {SHM_DIR} has {free} free "
            f"({error.strerror}); make {SHM_DIR} larger, or stop other hosts (`newtos ps`)"
        ) from error
    return Region(name, shared.fd, size)


def open_region(name: str, *, writable: bool = False) -> Region:
    """Open an existing region; RegionError if there is none or it is another user's."""
    try:
        shared = posix_ipc.SharedMemory(f"/{name.lstrip('/')}", read_only=not writable)
    except posix_ipc.ExistentialError as error:
        raise RegionError(f"there is no shared memory {name}: is its host running?") from error
    except posix_ipc.PermissionsError as error:
        raise RegionError(f"shared memory {name} belongs to another user") from error
    return Region(name, shared.fd, os.fstat(shared.fd).st_size)


def unlink_region(name: str) -> None:
    """Remove a region's name; its memory goes with its last mapping. No error if it is gone."""
    with contextlib.suppress(posix_ipc.ExistentialError):
        posix_ipc.unlink_shared_memory(f"/{name.lstrip('/')}")


def free_bytes() -> int:
    """Bytes that new regions can still have."""
    stat = os.statvfs(SHM_DIR)
    return stat.f_bavail * stat.f_frsize


# -- Mapping -----------------------------------------------------------------------------------


def map_memory(descriptor: int, size: int, writable: Sequence[Part] = ()) -> Memory:
    """Map [0, size) of shared memory: `writable` parts for writing, the rest read-only.

    A descriptor that was opened read-only allows no writable part. RegionError if Linux refuses.
    """
    all_of_it = any(part.offset == 0 and part.bytes >= size for part in writable)
    base = lib.nt_map(descriptor, size, all_of_it)
    if base == ffi.NULL:
        raise RegionError(f"can't map {size} bytes of shared memory: {os.strerror(ffi.errno)}")
    memory = Memory(int(ffi.cast("uintptr_t", base)), size)
    for part in () if all_of_it else writable:
        if lib.nt_map_protect(base + part.offset, part.bytes, True) != 0:
            reason = os.strerror(ffi.errno)
            unmap_memory(memory)
            raise RegionError(f"can't map {part} of shared memory for writing: {reason}")
    return memory


def unmap_memory(memory: Memory) -> None:
    """Undo map_memory; nothing may look at the address afterwards."""
    if lib.nt_unmap(ffi.cast("void *", memory.address), memory.bytes) != 0:
        raise RegionError(f"can't unmap {memory}: {os.strerror(ffi.errno)}")


def view(memory: Memory) -> memoryview:
    """Show the bytes of a mapping; writing to a read-only part faults, as it does for anybody."""
    return memoryview(ffi.buffer(ffi.cast("char *", memory.address), memory.bytes))


def all_of(size: int) -> tuple[Part, ...]:
    """Name the whole of a region: for its only writer, or for what all may write."""
    return (Part(0, size),)


def channel_producer(size: int) -> tuple[Part, ...]:
    """Name what the producer of a channel writes: all but the consumer's page (channel.h)."""
    return (Part(PAGE_BYTES, size - PAGE_BYTES),)


def channel_consumer() -> tuple[Part, ...]:
    """Name what the consumer of a channel writes: its own page."""
    return (Part(0, PAGE_BYTES),)


def pool_sender(small_count: int, large_count: int) -> tuple[Part, ...]:
    """Name what the sending end of a wire writes of its peer's pool: the buffers (pool.h)."""
    start = lib.nt_pool_data_offset(small_count, large_count)
    return (Part(start, lib.nt_pool_bytes(small_count, large_count) - start),)


def capture_driver(size: int) -> tuple[Part, ...]:
    """Name what a driver writes of its capture ring: all but the observers' page (capture.h)."""
    return (Part(PAGE_BYTES, size - PAGE_BYTES),)


def capture_observer() -> tuple[Part, ...]:
    """Name what observers write of a capture ring: the control page."""
    return (Part(0, PAGE_BYTES),)
