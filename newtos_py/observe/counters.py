"""What the servers of a running host have counted, read from their status pages.

Counters are of a role, not of a process: a restarted server counts on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

from newtos_py.kernel._kernel import ffi
from newtos_py.kernel.region import unmap_memory
from newtos_py.observe.attach import has_region, map_host_region
from newtos_py.rs.records import HostRecord
from newtos_py.rs.specs import load_spec
from newtos_py.rs.wiring import status_role
from newtos_py.topology.plan import ServerKind


@dataclass(frozen=True, slots=True)
class CounterRow:
    """One counter of one server."""

    host: str
    server: str
    counter: str
    value: int


def host_counters(record: HostRecord) -> Iterator[CounterRow]:
    """Read all counters of a host; RegionError if it stops meanwhile."""
    for server in record.servers:
        names = _names(server.role)
        if not names or not has_region(record, status_role(server.role)):
            continue
        memory = map_host_region(record, status_role(server.role))
        try:
            status = ffi.cast("const struct nt_status *", memory.address)
            values = [int(status.counter[i]) for i in range(len(names))]
        finally:
            unmap_memory(memory)
        for name, value in zip(names, values, strict=True):
            yield CounterRow(record.host, server.role, name, value)


def _names(role: str) -> tuple[str, ...]:
    """What a server counts; nothing if its program is not installed any more."""
    # "tcp0" is a server of the kind tcp, "wire.lan" a driver of the kind wire.
    kind = role.split(".", maxsplit=1)[0].rstrip("0123456789")
    for group in ServerKind:
        for point in entry_points(group=group.value, name=kind):
            return load_spec(point.value).counters
    return ()
