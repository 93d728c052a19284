"""C programs that print every answer they get (scenario.h), on Linux and on a real host."""

import os
import subprocess

import pytest

from newtos_py.rs.scratch import ScratchHosts

GROUPS = (
    "basic wrong vectors big full files refused reset streams datagrams",
    "receiving accepting closing connected_states datagram_states",
    "moving several questions endings",
    "urgent urgent_inline urgent_alone urgent_waiting urgent_ends urgent_far",
)
NAMES = [name for group in GROUPS for name in group.split()]
DEADLINE_S = 120


def said(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_linux(hosts: ScratchHosts, scenarios: str, name: str) -> None:
    plain = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    ours = said(hosts.on("server", [scenarios, name]), hosts.environ)
    assert ours == said([scenarios, name], plain)
