"""What all experiments report: on which machine, with what spread, and where to."""

import datetime
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from newtos_py import __version__
from newtos_py.errors import NewtosError

# Ignored by git.
RESULTS = Path("bench/results")


class BenchError(NewtosError):
    """A measurement that can't be made, or can't be trusted."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of one thing; the spread tells how quiet the machine was."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when."""

    date: str
    newtos_py: str
    kernel: str
    processor: str
    cores: int
    # Processes that wanted to run in the last minute: above 0.5 somebody else did, too.
    load: float


def summarize(runs: Sequence[float]) -> Summary:
    """Median and extremes of some runs."""
    return Summary(statistics.median(runs), min(runs), max(runs))


def this_machine() -> Machine:
    """Describe the machine, for who reads the results later."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    cores = len(os.sched_getaffinity(0))
    return Machine(now, __version__, platform.release(), _processor(), cores, os.getloadavg()[0])


def write_json(name: str, content: object, path: Path | None) -> Path:
    """Write results to `path`, or to a file of that experiment's in bench/results."""
    if path is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 (local)
        path = RESULTS / f"{name}-{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
