"""`newtos counters`: what the servers of a host have counted."""

import click

from newtos_py.cli import table
from newtos_py.cli.runtime_dir import open_own
from newtos_py.observe.counters import CounterRow, host_counters


@click.command(epilog="Example: newtos counters --host web --server tcp0")
@click.option("--host", metavar="NAME", help="Only this host's.")
@click.option("--server", metavar="NAME", help="Only this server's, named as newtos ps does.")
@click.option("--all", "with_zeros", is_flag=True, help="Also what is 0.")
@table.json_option
def command(*, host: str | None, server: str | None, with_zeros: bool, as_json: bool) -> None:
    """Show what servers have counted since their host was booted, whatever is not 0."""
    runtime = open_own()
    records = [runtime.find_host(host)] if host is not None else runtime.all_hosts()
    rows = [
        row
        for record in records
        for row in host_counters(record)
        if (with_zeros or row.value != 0) and server in (None, row.server)
    ]
    table.show(CounterRow, rows, as_json=as_json, empty="nothing was counted")
