"""The papers' baselines (NEWTOS_SOCKETS): the same answers, another way through the host."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from newtos_py.rs.scratch import ScratchHosts

MODES = ("syscall", "channel")
GROUPS = (
    "basic vectors files refused streams datagrams epoll_levels child_serves",
    # Only in make check.
    "wrong big full reset ancillary receiving accepting connected_states datagram_states",
    "epoll_mixed polls selects children in_turn several",
)
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if group != GROUPS[0] else [])
    for group in GROUPS
    for name in group.split()
]
DEADLINE_S = 120
ALONE = 'host.solo.address = "10.0.0.2/24"'
CONNECT = """
import errno, socket
listener = socket.create_server(("127.0.0.1", 0))
ours = socket.create_connection(listener.getsockname())
theirs, _ = listener.accept()
"""
TALK = (
    CONNECT
    + """
for i in range(100):
    ours.sendall(b"a question")
    assert theirs.recv(100) == b"a question"
"""
)
MANY = """
import socket
listener = socket.create_server(("127.0.0.1", 0), backlog=16)
clients = [socket.create_connection(listener.getsockname()) for _ in range(16)]
served = [listener.accept() for _ in clients]
names = {client.getsockname() for client in clients}
assert {peer for _, peer in served} == names
print(len(served), "accepted")
"""
ASK = (
    CONNECT
    + """
print("asking", flush=True)
ours.setblocking(False)
while True:
    try:
        ours.recv(1)
    except BlockingIOError:
        continue
    except OSError as error:
        print(errno.errorcode[error.errno])
        break
"""
)


def said(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_linux(
    hosts: ScratchHosts, scenarios: str, name: str, mode: str
) -> None:
    plain = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    environ = {**hosts.environ, "NEWTOS_SOCKETS": mode}
    ours = said(hosts.on("server", [scenarios, name]), environ)
    assert ours == said([scenarios, name], plain)


def test_calls_go_to_the_server(hosts: ScratchHosts, tmp_path: Path) -> None:
    asked = {}
    for mode in ("", *MODES):
        stats = tmp_path / f"stats-{mode}"
        environ = {**hosts.environ, "NEWTOS_SOCKETS": mode, "NEWTOS_STATS": str(stats)}
        said(hosts.on("server", [sys.executable, "-Pc", TALK]), environ)
        asked[mode] = json.loads(stats.read_text())["server_calls"]
    assert asked[""] < 10
    assert all(asked[mode] > 200 for mode in MODES)


@pytest.mark.usefixtures("no_sanitizer")
@pytest.mark.parametrize("mode", MODES)
def test_each_lane_is_asked(mode: str) -> None:
    """Connections to a host with two TCP servers come from either."""
    with ScratchHosts(ALONE + "\nhost.solo.lanes = 2") as hosts:
        environ = {**hosts.environ, "NEWTOS_SOCKETS": mode}
        told = said(hosts.on("solo", [sys.executable, "-Pc", MANY]), environ)
        assert told == "16 accepted\n"


def queues_of(pid: int) -> int:
    """How many System V queues a program sends to or receives from (lspid, lrpid)."""
    lines = Path("/proc/sysvipc/msg").read_text().splitlines()
    names = lines[0].split()
    last = [names.index(name) for name in ("lspid", "lrpid")]
    return sum(str(pid) in [line.split()[i] for i in last] for line in lines[1:])


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("no_sanitizer")
@pytest.mark.parametrize("mode", MODES)
def test_killing_the_syscall_server_gives_an_errno(mode: str) -> None:
    with ScratchHosts(ALONE) as hosts:
        environ = {**hosts.environ, "NEWTOS_SOCKETS": mode}
        command = hosts.on("solo", [sys.executable, "-Pc", ASK])
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as asking:
            assert asking.stdout is not None
            assert asking.stdout.readline() == "asking\n"
            expected = 2 if mode == "syscall" else 0
            eventually(lambda: queues_of(asking.pid) == expected)
            processes = {each.role: each.process for each in hosts.record("solo").servers}
            syscall = processes["syscall"]
            assert syscall is not None
            os.kill(syscall.pid, signal.SIGKILL)
            said_last, _ = asking.communicate(timeout=DEADLINE_S)
            assert said_last == "ENETDOWN\n"
            eventually(lambda: queues_of(asking.pid) == 0)
