"""Making what programs share with servers: socket areas and listener regions, as sealed memfds."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from newtos_py.servers.syscall.program import AreaKey

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.memfd import create_memfd
from newtos_py.kernel.region import all_of, map_memory, unmap_memory
from newtos_py.kernel.server import TCP, UDP

# Address space, not memory: slots are touched as they are used.
AREA_SLOTS: dict[int, int] = {TCP: lib.NT_AREA_SLOTS_MAX, UDP: 1024}
# Short backlogs get a ring of this many entries: what was claimed is reused only a lap later, and a
# program that listens again may ask for more.
_ENTRIES_MIN = 1024

# Linux lets one more wait than the backlog says; one is for what has to be entered again.
_SPARE = 2

# A cffi object.
_C = Any


def make_area(program: int, pid: int, number: int, key: AreaKey) -> m.KeepArea:
    """Make the memory of a socket area, formatted."""
    slots = AREA_SLOTS[key.protocol]
    sizes = (
        lib.nt_area_program_bytes(slots),
        lib.nt_area_server_bytes(slots),
        lib.nt_area_hint_bytes(),
    )
    names = (f"newtos-program-{number}", f"newtos-server-{number}", f"newtos-hint-{number}")
    memory, server, hint = (
        create_memfd(name, size) for name, size in zip(names, sizes, strict=True)
    )
    with _mapped((memory, server, hint), sizes) as (at_program, at_server, at_hint):
        lib.nt_area_format(at_program, at_server, at_hint, slots, key.protocol)
        ffi.cast("struct nt_area_program_header *", at_program).pid = pid
    place = (key.protocol, key.lane, key.nth)
    return m.KeepArea(0, program, number, *place, slots, pid, Fd(memory), Fd(server), Fd(hint))


def make_listener(number: int, lane: int, backlog: int, design: int) -> m.KeepListener:
    """Make the memory of a listener region, formatted."""
    entries = entries_for(backlog)
    sizes = (lib.nt_listener_ring_bytes(entries), lib.nt_listener_claims_bytes())
    ring = create_memfd(f"newtos-ring-{number}", sizes[0])
    claims = create_memfd(f"newtos-claims-{number}", sizes[1])
    with _mapped((ring, claims), sizes) as (at_ring, at_claims):
        lib.nt_listener_format(at_ring, at_claims, entries, min(backlog, entries))
        ffi.cast("struct nt_listener_header *", at_ring).design = design
    return m.KeepListener(0, number, lane, entries, Fd(ring), Fd(claims))


def set_backlog(listener: m.KeepListener, backlog: int) -> None:
    """Change the backlog, as far as there are entries; the TCP server looks at it when asked to."""
    offset = ffi.offsetof("struct nt_listener_header", "backlog")
    most = listener.entries - _SPARE
    os.pwrite(listener.ring.number, min(backlog, most).to_bytes(4, sys.byteorder), offset)


def entries_for(backlog: int) -> int:
    """A power of two with room for the backlog, one more (as on Linux), and one to spare."""
    wanted = max(_ENTRIES_MIN, min(backlog + _SPARE, lib.NT_LISTENER_ENTRIES_MAX))
    return 1 << (wanted - 1).bit_length()


@contextmanager
def _mapped(descriptors: Sequence[int], sizes: Sequence[int]) -> Iterator[list[_C]]:
    """Map memory objects for as long as they are being formatted."""
    memories = [
        map_memory(descriptor, size, all_of(size))
        for descriptor, size in zip(descriptors, sizes, strict=True)
    ]
    try:
        yield [ffi.cast("void *", memory.address) for memory in memories]
    finally:
        for memory in memories:
            unmap_memory(memory)
