"""Attaching to a running host's shared memory, by name, as observers do.

Regions are named after token, host and role (rs/runtime.py); a host's record has the first two.
Everything is mapped read-only, but for what is said to be an observer's to write. What a region
holds belongs to another process that may change it at any time, or be killed: it is input.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from newtos_py.kernel.region import SHM_DIR, Part, Region, map_memory, open_region
from newtos_py.kernel.server import Memory
from newtos_py.rs.records import HostRecord
from newtos_py.rs.runtime import region_name


def has_region(record: HostRecord, role: str) -> bool:
    """Whether a host has a region of that role."""
    return (Path(SHM_DIR) / _name(record, role).lstrip("/")).exists()


def open_host_region(record: HostRecord, role: str, *, writable: bool = False) -> Region:
    """Open a region of a host; its descriptor is the caller's to close. RegionError if gone."""
    return open_region(_name(record, role), writable=writable)


def map_host_region(record: HostRecord, role: str, writable: Sequence[Part] = ()) -> Memory:
    """Map a region of a host, `writable` parts for writing; RegionError if it is gone."""
    region = open_host_region(record, role, writable=bool(writable))
    try:
        return map_memory(region.descriptor, region.bytes, writable)
    finally:
        os.close(region.descriptor)


def _name(record: HostRecord, role: str) -> str:
    return region_name(record.token, record.host, role)
