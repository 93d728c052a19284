"""Running wrk, the HTTP load generator, and reading what it measured.

A run with any error is refused: a server that refuses quickly looks fast.
"""

import importlib.resources
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from newtos_py.bench.report import BenchError

# wrk ends by itself after its duration; then something hangs.
_GRACE_S = 20
_ERRORS = ("connect_errors", "read_errors", "write_errors", "status_errors", "timeouts")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to do."""

    path: str
    # Of the body of each answer.
    size_bytes: int
    connections: int
    # A new connection for each request.
    close: bool
    # Requests that are sent together, before the first answer.
    pipelined: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a run of wrk saw."""

    requests: int
    requests_per_s: float
    # Of headers and bodies.
    bytes_per_s: float
    p50_us: int
    p99_us: int


def wrk_command(load: Load, address: str, seconds: int) -> list[str]:
    """Make the command."""
    script = importlib.resources.files("newtos_py.bench") / "wrk.lua"
    header = ["-H", "Connection: close"] if load.close else []
    return ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "5s",
            "-s", str(script), *header, f"http://{address}/{load.path}",
            "--", str(load.pipelined)]  # fmt: skip


def run_wrk(
    command: Sequence[str], environ: Mapping[str, str], load: Load, seconds: int
) -> Measurement:
    """Run wrk and read its result; BenchError if anything went wrong."""
    try:
        done = subprocess.run(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + _GRACE_S,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"wrk did not end within {seconds + _GRACE_S} s") from None
    if done.returncode != 0:
        raise BenchError(f"wrk ended with status {done.returncode}: {done.stderr.strip()}")
    return parse(done.stdout, load)


def parse(output: str, load: Load) -> Measurement:
    """Read the line that wrk.lua printed; BenchError if it tells of errors."""
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise BenchError(f"wrk printed no result: {output.strip()}")
    told: dict[str, int] = json.loads(line)
    errors = {name: told[name] for name in _ERRORS if told[name]}
    if errors:
        listed = ", ".join(f"{count} {name}" for name, count in errors.items())
        raise BenchError(f"wrk saw {listed}")
    if told["requests"] == 0:
        raise BenchError("wrk saw no answer")
    if told["bytes"] < told["requests"] * load.size_bytes:
        raise BenchError(f"wrk received less than {load.size_bytes} bytes an answer")
    seconds = told["duration_us"] / 1e6
    return Measurement(
        requests=told["requests"],
        requests_per_s=told["requests"] / seconds,
        bytes_per_s=told["bytes"] / seconds,
        p50_us=told["p50_us"],
        p99_us=told["p99_us"],
    )
