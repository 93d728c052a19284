"""The same lighttpd under the same wrk: on newtos and on Linux's loopback.

    python -m newtos_py.bench.http [--quick] [--size 11k] [--json FILE]

Two ways to ask, each at 1, 8 and 64 connections: keep-alive (every connection carries request after
request) and one request a connection. Both sides use the same two cores and the same congestion
control; their runs alternate, so that what else the machine does meets both. The figures are
medians of several runs; the spread is from the lowest to the highest, in medians. A run with an
error counts for nothing: the bench stops.
"""

import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from newtos_py.bench.lighttpd import KEEP_ALIVE_MAX, PORT, Lighttpd, Site, path_of
from newtos_py.bench.report import BenchError, Summary, summarize, this_machine, write_json
from newtos_py.bench.sides import CLIENT, LinuxSide, NewtosSide, Side, two_cores
from newtos_py.bench.steps import Steps
from newtos_py.bench.switches import SwitchCounter
from newtos_py.bench.wrk import Load, Measurement, run_wrk, wrk_command
from rich.console import Console
from rich.table import Table

from newtos_py.errors import NewtosError

# What newtos uses (servers/tcp, RFC 5681 and 6582); Linux calls it reno.
CONGESTION = "reno"
# The papers' ways to call sockets before NewtOS's, which NEWTOS_SOCKETS asks for (cli/run.py).
BASELINES = ("syscall", "channel")
CONNECTIONS = (1, 8, 64)
SIZES = {"64": 64, "11k": 11 * 1024, "512k": 512 * 1024}
RUNS, QUICK_RUNS = 5, 3
# Above it somebody else uses the machine.
QUIET_LOAD = 0.5
SECONDS, QUICK_SECONDS = 2, 1


@dataclass(frozen=True, slots=True)
class Run:
    """One run of wrk."""

    measured: Measurement
    switches: int


@dataclass(frozen=True, slots=True)
class Served:
    """A side with its lighttpd."""

    side: Side
    server_pid: int
    # The loads it gets; None: all.
    loads: frozenset[Load] | None = None


