"""`newtos ps`: the servers of all hosts."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from newtos_py.cli import table
from newtos_py.cli.runtime_dir import open_own
from newtos_py.rs.process_id import is_alive
from newtos_py.rs.records import HostRecord, ServerRecord

# The state of what a dead rs has left behind, beside those of ServerState.
ORPHAN = "orphan"
DEAD = "dead"


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server, as rs has it on record."""

    host: str
    server: str
    pid: int | None
    core: int
    state: str
    generation: int
    restarts: int


@click.command(epilog="Example: newtos ps --json")
@table.json_option
def command(*, as_json: bool) -> None:
    """Show the servers of all hosts: process, core, state, restarts.

    State is starting, running, restarting or failed. Where a host's rs was killed, its servers are
    orphan (still running) or dead; `newtos clean` removes both.
    """
    rows = [row for record in open_own().all_hosts() for row in server_rows(record)]
    table.show(ServerRow, rows, as_json=as_json, empty="no host is running")


def server_rows(record: HostRecord) -> Iterator[ServerRow]:
    """Make the rows of one host."""
    host_is_alive = record.is_alive
    for server in record.servers:
        yield ServerRow(
            host=record.host,
            server=server.role,
            pid=server.process.pid if server.process is not None else None,
            core=server.core,
            state=server.state.value if host_is_alive else _state_without_rs(server),
            generation=server.generation,
            restarts=server.restarts,
        )


def _state_without_rs(server: ServerRecord) -> str:
    return ORPHAN if server.process is not None and is_alive(server.process) else DEAD
