"""`newtos clean`: remove what hosts left behind whose rs was killed."""

import click

from newtos_py.cli import table
from newtos_py.cli.runtime_dir import open_own
from newtos_py.rs.clean import Leftover, clean


@click.command(epilog="Example: kill -9 RS_PID; newtos clean")
@table.json_option
def command(*, as_json: bool) -> None:
    """Remove processes, memory and files of hosts whose rs was killed.

    Living hosts are left alone.
    """
    removed = clean(open_own())
    table.show(Leftover, removed, as_json=as_json, empty="nothing was left behind")
