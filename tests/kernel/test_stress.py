"""C programs that race, sleep and die for real, with a sanitizer around the whole process."""

import subprocess
from collections.abc import Callable

import pytest

DEADLINE_S = 60


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
@pytest.mark.parametrize("program", ["channel_stress", "doorbell_stress", "listener_race"])
def test_threads(c_program: Callable[[str, str], list[str]], program: str, sanitizer: str) -> None:
    subprocess.run(c_program(program, sanitizer), check=True, timeout=DEADLINE_S)


@pytest.mark.parametrize("sanitizer", ["none", "address,undefined"])
def test_killed_at_every_crash_point(
    c_program: Callable[[str, str], list[str]], sanitizer: str
) -> None:
    subprocess.run(c_program("arena_crash", sanitizer), check=True, timeout=DEADLINE_S)
