"""Which servers of a host run in one process, one engine after the other.

    placement = "split"                             each in a process of its own (the default)
    placement = "fused"                             drivers, IP, UDP and the first TCP server in one
    placement = { "wire.lan" = "net", ip = "net" }  any mixture, server by server

What is not named is alone, in a process of its own name. The syscall server has no engine, so it
always is. Servers of one process crash together and are restarted together.
"""

from collections.abc import Sequence

from newtos_py.topology.model import Host, Topology
from newtos_py.topology.source import suggest

# loop.h: NT_LOOP_ENGINES.
SERVERS_MAX = 8
FUSED = "fused"
_SYSCALL = "syscall"
_FIRST_LANE = "tcp0"


def processes_of(topology: Topology, host: Host, roles: Sequence[str]) -> dict[str, str]:
    """Name the process of each server, by role; `roles` are all of the host's, in boot order.

    TopologyError if the file names no such server, or puts together what can't be.
    """
    path = ("host", host.name, "placement")
    processes = {role: role for role in roles}
    if host.placement.is_fused:
        alone = roles.index(_FIRST_LANE) + 1
        processes.update(dict.fromkeys(roles[:alone], FUSED))
    for role, process in host.placement.named:
        here = (*path, role)
        if role not in processes:
            raise topology.source.error(here, "no such server", suggest(role, list(roles)))
        if _SYSCALL in (role, process):
            problem = "the syscall server always has a process of its own"
            raise topology.source.error(here, problem, "leave it out")
        processes[role] = process
    for process in processes.values():
        members = [role for role in roles if processes[role] == process]
        if len(members) > SERVERS_MAX:
            problem = f"{len(members)} servers in one process are too many"
            raise topology.source.error(path, problem, f"valid: up to {SERVERS_MAX}")
    return processes
