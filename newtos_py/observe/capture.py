"""Reading the capture rings of a host's drivers (kernel/capture.h).

An observer asks for frames by a lease that it renews while it looks; when it is gone, however it
ended, the drivers stop copying by themselves. Rings overwrite what was not read in time; that is
counted, never waited for. Looking costs the host nothing but the copies: an observer polls.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.clock import now_ns
from newtos_py.kernel.region import capture_observer, unmap_memory
from newtos_py.kernel.server import Memory
from newtos_py.observe.attach import has_region, map_host_region
from newtos_py.observe.pcapng import Direction, Interface, Packet
from newtos_py.rs.records import HostRecord
from newtos_py.rs.wiring import capture_role

# How long drivers go on copying for an observer that was killed, and how often it says that it
# lives; the second is less than half of the first, so that a late turn loses nothing.
LEASE_NS = 2_000_000_000
RENEWAL_NS = 500_000_000

SNAP_MAX: int = lib.NT_CAPTURE_SNAP_MAX

# A cffi object.
_C = Any


class NoCaptureError(NewtosError):
    """A host has no such interface, or it can't be captured."""


class Capture:
    """Reads frames from one or more interfaces of a host; a context manager."""

    def __init__(self, record: HostRecord, names: Sequence[str] = (), snap_bytes: int = 0) -> None:
        """Attach to the interfaces of these names, or to all; `snap_bytes` 0: whole frames."""
        roles = _roles(record, names)
        self._snap_bytes = snap_bytes
        # Read once, so that intervals between packets are those of the monotonic clock.
        self._epoch_ns = time.time_ns() - now_ns()
        self._renewed_ns = 0
        self._rings = [
            _Ring(number, map_host_region(record, capture_role(role), capture_observer()))
            for number, role in enumerate(roles)
        ]
        self.interfaces = tuple(
            Interface(interface_name(role), f"{role} of host {record.host}", snap_bytes)
            for role in roles
        )
        self.renew()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def renew(self) -> bool:
        """Renew the lease if it is time, and say so; call it at least each second."""
        now = now_ns()
        if now - self._renewed_ns < RENEWAL_NS:
            return False
        self._renewed_ns = now
        for ring in self._rings:
            lib.nt_capture_renew(ring.reader, now, now + LEASE_NS, self._snap_bytes)
        return True

    def packets(self, most: int) -> list[Packet]:
        """Take what is there now, up to `most` packets an interface, in order of time."""
        found = [
            packet
            for ring in self._rings
            for packet in ring.packets(most, self._snap_bytes or SNAP_MAX, self._epoch_ns)
        ]
        return sorted(found, key=lambda packet: packet.time_ns)

    def lost(self, interface: int) -> int:
        """How many packets of an interface were overwritten before they were read."""
        count: int = self._rings[interface].reader.lost
        return count

    def close(self) -> None:
        """Detach; idempotent. The lease ends by itself, and may be another observer's, too."""
        while self._rings:
            unmap_memory(self._rings.pop().memory)


class _Ring:
    """One interface's ring, mapped and opened at its present end."""

    def __init__(self, interface: int, memory: Memory) -> None:
        self.memory = memory
        self.reader: _C = ffi.new("struct nt_capture_reader *")
        self._interface = interface
        self._record: _C = ffi.new("struct nt_capture_record *")
        self._frame: _C = ffi.new("char[]", SNAP_MAX)
        base = ffi.cast("void *", memory.address)
        if lib.nt_capture_reader_open(self.reader, base, memory.bytes) != 0:
            unmap_memory(memory)
            raise NoCaptureError("the capture ring is of another version; boot the host again")

    def packets(self, most: int, snap_bytes: int, epoch_ns: int) -> Iterator[Packet]:
        record = self._record
        for _ in range(most):
            if not lib.nt_capture_next(self.reader, record, self._frame, SNAP_MAX):
                return
            captured = min(record.captured_bytes, snap_bytes, SNAP_MAX)
            yield Packet(
                interface=self._interface,
                time_ns=epoch_ns + record.time_ns,
                direction=Direction.OUT if record.direction == Direction.OUT else Direction.IN,
                original_bytes=max(record.original_bytes, captured),
                frame=ffi.buffer(self._frame, captured)[:],
            )


def interface_name(role: str) -> str:
    """Name a driver's interface as the host does: wire.lan serves `lan`."""
    return role.rpartition(".")[2]


def _roles(record: HostRecord, names: Sequence[str]) -> list[str]:
    """Find the drivers of the interfaces that were asked for; NoCaptureError if there is none."""
    roles = [
        server.role for server in record.servers if has_region(record, capture_role(server.role))
    ]
    known = {interface_name(role): role for role in roles}
    for name in names:
        if name not in known:
            problem = f"host {record.host} has no interface {name}"
            raise NoCaptureError(f"{problem}; it has: {', '.join(known) or 'none'}")
    if not roles:
        raise NoCaptureError(f"host {record.host} has no interface to capture on")
    return [role for name, role in known.items() if not names or name in names]
