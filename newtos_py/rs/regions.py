"""The regions of a host, as rs keeps them: formatted, and ready to be handed to servers.

rs keeps each descriptor open and hands it to every generation of a server; names are only for
observers, and for cleaning up. How a server may map a region goes with the descriptor, as a
RegionPart.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.messages import RegionPart
from newtos_py.kernel.region import (
    Part,
    all_of,
    capture_driver,
    channel_consumer,
    channel_producer,
    create_region,
    map_memory,
    pool_sender,
    unlink_region,
    unmap_memory,
)
from newtos_py.rs.wiring import DESC_BYTES, RETURN_BYTES, RING_SLOTS, RegionKind, RegionPlan


@dataclass(frozen=True, slots=True)
class HostRegion:
    """A region that exists."""

    name: str
    descriptor: int
    plan: RegionPlan

    def read_only(self) -> RegionPart:
        """For whoever only looks."""
        return self._part(())

    def writable(self) -> RegionPart:
        """For the owner."""
        return self._part(all_of(self.plan.bytes))

    def producing(self) -> RegionPart:
        """For a channel's producer."""
        return self._part(channel_producer(self.plan.bytes))

    def capturing(self) -> RegionPart:
        """For the driver of a capture ring: all but the observers' page."""
        return self._part(capture_driver(self.plan.bytes))

    def consuming(self) -> RegionPart:
        """For a channel's consumer."""
        return self._part(channel_consumer())

    def lent(self) -> RegionPart:
        """For the sending end of a wire: a pool's buffers, not its header and use counts."""
        return self._part(pool_sender(self.plan.small_count, self.plan.large_count))

    def unlink(self) -> None:
        """Remove the name; descriptors and mappings go on."""
        unlink_region(self.name)

    def close(self) -> None:
        """Close rs's descriptor."""
        os.close(self.descriptor)

    def _part(self, writable: Sequence[Part]) -> RegionPart:
        return RegionPart(Fd(self.descriptor), self.plan.bytes, tuple(writable))


def create_host_region(name: str, plan: RegionPlan) -> HostRegion:
    """Create and format one region; RegionError if there is no room."""
    region = create_region(name, plan.bytes)
    _format(region.descriptor, plan)
    return HostRegion(name, region.descriptor, plan)


def _format(descriptor: int, plan: RegionPlan) -> None:
    """Write what a region must say before anybody maps it; an arena's engine does that itself."""
    memory = map_memory(descriptor, plan.bytes, all_of(plan.bytes))
    base = ffi.cast("void *", memory.address)
    match plan.kind:
        case RegionKind.DESCRIPTORS:
            lib.nt_channel_format(base, RING_SLOTS, DESC_BYTES)
        case RegionKind.RETURNS:
            lib.nt_channel_format(base, RING_SLOTS, RETURN_BYTES)
        case RegionKind.POOL:
            lib.nt_pool_format(base, plan.small_count, plan.large_count)
        case RegionKind.STATUS:
            lib.nt_status_format(ffi.cast("struct nt_status *", base))
        case RegionKind.CAPTURE:
            lib.nt_capture_format(base, lib.NT_CAPTURE_RING_BYTES)
        case RegionKind.ARENA:
            pass
    unmap_memory(memory)
