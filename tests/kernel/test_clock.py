"""The clock is the system's monotonic one, and never goes back."""

import time

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