@dataclass(frozen=True, slots=True)
class SideResult:
    """One side's runs of one load."""

    requests_per_s: Summary
    p50_us: float
    p99_us: float
    # Of the kernel's, between all processes of the side.
    switches_a_request: float
    bytes_per_s: float
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One load on both sides."""

    load: Load
    newtos: SideResult
    linux: SideResult
    # newtos's median requests a second, in Linux's.
    ratio: float
    # Further sides that had this load, by name.
    others: dict[str, SideResult] = field(default_factory=dict)


def loads(size_bytes: int) -> list[Load]:
    """All loads for a size, those that keep their connections first."""
    path = path_of(size_bytes)
    return [
        Load(path, size_bytes, connections, close)
        for close in (False, True)
        for connections in CONNECTIONS
    ]


def compare(
    todo: Sequence[Load],
    runs: int,
    seconds: int,
    requests_a_connection: int = KEEP_ALIVE_MAX,
    baseline_loads: Collection[Load] = (),
) -> list[Result]:
    """Run every load against a lighttpd on newtos and one on Linux.

    `baseline_loads` also against newtos with lighttpd's calls done by each of the baselines.
    """
    if shutil.which("wrk") is None:
        raise BenchError("wrk is missing: apt install wrk")
    cores = two_cores()
    with ExitStack() as stack:
        site = stack.enter_context(Site({load.size_bytes for load in todo}))
        linux = stack.enter_context(LinuxSide(cores, CONGESTION))
        newtos = stack.enter_context(NewtosSide(cores))
        sides: list[tuple[Side, frozenset[Load] | None]] = [(newtos, None), (linux, None)]
        for sockets in BASELINES if baseline_loads else ():
            side = NewtosSide(cores, name=f"NEWTOS_SOCKETS={sockets}", sockets=sockets)
            sides.append((stack.enter_context(side), frozenset(baseline_loads)))
        served = []
        for each, only in sides:
            server = stack.enter_context(Lighttpd(site, each, requests_a_connection))
            served.append(Served(each, server.pid, only))
            # What is measured is warm: all connections that there will be have their memory.
            most = max(todo if only is None else only, key=lambda load: load.connections)
            run_once(served[-1], most, seconds=1)
        return measure(served, todo, runs, seconds)


def measure(sides: Sequence[Served], todo: Sequence[Load], runs: int, seconds: int) -> list[Result]:
    """Run every load on both sides, in turns."""
    seen: dict[tuple[Load, str], list[Run]] = {}
    turns = [(load, each) for load in todo for each in sides
             if each.loads is None or load in each.loads]  # fmt: skip
    with Steps(runs * len(turns)) as steps:
        for number in range(runs):
            for load, served in turns if number % 2 == 0 else reversed(turns):
                name = served.side.name
                steps.begin(f"{describe(load)} on {name}")
                seen.setdefault((load, name), []).append(run_once(served, load, seconds))
                steps.end()
    return [_result(load, {name: r for (of, name), r in seen.items() if of == load})
            for load in todo]  # fmt: skip


def describe(load: Load) -> str:
    """Say what a load is."""
    way = "one request each" if load.close else "keep-alive"
    return f"{load.size_bytes} B, {way}, {load.connections} connections"


def table_of(results: Sequence[Result]) -> Table:
    """Show results side by side."""
    table = Table(title="lighttpd under wrk: requests a second (median, spread of runs)")
    for heading in ("requests", "size", "connec-\ntions"):
        table.add_column(heading)
    for heading in ("newtos", "Linux", "ratio"):
        table.add_column(heading, justify="right")
    for what in ("p50/p99 µs", "switches\na request"):
        for side in ("newtos", "Linux"):
            table.add_column(f"{what}\n{side}", justify="right")
    for result in results:
        load = result.load
        table.add_row(
            "one a connection" if load.close else "keep-alive",
            str(load.size_bytes),
            str(load.connections),
            _rate(result.newtos.requests_per_s),
            _rate(result.linux.requests_per_s),
            f"{result.ratio:.2f}",
            f"{result.newtos.p50_us:.0f}/{result.newtos.p99_us:.0f}",
            f"{result.linux.p50_us:.0f}/{result.linux.p99_us:.0f}",
            f"{result.newtos.switches_a_request:.2f}",
            f"{result.linux.switches_a_request:.2f}",
        )
    return table


def _rate(summary: Summary) -> str:
    spread = (summary.highest - summary.lowest) / summary.median
    return f"{summary.median:,.0f} ({spread:.0%})"


def run_once(served: Served, load: Load, seconds: int) -> Run:
    """Load one side once, and count the switches between its processes."""
    side = served.side
    command = side.on(CLIENT, wrk_command(load, f"{side.address}:{PORT}", seconds))
    switches = SwitchCounter([served.server_pid, *side.pids()])
    try:
        measured = run_wrk(command, side.environ, load, seconds)
    except BenchError as error:
        raise BenchError(f"{describe(load)} on {side.name}: {error}") from None
    return Run(measured, switches.count())


def _result(load: Load, runs: Mapping[str, Sequence[Run]]) -> Result:
    sides = {name: _side_result(found) for name, found in runs.items()}
    ours, theirs = sides.pop("newtos"), sides.pop("linux")
    ratio = ours.requests_per_s.median / theirs.requests_per_s.median
    return Result(load, ours, theirs, ratio, sides)


def _side_result(runs: Sequence[Run]) -> SideResult:
    return SideResult(
        summarize([run.measured.requests_per_s for run in runs]),
        summarize([run.measured.p50_us for run in runs]).median,
        summarize([run.measured.p99_us for run in runs]).median,
        summarize([run.switches / run.measured.requests for run in runs]).median,
        summarize([run.measured.bytes_per_s for run in runs]).median,
        tuple(runs),
    )


@click.command(epilog="Example: python -m newtos_py.bench.http --quick")
@click.option("--quick", is_flag=True, help="A first impression: fewer and shorter runs.")
@click.option("--size", "sizes", type=click.Choice(list(SIZES)), multiple=True, default=["64"],
              help="Bytes of an answer; may be given several times.")  # fmt: skip
@click.option("--runs", type=click.IntRange(min=1), help="Runs of each load on each side.")
@click.option("--seconds", type=click.IntRange(min=1), help="How long each run takes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write results there.")
def main(
    *,
    quick: bool,
    sizes: tuple[str, ...],
    runs: int | None,
    seconds: int | None,
    json_file: Path | None,
) -> None:
    """Compare newtos with Linux's loopback: requests a second of lighttpd under wrk."""
    machine = this_machine()
    if machine.load > QUIET_LOAD:
        click.echo(f"the machine is busy (load {machine.load:.1f}): figures mean little", err=True)
    runs = runs or (QUICK_RUNS if quick else RUNS)
    seconds = seconds or (QUICK_SECONDS if quick else SECONDS)
    try:
        todo = [load for size in sizes for load in loads(SIZES[size])]
        results = compare(todo, runs, seconds)
    except NewtosError as error:
        sys.exit(f"bench: {error}")
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(table_of(results))
    content = {
        "machine": asdict(machine),
        "congestion_control": CONGESTION,
        "runs": runs,
        "seconds": seconds,
        "results": [asdict(result) for result in results],
    }
    path = write_json("http", content, json_file)
    print(f"{CONGESTION} on both sides; written to {path}")


if __name__ == "__main__":
    main()
