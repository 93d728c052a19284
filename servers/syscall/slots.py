"""The program's side of slots, written by this server where their programs can't (moves.py).

Mapped for the moment only: an area is gigabytes of address space, and a slot's part is small. What
a program wrote there is input: cursors and geometries that cannot be copy nothing.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from newtos_py.servers.syscall.control import Endpoint, read_endpoint

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import TCP

_BLOCK_BYTES: int = ffi.sizeof("struct nt_slot_program")
_GENERATION: int = ffi.offsetof("struct nt_slot_program", "generation")
_CONTROL: int = ffi.offsetof("struct nt_slot_program", "control")
_MASK = 0xFFFFFFFF
# Of its control word: what was said of the old slot.
_NOT_COPIED: int = lib.NT_CONTROL_CLOSE | lib.NT_CONTROL_RESET | lib.NT_CONTROL_FROZEN

# A cffi object.
_C = Any


def copy_slot(old: m.KeepArea, slot: int, new: m.KeepArea, to: int, generation: int) -> None:
    """Copy a slot's program block, and what is in its TX ring, to a slot that has `generation`.

    May be done twice. The new slot's block is whole once its generation is stored, and belongs to
    no event queue.
    """
    with _block(old, slot) as source, _block(new, to) as block:
        with _server_block(old, slot) as server:
            lib.nt_slot_freeze(source, server, cursors := ffi.new("struct nt_slot_cursors *"))
        at, into = ffi.cast("char *", source), ffi.cast("char *", block)
        ffi.memmove(into, at, _GENERATION)
        ffi.memmove(into + _CONTROL, at + _CONTROL, _BLOCK_BYTES - _CONTROL)
        block.tx_tail, block.rx_head = cursors.tx_tail, cursors.rx_head
        block.control &= _MASK ^ _NOT_COPIED
        block.queue = 0
        if old.protocol == TCP:
            _copy_bytes(old, slot, new, to, block)
        else:
            _copy_datagrams(old, slot, new, to, block)
        block.generation = generation


def local_name(area: m.KeepArea, slot: int) -> Endpoint:
    """The address and port that the server shows in a slot."""
    with _server_block(area, slot) as block:
        return read_endpoint(block.local)


def is_connected(area: m.KeepArea, slot: int) -> bool:
    """Whether the server shows a peer in a slot."""
    with _server_block(area, slot) as block:
        return bool(block.remote.port != 0)


def has_unread(area: m.KeepArea, slot: int) -> bool:
    """Whether there is something in its RX ring."""
    with _block(area, slot) as block, _server_block(area, slot) as server:
        return bool(block.rx_head != server.rx_tail)


def close_slot(area: m.KeepArea, slot: int, generation: int) -> bool:
    """Say CLOSE in a program's slot; False if it is of another generation. Ring the server then."""
    with _block(area, slot) as block:
        if block.generation != generation:
            return False
        block.control |= lib.NT_CONTROL_CLOSE
    with _mapped(area.hint.number, 0, lib.NT_AREA_HINT_BYTES) as hints:
        view = ffi.new("struct nt_area *")
        view.hints = ffi.cast("struct nt_area_hints *", hints)
        lib.nt_face_set_activity(view, slot)
    return True


def _copy_bytes(old: m.KeepArea, slot: int, new: m.KeepArea, to: int, block: _C) -> None:
    geometry, tail = block.tx_geometry, block.tx_tail
    if not lib.nt_face_geometry_valid(geometry):
        return
    size = 1 << (geometry & 0xFF)
    with _server_block(old, slot) as server:
        used = (tail - server.tx_head) & _MASK
    if used == 0:
        return
    start, end = 0, size
    if used < size:
        first = lib.nt_face_geometry_position(geometry, (tail - used) & _MASK)
        if first + used <= size:
            start, end = first, first + used
    at, there = (lib.nt_face_ring_offset(number, geometry) for number in (slot, to))
    with _tx(old, at, size) as source, _tx(new, there, size) as copy:
        ffi.memmove(copy + start, source + start, end - start)
    # The server may not know yet that it has grown.
    first_size = 1 << lib.NT_RING_FIRST_LOG2
    at, there = (number << lib.NT_RING_FIRST_LOG2 for number in (slot, to))
    if size > first_size >= used:
        with _tx(old, at, first_size) as source, _tx(new, there, first_size) as copy:
            ffi.memmove(copy, source, first_size)


def _copy_datagrams(old: m.KeepArea, slot: int, new: m.KeepArea, to: int, block: _C) -> None:
    with _server_block(old, slot) as server:
        if block.tx_tail == server.tx_head:
            return
    size = lib.NT_DGRAM_DATA_OFFSET + lib.NT_DGRAM_DATA_BYTES
    at, there = (lib.NT_AREA_LARGE_OFFSET + number * lib.NT_RING_RESERVE for number in (slot, to))
    with _tx(old, at, size) as source, _tx(new, there, size) as copy:
        ffi.memmove(copy, source, size)


@contextmanager
def _block(area: m.KeepArea, slot: int) -> Iterator[_C]:
    at = lib.NT_AREA_PROGRAM_SLOTS_OFFSET + slot * _BLOCK_BYTES
    with _mapped(area.memory.number, at, _BLOCK_BYTES) as base:
        yield ffi.cast("struct nt_slot_program *", base)


@contextmanager
def _server_block(area: m.KeepArea, slot: int) -> Iterator[_C]:
    size = ffi.sizeof("struct nt_slot_server")
    with _mapped(area.server.number, lib.NT_AREA_SERVER_SLOTS_OFFSET + slot * size, size) as base:
        yield ffi.cast("const struct nt_slot_server *", base)


@contextmanager
def _tx(area: m.KeepArea, at: int, size: int) -> Iterator[_C]:
    with _mapped(area.memory.number, lib.NT_AREA_PROGRAM_DATA_OFFSET + at, size) as base:
        yield ffi.cast("char *", base)


@contextmanager
def _mapped(descriptor: int, at: int, size: int) -> Iterator[_C]:
    """Map some bytes of a memory object, to read and write."""
    start = at - at % mmap.PAGESIZE
    with mmap.mmap(descriptor, at - start + size, offset=start) as memory:
        whole = ffi.from_buffer(memory)
        try:
            yield whole + (at - start)
        finally:
            ffi.release(whole)
