"""How many instructions the small steps take: the figures that repeat exactly.

    python -m newtos_py.bench.instructions [--store]

Times on a shared machine say little about a change of a few per cent; instruction counts under
callgrind say it at once. Counted are steps of the TCP engine alone (instructions_engine.py) and
calls of a program through the preloaded library (instructions_calls.py), each the mean of many.
instructions.toml holds what they were, for each compiler and C library; the tests fail when a
count has grown by more than 5 % and the stored one was not changed with it.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from newtos_py.bench.report import BenchError
from newtos_py.bench.sides import SERVER, NewtosSide, two_cores
from rich.console import Console
from rich.table import Table

STORED = Path("bench/instructions.toml")
# What a count may grow by before it is a regression.
TOLERANCE = 0.05
_ENGINE = "newtos_py.bench.instructions_engine"
_CALLS = "newtos_py.bench.instructions_calls"
_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def count_engine() -> dict[str, float]:
    """Instructions of each step of the TCP engine."""
    with tempfile.TemporaryDirectory(prefix="newtos-count-") as folder:
        command = [
            *_callgrind(Path(folder), ["nt_sim_host_step_counted"], "nt_sim_host_unsent"),
            *_python(_ENGINE),
        ]
        times: dict[str, int] = json.loads(_output_of(command))
        totals = _dumps(Path(folder), len(times))
        return {name: totals[i] / times[name] for i, name in enumerate(times)}


def count_calls() -> dict[str, float]:
    """Instructions of socket calls of a program on a host."""
    with NewtosSide(two_cores()) as side, tempfile.TemporaryDirectory() as folder:
        command = side.on(
            SERVER,
            [
                *_callgrind(Path(folder), ["recv", "epoll_wait"], "getprotobyname"),
                *_python(_CALLS),
            ],
        )
        received, waited = json.loads(_output_of(command, side.environ))
        # Dumps: getting ready, the receives, the first wait, the waits.
        totals = _dumps(Path(folder), 4)
        return {
            "empty recv": totals[1] / received,
            "epoll_wait, 1 of 8,000 sockets ready": totals[3] / waited,
        }


def platform_name() -> str:
    """Name the compiler and the C library: what the counts depend on beside the source."""
    compiler = _output_of(["cc", "-dumpfullversion"]).strip()
    return f"{platform.machine()}, cc {compiler}, {' '.join(platform.libc_ver())}"


def stored(path: Path = STORED) -> dict[str, float]:
    """The counts stored for this platform; empty where there are none."""
    everything = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    counts: dict[str, float] = everything.get(platform_name(), {})
    return counts


def grown(counts: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """Say which counts have grown beyond the tolerance."""
    return [
        f"{name}: {counts[name]:.0f} instructions, {was:.0f} before"
        for name, was in before.items()
        if name in counts and counts[name] > was * (1 + TOLERANCE)
    ]


def store(counts: Mapping[str, float], path: Path = STORED) -> None:
    """Make these the stored counts of this platform; other platforms' stay."""
    everything = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    everything[platform_name()] = dict(counts)
    lines = ["# Written by python -m newtos_py.bench.instructions --store"]
    for name, table in everything.items():
        lines += ["", f'["{name}"]', *(f'"{case}" = {count:.1f}' for case, count in table.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def table_of(counts: Mapping[str, float], before: Mapping[str, float]) -> Table:
    """Show counts beside the stored ones."""
    table = Table("instructions for", title=platform_name())
    for heading in ("now", "stored", "change"):
        table.add_column(heading, justify="right")
    for name, count in counts.items():
        was = before.get(name)
        change = f"{count / was - 1:+.1%}" if was else ""
        table.add_row(name, f"{count:.0f}", f"{was:.0f}" if was else "", change)
    return table


def _callgrind(folder: Path, counted: Sequence[str], mark: str) -> list[str]:
    if shutil.which("valgrind") is None:
        raise BenchError("valgrind is not installed; it counts the instructions")
    toggles = [f"--toggle-collect={function}" for function in counted]
    out = f"--callgrind-out-file={folder}/out"
    return ["valgrind", "-q", "--tool=callgrind", *toggles, f"--dump-after={mark}", out]


def _python(module: str) -> list[str]:
    return [sys.executable, "-P", "-m", module]


def _output_of(command: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _dumps(folder: Path, count: int) -> list[int]:
    totals = []
    for number in range(1, count + 1):
        found = _TOTALS.search((folder / f"out.{number}").read_text(encoding="utf-8"))
        if found is None:
            raise BenchError(f"callgrind's dump {number} has no total; is it of another version?")
        totals.append(int(found[1]))
    return totals


@click.command()
@click.option("--store", "storing", is_flag=True, help="Make these the stored counts.")
def main(storing: bool) -> None:
    """Count the instructions of the small steps under callgrind."""
    counts = count_engine() | count_calls()
    Console().print(table_of(counts, stored()))
    if storing:
        store(counts)


if __name__ == "__main__":
    main()
