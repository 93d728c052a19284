"""Sockets that several processes hold, on real hosts: as on Linux, and nothing is left behind."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from newtos_py.servers.syscall import SERVER as SYSCALL
from newtos_py.servers.tcp import SERVER as TCP
from real_hosts import CLIENT, TOPOLOGY, WEB, RealHosts, until

from newtos_py.rs.scratch import ScratchHosts

GROUPS = (
    "child_serves child_goes_on parent_exits child_closes in_turn child_closes_all child_shuts",
    "child_drops duplicates_inherited child_polls grandchild",
    "exec_on_stdin exec_self exec_fails spawned shell_on_socket system_on_socket",
    "workers workers_listen listener_left_behind listener_over_exec listener_passed",
    "passed passed_to_oneself both_write both_read",
    "writers_collide writers_collide_nonblocking readers_collide a_file_and_a_word",
    "options_of_both reset_by_both shut_by_both",
    "datagrams_child_answers datagrams_child_for_each datagrams_both_receive datagrams_both_send",
    "datagrams_both_poll datagrams_connected_by_child datagrams_exec datagrams_passed",
    "datagrams_polled datagrams_level datagrams_edge",
)
NAMES = [name for group in GROUPS for name in group.split()]


@pytest.fixture(scope="module")
def hosts() -> Iterator[RealHosts]:
    with ScratchHosts(TOPOLOGY) as scratch:
        yield RealHosts(scratch)


def on_linux(program: str, name: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run(
        [program, name], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def await_nothing_left(hosts: RealHosts) -> None:
    """No program, no listener, no connection but those in TIME-WAIT."""

    def is_clean() -> bool:
        with hosts.status(WEB, "syscall") as status:
            kept = [
                status.counter[SYSCALL.counters.index(name)] for name in ("programs", "listeners")
            ]
        with hosts.status(WEB, "tcp0") as status:
            kept.append(status.counter[TCP.counters.index("tcbs_in_use")])
        return not any(kept)

    until(is_clean, "all sockets are gone")


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_linux(scenarios: str, hosts: RealHosts, name: str) -> None:
    assert hosts.run(WEB, [scenarios, name]) == on_linux(scenarios, name)
    await_nothing_left(hosts)


STREAMS = ("in_turn", "exec_on_stdin", "shell_on_socket")
DATAGRAMS = ("datagrams_both_receive", "datagrams_both_send", "datagrams_connected_by_child")


@pytest.mark.parametrize(
    ("role", "names"),
    [("syscall", STREAMS), ("tcp0", STREAMS), ("syscall", DATAGRAMS), ("udp", DATAGRAMS)],
    ids=["syscall", "tcp0", "syscall datagrams", "udp"],
)
def test_kills_in_between_change_nothing(
    scenarios: str, hosts: RealHosts, role: str, names: tuple[str, ...]
) -> None:
    """Tokens, references and moves outlive the server that keeps them."""
    for name in names:
        with hosts.start(WEB, [scenarios, name]) as process:
            hosts.kill(WEB, role)
            said = process.communicate(timeout=30)[0].decode()
        assert said == on_linux(scenarios, name)
    await_nothing_left(hosts)


SERVER = """
import os, socket
with socket.create_server(("", 7000)) as listener:
    print("ready", flush=True)
    for _ in range(20):
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            while data := connection.recv(65536):
                connection.sendall(data)
            os._exit(0)
        connection.close()
    for _ in range(20):
        os.wait()
"""
CLIENTS = """
import os, socket
for _ in range(20):
    with socket.create_connection(("10.0.0.2", 7000)) as connection:
        sent = os.urandom(50000)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while piece := connection.recv(65536):
            got += piece
        assert got == sent
"""


def test_a_process_for_each_connection_over_a_wire(hosts: RealHosts) -> None:
    with hosts.start(WEB, ["python3", "-c", SERVER]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        hosts.run(CLIENT, ["python3", "-c", CLIENTS])
        assert server.wait(30) == 0
    await_nothing_left(hosts)
