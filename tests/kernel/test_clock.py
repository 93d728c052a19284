"""The clock is the system's monotonic one, never goes back, and is ordered between cores."""

import subprocess
import time
from collections.abc import Callable

import pytest

from newtos_py.kernel import clock


def test_now_is_the_monotonic_clock() -> None:
    before = time.monotonic_ns()
    now = clock.now_ns()
    after = time.monotonic_ns()
    assert before <= now <= after


def test_cycles_count_up() -> None:
    readings = [clock.cycles() for _ in range(1000)]
    assert readings == sorted(readings)
    assert readings[0] < readings[-1]


@pytest.mark.parametrize("sanitizer", ["none", "thread"])
def test_time_is_ordered_between_threads(
    c_program: Callable[[str, str], list[str]], sanitizer: str
) -> None:
    subprocess.run(c_program("clock_order", sanitizer), check=True)
