"""Programs that wait, are interrupted and fork, on a host whose servers run: answers as on Linux.

The same scenarios run against a fake host in tests/libc_shim/preload; here news comes when it
comes, and a signal may find a call anywhere.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_hosts import TOPOLOGY, WEB, RealHosts

from newtos_py.rs.scratch import ScratchHosts

SCENARIOS = Path(__file__).parent.parent / "libc_shim" / "preload" / "scenarios"
GROUPS = (
    "epoll_levels epoll_edges epoll_mixed waking joining polls selects listening interrupted",
    "nested_levels nested_edges fair closed_while_waiting threads_in_one in_several arming",
    "jumps alarms cancelled exits forking closed_by_handler stopped",
    "fresh_states connected_states datagram_states edges edges_of_room connecting_edges",
    "one_of_many ended_by_another cancel_points wide_select forks_and_threads",
    "epoll_in_child nested_in_child closed_in_child listen_in_child",
)
NAMES = [name for group in GROUPS for name in group.split()]


@pytest.fixture(scope="module")
def running_hosts() -> Iterator[RealHosts]:
    with ScratchHosts(TOPOLOGY) as scratch:
        yield RealHosts(scratch)


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("not installed: a C compiler")
    program = tmp_path_factory.mktemp("scenarios") / "scenarios"
    flags = ["-std=gnu11", "-O1", "-g", "-D_GNU_SOURCE", "-w"]
    sources = sorted(SCENARIOS.glob("*.c"))
    subprocess.run([compiler, *flags, "-o", program, *sources, "-lpthread"], check=True)
    return str(program)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_linux(running_hosts: RealHosts, scenarios: str, name: str) -> None:
    command = [scenarios, name]
    linux = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert running_hosts.run(WEB, command, timeout_s=60) == linux.stdout
