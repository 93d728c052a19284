"""`newtos down`: stop hosts, and see that nothing of them is left."""

import signal
from dataclasses import dataclass
from itertools import groupby

import click

from newtos_py.cli import table
from newtos_py.cli.runtime_dir import open_own
from newtos_py.rs.boot import stop_hosts
from newtos_py.rs.clean import clean
from newtos_py.rs.process_id import send_signal, wait_for_exit
from newtos_py.rs.records import HostRecord
from newtos_py.rs.runtime import RuntimeDir

# rs stops its servers one after another, each at the next step boundary; then it is forced.
_STOP_TIMEOUT_S = 10.0
_KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class StoppedRow:
    """One host that was stopped."""

    host: str
    # False: its rs did not end in time and was killed.
    clean: bool


@click.command(epilog="Example: newtos down web    or: newtos down --all")
@click.argument("host", required=False)
@click.option("--all", "every", is_flag=True, help="Stop all hosts.")
@table.json_option
def command(host: str | None, *, every: bool, as_json: bool) -> None:
    """Stop HOST, or all hosts: servers, memory and files go.

    Programs that still run there find their connections gone.
    """
    if (host is None) != every:
        raise click.UsageError("name a host, or say --all")
    runtime = open_own()
    records = runtime.running_hosts() if host is None else [runtime.find_host(host)]
    stopped = stop(runtime, records)
    if not all(row.clean for row in stopped):
        clean(runtime)
    table.show(StoppedRow, stopped, as_json=as_json, empty="no host is running")


def stop(runtime: RuntimeDir, records: list[HostRecord]) -> list[StoppedRow]:
    """Ask each rs to shut its hosts down; kill the one that does not in time."""
    rows = []
    for token, of_instance in groupby(sorted(records, key=_instance), key=_instance):
        hosts = list(of_instance)
        is_clean = stop_hosts(runtime, token, [each.host for each in hosts], _STOP_TIMEOUT_S)
        if is_clean and not runtime.records(token):
            # rs has stopped its last host, so it ends, and the zygote with it.
            is_clean = wait_for_exit(hosts[0].rs, _STOP_TIMEOUT_S)
        if not is_clean:
            send_signal(hosts[0].rs, signal.SIGKILL)
            wait_for_exit(hosts[0].rs, _KILL_TIMEOUT_S)
        rows += [StoppedRow(each.host, is_clean) for each in hosts]
    return sorted(rows, key=lambda row: row.host)


def _instance(record: HostRecord) -> str:
    return record.token
