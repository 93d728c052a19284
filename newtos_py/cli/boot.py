"""`newtos boot`: start the hosts of a topology, and stay with them or leave them running.

rs is a process of its own (rs/boot.py). Attached to this one, it lives as long as this one does:
Ctrl-C and SIGTERM end both in good order, and if this process is killed, rs stops the hosts.
"""

import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from newtos_py.cli import table
from newtos_py.cli.interrupts import INTERRUPTED, interruptible
from newtos_py.cli.runtime_dir import open_own
from newtos_py.errors import NewtosError
from newtos_py.rs import front
from newtos_py.rs.boot import BootedRs, start_rs

_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class BootRow:
    """One server on its way up."""

    host: str
    server: str
    core: int
    pid: int | None
    # None until it is ready.
    ready_ms: float | None


@click.command(
    epilog="Example: newtos boot two-hosts.toml    or: newtos boot two-hosts.toml --detach"
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--detach", is_flag=True, help="Leave the hosts running; newtos down stops them.")
@table.json_option
def command(file: Path, *, detach: bool, as_json: bool) -> None:
    """Boot all hosts of the topology in FILE.

    Shows each server with its core, its process and the time it took to get ready. Without
    --detach the hosts run until Ctrl-C.
    """
    runtime = open_own()
    with interruptible():
        rs = start_rs(file, runtime, attached=not detach)
        try:
            rows = _follow(rs, live=not as_json and sys.stdout.isatty())
            if as_json or not sys.stdout.isatty():
                table.show(BootRow, rows, as_json=as_json, empty="no server")
            if not detach:
                _stay(rs)
        except KeyboardInterrupt:
            _stop(rs)
            raise click.exceptions.Exit(INTERRUPTED) from None


def _follow(rs: BootedRs, *, live: bool) -> list[BootRow]:
    """Watch the boot until all servers are ready; on a terminal the table grows as they do."""
    rows: list[BootRow] = []
    # Without a thread that refreshes: there is something new only when rs says so.
    screen = Live(console=Console(highlight=False), auto_refresh=False)
    for event in rs.events():
        rows = _after(rows, event)
        if live:
            if not screen.is_started:
                screen.start()
            screen.update(table.make(BootRow, rows), refresh=True)
    screen.stop()
    return rows


def _after(rows: list[BootRow], event: front.Planned | front.ServerReady) -> list[BootRow]:
    if isinstance(event, front.Planned):
        return [BootRow(each.host, each.role, each.core, None, None) for each in event.servers]
    return [
        replace(row, pid=event.pid, ready_ms=round(event.taken_us / _US_PER_MS, 1))
        if (row.host, row.server) == (event.host, event.role)
        else row
        for row in rows
    ]


def _stay(rs: BootedRs) -> None:
    """Wait for the end of rs: newtos down, or an accident."""
    click.echo("all hosts are up; Ctrl-C stops them", err=True)
    status = rs.wait()
    if status != 0:
        raise NewtosError(f"rs ended with status {status}; remove what is left with: newtos clean")


def _stop(rs: BootedRs) -> None:
    """End everything in good order, however impatient the user is."""
    while True:
        with suppress(KeyboardInterrupt):
            rs.stop()
            return
