"""`newtos boot`, `ps` and `down` with the real servers, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newtos_py.rs.clean import clean
from newtos_py.rs.process_id import ProcessId, is_alive, send_signal
from newtos_py.rs.runtime import RuntimeDir

NEWTOS = (sys.executable, "-Pc", "from newtos_py.cli import main; main()")
TOPOLOGY = """
[host.web]
address = "10.0.0.2/24"
[host.client]
address = "10.0.0.3/24"
[wire.lan]
hosts = ["web", "client"]
"""
ROLES = ["wire.lan", "ip", "udp", "tcp0", "syscall"]
DEADLINE_S = 60.0


def newtos(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NEWTOS, *args], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


@pytest.fixture
def file(tmp_path: Path, runtime: RuntimeDir) -> Iterator[str]:
    path = tmp_path / "two.toml"
    path.write_text(TOPOLOGY)
    yield str(path)
    newtos("down", "--all")
    clean(runtime)


def everything(runtime: RuntimeDir) -> tuple[str, list[ProcessId]]:
    records = runtime.running_hosts()
    assert records
    processes = [process for record in records for process in (record.rs, *record.processes)]
    return records[0].token, processes


def leftovers(runtime: RuntimeDir, token: str, processes: list[ProcessId]) -> list[str]:
    regions = [path.name for path in Path("/dev/shm").iterdir() if f".{token}." in path.name]
    files = [str(path) for path in runtime.path.iterdir()]
    return regions + files + [str(process) for process in processes if is_alive(process)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        os.sched_yield()


def test_boot_shows_each_server_and_ps_finds_it(runtime: RuntimeDir, file: str) -> None:
    booted = newtos("boot", file, "--detach", "--json")
    assert booted.returncode == 0, booted.stderr
    rows = json.loads(booted.stdout)
    assert [(row["host"], row["server"]) for row in rows] == [
        (host, role) for host in ("web", "client") for role in ROLES
    ]
    assert all(row["ready_ms"] > 0 for row in rows)
    listed = json.loads(newtos("ps", "--json").stdout)
    assert {row["pid"] for row in listed} == {row["pid"] for row in rows}
    assert {row["state"] for row in listed} == {"running"}
    again = newtos("boot", file)
    assert (again.returncode, again.stdout) == (1, "")
    assert "is running already" in again.stderr
    token, processes = everything(runtime)
    stopped = json.loads(newtos("down", "--all", "--json").stdout)
    assert stopped == [{"host": "client", "clean": True}, {"host": "web", "clean": True}]
    assert leftovers(runtime, token, processes) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_an_attached_boot_is_the_end_of_its_hosts(
    runtime: RuntimeDir, file: str, number: signal.Signals
) -> None:
    with subprocess.Popen([*NEWTOS, "boot", file], stderr=subprocess.PIPE, text=True) as boot:
        assert boot.stderr is not None
        assert boot.stderr.readline() == "all hosts are up; Ctrl-C stops them\n"
        token, processes = everything(runtime)
        boot.send_signal(number)
        assert boot.wait(DEADLINE_S) == (-number if number is signal.SIGKILL else 130)
    # After SIGKILL nobody waits for rs, which stops everything in good order all the same.
    until(lambda: leftovers(runtime, token, processes) == [])


def test_a_mistake_in_the_file_is_shown_where_it_is(tmp_path: Path, runtime: RuntimeDir) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[host.web]\naddress = "10.0.0.2"\n')
    result = newtos("boot", str(path))
    assert result.returncode == 1
    assert f"{path}:2: host.web.address" in result.stderr
    assert list(runtime.path.iterdir()) == []


def test_every_real_server_recovers_when_it_is_killed(runtime: RuntimeDir, file: str) -> None:
    assert newtos("boot", file, "--detach").returncode == 0
    for role in ROLES:
        (victim,) = (each for each in runtime.find_host("web").servers if each.role == role)
        assert victim.process is not None
        assert send_signal(victim.process, signal.SIGKILL)
    until(lambda: [each.generation for each in runtime.find_host("web").servers] == [2] * 5)
    until(lambda: {each.state.value for each in runtime.find_host("web").servers} == {"running"})
    record = runtime.find_host("web")
    assert [each.restarts for each in record.servers] == [1] * 5
    assert "cold start" not in runtime.log_path(record.token, "web").read_text()
    assert [each.restarts for each in runtime.find_host("client").servers] == [0] * 5
