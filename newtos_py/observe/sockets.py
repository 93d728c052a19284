"""The sockets of a running host, read from its servers' arenas.

Each server of a host that knows sockets reads its own arena (ServerSpec.sockets), which is mapped
read-only here; what an observer does can't disturb a host. A server that is dead or just being
restarted still has its arena, so its sockets show all the same.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

from newtos_py.kernel.region import unmap_memory
from newtos_py.kernel.server import Memory
from newtos_py.kernel.sockets import SocketInfo, SocketState
from newtos_py.observe.attach import has_region, map_host_region
from newtos_py.rs.records import HostRecord
from newtos_py.rs.specs import load_spec
from newtos_py.rs.wiring import arena_role
from newtos_py.topology.plan import ServerKind

Reader = Callable[[Memory], Iterable[SocketInfo]]


def host_sockets(record: HostRecord) -> Iterator[SocketInfo]:
    """Read all sockets of a host; RegionError if it stops meanwhile.

    A socket listens in every lane, but is one: its accept queues are added up.
    """
    listening: dict[tuple[object, ...], SocketInfo] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for role, info in _server_sockets(record):
        if info.state is not SocketState.LISTEN:
            yield info
            continue
        # SO_REUSEPORT: a program may have several of one name. The nth in each lane are one.
        name = (info.protocol, info.local, info.pid)
        nth = (*name, counts[*name, role])
        counts[*name, role] += 1
        before = listening.get(nth)
        recv_q = info.recv_q + (before.recv_q if before is not None else 0)
        listening[nth] = replace(info, recv_q=recv_q)
    yield from listening.values()


def _server_sockets(record: HostRecord) -> Iterator[tuple[str, SocketInfo]]:
    for server in record.servers:
        role = arena_role(server.role)
        reader = find_reader(server.role)
        if reader is None or not has_region(record, role):
            continue
        memory = map_host_region(record, role)
        try:
            for info in reader(memory):
                yield server.role, info
        finally:
            unmap_memory(memory)


def find_reader(role: str) -> Reader | None:
    """Find who can read the sockets in a server's arena; None if it has none."""
    # Lanes are numbered: tcp0 is a server of the kind tcp.
    points = entry_points(group=ServerKind.SERVER.value, name=role.rstrip("0123456789"))
    for point in points:
        return load_spec(point.value).sockets
    return None


def process_name(pid: int) -> str:
    """The name of a process; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
