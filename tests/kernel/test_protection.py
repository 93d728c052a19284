"""Writing where the table of architecture.md §4 says "read-only" takes a fault.

Each case maps a region as one of its users does, in a child process, and writes one byte. What the
user may write must work; what it may not must end the child with SIGSEGV, and leave the byte.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from newtos_py.kernel import memfd, region
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.region import Part

PAGE = region.PAGE_BYTES
CHANNEL_BYTES = lib.nt_channel_bytes(1024, 192)
POOL_BYTES = lib.nt_pool_bytes(448, 64)
POOL_DATA = lib.nt_pool_data_offset(448, 64)
PROGRAM_BYTES = lib.nt_area_program_bytes(8192)
SERVER_BYTES = lib.nt_area_server_bytes(8192)
HINT_BYTES = lib.nt_area_hint_bytes()
RING_BYTES = lib.nt_listener_ring_bytes(4096)
CLAIMS_BYTES = lib.nt_listener_claims_bytes()
ARENA_BYTES = 16 * PAGE
CAPTURE_BYTES = lib.nt_capture_bytes(lib.NT_CAPTURE_RING_BYTES)


@dataclass(frozen=True)
class User:
    """How somebody maps a region, and offsets it may write and may not."""

    name: str
    size: int
    writable: Sequence[Part]
    may: Sequence[int] = ()
    may_not: Sequence[int] = ()
    # What is handed over is a descriptor that was opened read-only.
    read_only_descriptor: bool = False


def owner(name: str, size: int) -> User:
    return User(name, size, region.all_of(size), may=(0, size // 2, size - 1))


def reader(name: str, size: int, *, read_only_descriptor: bool = False) -> User:
    offsets = (0, size // 2, size - 1)
    return User(name, size, (), may_not=offsets, read_only_descriptor=read_only_descriptor)


USERS = [
    owner("status page: its server", PAGE),
    reader("status page: all others", PAGE),
    User("channel: producer", CHANNEL_BYTES, region.channel_producer(CHANNEL_BYTES),
         may=(PAGE, 2 * PAGE, CHANNEL_BYTES - 1), may_not=(0, PAGE - 1)),
    User("channel: consumer", CHANNEL_BYTES, region.channel_consumer(),
         may=(0, PAGE - 1), may_not=(PAGE, 2 * PAGE, CHANNEL_BYTES - 1)),
    owner("RX pool: its driver", POOL_BYTES),
    reader("RX pool: IP, TCP, UDP", POOL_BYTES),
    User("RX pool: the sending end of a wire", POOL_BYTES, region.pool_sender(448, 64),
         may=(POOL_DATA, POOL_BYTES - 1), may_not=(0, PAGE, POOL_DATA - 1)),
    owner("IP pool: IP", POOL_BYTES),
    reader("IP pool: TCP, UDP, drivers", POOL_BYTES),
    owner("arena: its server", ARENA_BYTES),
    reader("arena: observers", ARENA_BYTES, read_only_descriptor=True),
    User("capture ring: its driver", CAPTURE_BYTES, region.capture_driver(CAPTURE_BYTES),
         may=(PAGE, 2 * PAGE, CAPTURE_BYTES - 1), may_not=(0, PAGE - 1)),
    User("capture ring: observers", CAPTURE_BYTES, region.capture_observer(),
         may=(0, PAGE - 1), may_not=(PAGE, 2 * PAGE, CAPTURE_BYTES - 1)),
    owner("area, program side: program", PROGRAM_BYTES),
    reader("area, program side: server, drivers, IP", PROGRAM_BYTES),
    owner("area, server side: server", SERVER_BYTES),
    reader("area, server side: program", SERVER_BYTES, read_only_descriptor=True),
    owner("area, hint side: both", HINT_BYTES),
    owner("listener ring: TCP server", RING_BYTES),
    reader("listener ring: acceptors", RING_BYTES, read_only_descriptor=True),
    owner("listener claims: all", CLAIMS_BYTES),
]  # fmt: skip


def write_in_child(user: User, descriptor: int, offset: int) -> int:
    """Map as `user` does and write 0xA5 at `offset` in a child; the signal that ended it, or 0."""
    pid = os.fork()
    if pid == 0:
        # A fault is the expected end: no core file, no report of Python's fault handler.
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        memory = region.map_memory(descriptor, user.size, user.writable)
        ffi.cast("uint8_t *", memory.address)[offset] = 0xA5
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_protection(user: User) -> None:
    descriptor = memfd.create_memfd("newtos-test", user.size)
    handed = memfd.reopen_read_only(descriptor) if user.read_only_descriptor else descriptor
    for offset in user.may:
        assert write_in_child(user, handed, offset) == 0
        assert os.pread(descriptor, 1, offset) == b"\xa5"
    for offset in user.may_not:
        assert write_in_child(user, handed, offset) == signal.SIGSEGV
        assert os.pread(descriptor, 1, offset) == b"\0"
    os.close(handed)
    if handed != descriptor:
        os.close(descriptor)
