"""What holds for every command, and the commands that only read and signal."""

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from newtos_py import __version__
from newtos_py.cli import COMMANDS, main
from newtos_py.rs.process_id import ProcessId, is_alive, own_id, send_signal, wait_for_exit
from newtos_py.rs.records import HostRecord, ServerRecord, ServerState
from newtos_py.rs.runtime import RuntimeDir

Start = Callable[..., ProcessId]
Record = Callable[..., HostRecord]


def newtos(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def kill(process: ProcessId) -> None:
    assert send_signal(process, signal.SIGKILL)
    assert wait_for_exit(process, 30)


def test_version() -> None:
    result = newtos("--version")
    assert result.exit_code == 0
    assert __version__ in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    result = newtos(name, "--help")
    assert result.exit_code == 0
    assert f"newtos {name}" in result.output.partition("Example:")[2]


def test_help_lists_all_commands_with_a_word_on_each() -> None:
    result = newtos("--help")
    for name in COMMANDS:
        (line,) = [line for line in result.output.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 3


def test_a_command_that_does_not_exist() -> None:
    result = newtos("bot")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_what_can_be_explained_is_a_line_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NEWTOS_RUNTIME_DIR", str(tmp_path / "missing" / "dir"))
    result = newtos("ps")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("newtos: can't make the runtime directory")
    assert len(result.stderr.splitlines()) == 1


def test_a_bug_is_not_explained_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: click.Context) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("newtos_py.cli.ps.command.invoke", broken)
    assert isinstance(newtos("ps").exception, ZeroDivisionError)


def test_ps_without_hosts(runtime: RuntimeDir) -> None:
    assert list(runtime.path.iterdir()) == []
    assert newtos("ps").stderr == "no host is running\n"
    assert json.loads(newtos("ps", "--json").stdout) == []


def test_ps_shows_the_servers_as_recorded(
    runtime: RuntimeDir, record: Record, start: Start
) -> None:
    server = start()
    web = record(
        "web",
        own_id(),
        ServerRecord("ip", 1, ServerState.RUNNING, 3, 2, server),
        ServerRecord("tcp0", 0, ServerState.FAILED, 9, 8, None),
    )
    runtime.register([web])
    assert json.loads(newtos("ps", "--json").stdout) == [
        {
            "host": "web",
            "server": "ip",
            "pid": server.pid,
            "core": 1,
            "state": "running",
            "generation": 3,
            "restarts": 2,
        },
        {
            "host": "web",
            "server": "tcp0",
            "pid": None,
            "core": 0,
            "state": "failed",
            "generation": 9,
            "restarts": 8,
        },
    ]
    head, *rows = newtos("ps").stdout.splitlines()
    assert head.split() == "HOST SERVER PID CORE STATE GENERATION RESTARTS".split()  # noqa: SIM905
    assert [row.split()[:3] for row in rows] == [
        ["web", "ip", str(server.pid)],
        ["web", "tcp0", "-"],
    ]


def test_ps_shows_what_a_dead_rs_has_left(
    runtime: RuntimeDir, record: Record, start: Start
) -> None:
    rs, gone, left = start(), start(), start()
    servers = [
        ServerRecord(role, 0, ServerState.RUNNING, 1, 0, process)
        for role, process in (("ip", left), ("udp", gone), ("tcp0", None))
    ]
    runtime.register([record("web", rs, *servers)])
    kill(rs)
    kill(gone)
    rows = json.loads(newtos("ps", "--json").stdout)
    assert [row["state"] for row in rows] == ["orphan", "dead", "dead"]


def test_clean_says_what_it_removed(runtime: RuntimeDir, record: Record, start: Start) -> None:
    rs, server = start(), start()
    web = record("web", rs, ServerRecord("ip", 0, ServerState.RUNNING, 1, 0, server))
    runtime.register([web])
    kill(rs)
    rows = json.loads(newtos("clean", "--json").stdout)
    assert {"kind": "process", "name": str(server.pid)} in rows
    assert not is_alive(server)
    assert list(runtime.path.iterdir()) == []
    assert newtos("clean").stderr == "nothing was left behind\n"


# An rs that shuts down as it should: told to stop, it forgets its host, says so and ends.
WILLING = """
import socket, sys
from pathlib import Path
from newtos_py.kernel.link import Link
from newtos_py.rs.front import FRONT_CODEC, Stop, Stopped
from newtos_py.rs.runtime import open_runtime_dir
runtime, token, host = open_runtime_dir(Path(sys.argv[1])), *sys.argv[2:]
runtime.folder(token).mkdir()
listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listening.bind(str(runtime.rs_path(token)))
listening.listen()
print("ready", flush=True)
link = Link(listening.accept()[0], FRONT_CODEC)
assert link.receive() == Stop((host,))
runtime.rs_path(token).unlink()
runtime.forget(token, host)
link.send(Stopped((host,)))
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""


def boot(start: Start, runtime: RuntimeDir, planned: HostRecord, program: str) -> HostRecord:
    """Run `program` as the rs of a host and enter it."""
    arguments = (str(runtime.path), planned.token, planned.host)
    rs = start(sys.executable, "-Pc", program, *arguments, says_ready=True)
    booted = replace(planned, rs=rs)
    runtime.register([booted])
    return booted


def test_down_stops_one_host(runtime: RuntimeDir, record: Record, start: Start) -> None:
    web, client = (
        boot(start, runtime, record(name, own_id()), WILLING) for name in ("web", "client")
    )
    assert json.loads(newtos("down", "web", "--json").stdout) == [{"host": "web", "clean": True}]
    assert not is_alive(web.rs)
    assert is_alive(client.rs)
    assert runtime.all_hosts() == [client]


def test_down_stops_all_hosts(runtime: RuntimeDir, record: Record, start: Start) -> None:
    for name in ("web", "client"):
        boot(start, runtime, record(name, own_id()), WILLING)
    rows = json.loads(newtos("down", "--all", "--json").stdout)
    assert [row["host"] for row in rows] == ["client", "web"]
    assert list(runtime.path.iterdir()) == []
    assert newtos("down", "--all").stderr == "no host is running\n"


def test_down_kills_an_rs_that_does_not_listen_and_cleans_up(
    runtime: RuntimeDir, record: Record, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("newtos_py.cli.down._STOP_TIMEOUT_S", 0.0)
    server = start()
    planned = record("web", own_id(), ServerRecord("ip", 0, ServerState.RUNNING, 1, 0, server))
    web = boot(start, runtime, planned, STUBBORN)
    assert json.loads(newtos("down", "web", "--json").stdout) == [{"host": "web", "clean": False}]
    assert not is_alive(web.rs)
    assert not is_alive(server)
    assert list(runtime.path.iterdir()) == []


@pytest.mark.parametrize("args", [[], ["web", "--all"]])
def test_down_wants_a_host_or_all(args: list[str]) -> None:
    result = newtos("down", *args)
    assert result.exit_code == 2
    assert "name a host, or say --all" in result.stderr


def test_down_of_a_host_that_does_not_run(runtime: RuntimeDir) -> None:
    assert list(runtime.path.iterdir()) == []
    result = newtos("down", "web")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no host web is running" in result.stderr
