"""How long the service pauses when a server is killed: the budget of architecture §14.

    python -m newtos_py.bench.gaps [--quick] [--json FILE]

A program on one host asks another for 64 B over and over, over all its connections in turn;
meanwhile a server of the asked host gets SIGKILL. The gap is the longest time without an answer
around the kill. The same is measured with nobody killed: what the machine's other work makes of it.
"""

import random
import signal
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from newtos_py.bench.connections import WINDOW, Askers
from newtos_py.bench.report import BenchError, Summary, summarize, this_machine, write_json
from newtos_py.bench.sides import SERVER, NewtosSide, two_cores
from newtos_py.bench.steps import Steps
from rich.console import Console
from rich.table import Table

from newtos_py.rs.process_id import send_signal
from newtos_py.rs.records import ServerRecord, ServerState

CONNECTIONS = (1, 1_000, 10_000)
NOBODY = "nobody"
VICTIMS = (NOBODY, "tcp0", "ip", "wire.lan", "udp", "syscall")
RUNS, RUNS_QUICK = 15, 5
# The load's time around a kill, which comes in its middle third.
LOAD_S = 0.3
# A server that is not back after so long is not coming.
_BACK_S = 10.0
_SPARE = 1000


def _server(side: NewtosSide, role: str) -> ServerRecord:
    return next(each for each in side.hosts.record(SERVER).servers if each.role == role)


def _kill(side: NewtosSide, role: str) -> None:
    process = _server(side, role).process
    if process is None or not send_signal(process, signal.SIGKILL):
        raise BenchError(f"{role} does not run")


def _await_generation(side: NewtosSide, role: str, generation: int) -> None:
    """So that the next kill meets a server that serves, and a zygote with a spare."""
    end = time.monotonic() + _BACK_S
    while True:
        server = _server(side, role)
        if server.generation >= generation and server.state is ServerState.RUNNING:
            break
        if time.monotonic() > end:
            raise BenchError(f"{role} did not come back")
        time.sleep(0.01)
    time.sleep(0.1)


def gap_ms(side: NewtosSide, askers: Askers, victim: str, chance: random.Random) -> float:
    """Kill a server under load; the longest pause between two answers."""
    generation = _server(side, victim).generation + 1 if victim != NOBODY else 0
    askers.begin_asking(LOAD_S, seed=chance.randrange(1, 1 << 30))
    time.sleep(LOAD_S * chance.uniform(1 / 3, 2 / 3))
    if victim != NOBODY:
        _kill(side, victim)
    askers.hear_answered()
    if victim != NOBODY:
        _await_generation(side, victim, generation)
    return askers.longest_pause_us() / 1000


def measure(runs: int, points: tuple[int, ...]) -> dict[tuple[str, int], list[float]]:
    """Gaps in milliseconds, by victim and number of connections."""
    seen: dict[tuple[str, int], list[float]] = {}
    chance = random.Random(1)
    with ExitStack() as stack:
        side = stack.enter_context(NewtosSide(two_cores(), connections=points[-1] + _SPARE))
        askers = stack.enter_context(Askers(side, 1))
        steps = stack.enter_context(Steps(len(points) * runs * len(VICTIMS)))
        for point in points:
            askers.grow(point)
            # Every ring has its pages.
            askers.begin_asking(max(LOAD_S, point / 20_000), seed=point)
            askers.hear_answered()
            for _ in range(runs):
                for victim in VICTIMS:
                    steps.begin(f"{victim} killed beside {point} connections")
                    gap = gap_ms(side, askers, victim, chance)
                    seen.setdefault((victim, point), []).append(gap)
                    steps.end()
    return seen


def shown(gap: Summary) -> str:
    """Median, and how the others were."""
    return f"{gap.median:.1f} ({gap.lowest:.1f}, {gap.highest:.1f})"


def table_of(gaps: dict[tuple[str, int], Summary]) -> Table:
    """Show what was seen."""
    points = sorted({point for _, point in gaps})
    table = Table(title="ms without an answer: median (least, worst)")
    table.add_column("killed")
    for point in points:
        table.add_column(f"{point:,} connections", justify="right")
    for victim in VICTIMS:
        found = [gaps[victim, point] for point in points]
        table.add_row(victim, *(shown(each) for each in found))
    return table


@click.command(epilog="Example: python -m newtos_py.bench.gaps --quick")
@click.option("--quick", is_flag=True, help="A first impression: fewer kills.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write results there.")
def main(*, quick: bool, json_file: Path | None) -> None:
    """Measure the pause in service when a server is killed."""
    seen = measure(RUNS_QUICK if quick else RUNS, CONNECTIONS)
    gaps = {key: summarize(found) for key, found in seen.items()}
    Console().print(table_of(gaps))
    machine = this_machine()
    Console().print(f"{WINDOW} requests under way at most; load of the machine {machine.load:.1f}")
    rows = [
        {"killed": victim, "connections": point, "gaps_ms": found, **asdict(gaps[victim, point])}
        for (victim, point), found in seen.items()
    ]
    write_json("gaps", {"machine": asdict(machine), "gaps": rows}, json_file)


if __name__ == "__main__":
    main()
