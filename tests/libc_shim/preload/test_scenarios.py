"""The same programs on Linux and through the shim: every result and every errno is the same."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RunOnHost = Callable[..., "subprocess.CompletedProcess[str]"]

GROUPS = (
    "basic wrong pipe_signal vectors big full files refused reset streams",
    "lowest closed duplicates ranges limit",
    "epoll_levels epoll_edges epoll_mixed epoll_wrong waking joining polls selects listening",
    "receiving interrupted accepting closing handlers forking_handlers",
    "children unix_sockets by_number fortified shells",
    "datagrams ancillary",
    "storm together waiters",
    "nested_levels nested_edges nested_wrong fair closed_while_waiting threads_in_one in_several",
    "arming",
    "jumps alarms cancelled exits forking closed_by_handler stopped",
    "child_serves child_goes_on parent_exits child_closes in_turn child_closes_all child_shuts",
    "child_drops duplicates_inherited child_polls grandchild",
    "exec_on_stdin exec_self exec_many exec_fails spawned shell_on_socket system_on_socket",
    "passed passed_to_oneself",
    "raw_forks unseen_fork",
    "fresh_states connected_states datagram_states edges edges_of_room connecting_edges",
    "one_of_many ended_by_another cancel_points wide_select",
    "epoll_in_child nested_in_child closed_in_child",
    "moving several questions",
)
NAMES = [name for group in GROUPS for name in group.split()]
# The fake host has no pump, nobody joins a listening socket, and forks are one at a time there: see
# test_sharing.py, tests/crash/test_waiting.py, tests/differential/test_scenarios.py.
REAL_HOSTS_ONLY = [
    "both_write",
    "both_read",
    "writers_collide",
    "writers_collide_nonblocking",
    "readers_collide",
    "a_file_and_a_word",
    "options_of_both",
    "reset_by_both",
    "shut_by_both",
    "datagrams_child_answers",
    "datagrams_child_for_each",
    "datagrams_both_receive",
    "datagrams_both_send",
    "datagrams_both_poll",
    "datagrams_polled",
    "datagrams_level",
    "datagrams_edge",
    "datagrams_connected_by_child",
    "datagrams_exec",
    "datagrams_passed",
    "workers",
    "workers_listen",
    "listener_left_behind",
    "listener_over_exec",
    "listener_passed",
    "listen_in_child",
    "forks_and_threads",
    # It does not reset.
    "endings",
    # It knows of no urgent data.
    "urgent",
    "urgent_inline",
    "urgent_alone",
    "urgent_waiting",
    "urgent_ends",
    "urgent_far",
]


def on_linux(program: str, name: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run(
        [program, name], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_names_are_all(scenarios: str) -> None:
    listed = subprocess.run([scenarios], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == sorted(NAMES + REAL_HOSTS_ONLY)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_linux(scenarios: str, on_host: RunOnHost, name: str) -> None:
    done = on_host(scenarios, name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == on_linux(scenarios, name)


def test_a_full_log_ends_no_program(scenarios: str, on_host: RunOnHost, tmp_path: Path) -> None:
    """As sshd's child, which may write to no file any more: SIGXFSZ would kill it."""
    log = tmp_path / "log"
    limited = 'ulimit -f 0; exec "$0" basic'
    done = on_host("sh", "-c", limited, scenarios, NEWTOS_LOG=f"{log},debug")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == on_linux(scenarios, "basic")
    assert "on host" in log.read_text()


# Not: those whose programs are killed (valgrind writes cores of all the areas), set limits, or make
# system calls that valgrind does not know.
NOT_MEMCHECKED = ("pipe_signal", "fortified", "limit", "exec_many", "wide_select", "nested_wrong")
MEMCHECKED = [name for name in NAMES if name not in NOT_MEMCHECKED]


@pytest.mark.slow
@pytest.mark.apps("valgrind")
@pytest.mark.parametrize("name", MEMCHECKED)
def test_memcheck_finds_nothing(scenarios: str, on_host: RunOnHost, name: str) -> None:
    done = on_host("valgrind", "-q", "--error-exitcode=9", scenarios, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == on_linux(scenarios, name)
