"""What wrk says is read, and a run with any error is refused."""

import json
from typing import Any

import pytest
from newtos_py.bench.report import BenchError
from newtos_py.bench.wrk import Load, parse, wrk_command

LOAD = Load("64.bin", 64, 8, close=False)
TOLD = {
    "requests": 1000,
    "duration_us": 2_000_000,
    "bytes": 300_000,
    "connect_errors": 0,
    "read_errors": 0,
    "write_errors": 0,
    "status_errors": 0,
    "timeouts": 0,
    "p50_us": 100,
    "p99_us": 900,
}


def said(**changes: Any) -> str:
    return f"Running 2s test\n  1 threads\n{json.dumps({**TOLD, **changes})}\n"


def test_rates_are_over_the_real_duration() -> None:
    measured = parse(said(duration_us=4_000_000), LOAD)
    assert (measured.requests_per_s, measured.bytes_per_s) == (250.0, 75_000.0)
    assert (measured.p50_us, measured.p99_us) == (100, 900)


@pytest.mark.parametrize(
    "error", ["connect_errors", "read_errors", "write_errors", "status_errors", "timeouts"]
)
def test_a_run_with_an_error_is_refused(error: str) -> None:
    with pytest.raises(BenchError, match=f"wrk saw 3 {error}"):
        parse(said(**{error: 3}), LOAD)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("unable to connect\n", "no result: unable to connect"),
        (said(requests=0), "no answer"),
        (said(bytes=63_999), "less than 64 bytes an answer"),
    ],
)
def test_a_run_without_a_result_is_refused(output: str, problem: str) -> None:
    with pytest.raises(BenchError, match=problem):
        parse(output, LOAD)


def test_one_request_a_connection_is_asked_for_by_a_header() -> None:
    kept = wrk_command(LOAD, "10.0.0.2:8080", 2)
    closed = wrk_command(Load("64.bin", 64, 8, close=True), "10.0.0.2:8080", 2)
    assert "Connection: close" not in kept
    assert "Connection: close" in closed
    assert kept[-3:] == closed[-3:] == ["http://10.0.0.2:8080/64.bin", "--", "1"]
