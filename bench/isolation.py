"""What it costs that servers are processes of their own: one, two or three on a packet's way.

The same stack in three placements (topology/placement.py) and Linux beside it, under the same
loads. What differs between placements is only who steps whom: the hand-overs.
"""

from contextlib import ExitStack
from dataclasses import asdict

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort, Experiment, Outcome
from newtos_py.bench.http import CONGESTION, Run, Served, run_once
from newtos_py.bench.lighttpd import KEEP_ALIVE_MAX, Lighttpd, Site, path_of
from newtos_py.bench.pairs import need
from newtos_py.bench.report import Summary, summarize
from newtos_py.bench.sides import LinuxSide, NewtosSide, Side, two_cores
from newtos_py.bench.steps import Steps
from newtos_py.bench.wrk import Load

SIZE = 64
# By how many processes a packet passes through on a host; the drivers' role is NewtosSide's wire.
_PLACEMENTS = {
    "fused": '"fused"',
    "driver, IP | TCP": '{ "wire.lan" = "net", ip = "net", udp = "net" }',
    "split": '"split"',
}
_LINUX = "linux"
_LOADS = {
    "one request a connection, 64 connections": Load(path_of(SIZE), SIZE, 64, close=True),
    "keep-alive, 64 connections": Load(path_of(SIZE), SIZE, 64, close=False),
    "keep-alive, 1 connection": Load(path_of(SIZE), SIZE, 1, close=False),
}


def _measure(effort: Effort) -> dict[tuple[str, str], list[Run]]:
    """Runs by load and place."""
    cores = two_cores()
    found: dict[tuple[str, str], list[Run]] = {}
    with ExitStack() as stack:
        site = stack.enter_context(Site({SIZE}))
        sides: list[Side] = [
            stack.enter_context(NewtosSide(cores, placement=placement, name=name))
            for name, placement in _PLACEMENTS.items()
        ]
        sides.append(stack.enter_context(LinuxSide(cores, CONGESTION)))
        served = []
        for side in sides:
            server = stack.enter_context(Lighttpd(site, side, KEEP_ALIVE_MAX))
            served.append(Served(side, server.pid))
        steps = stack.enter_context(Steps(effort.runs * len(_LOADS) * len(served)))
        for number in range(effort.runs):
            for name, load in _LOADS.items():
                for each in served if number % 2 == 0 else reversed(served):
                    steps.begin(f"{name}, {each.side.name}")
                    run = run_once(each, load, effort.seconds)
                    found.setdefault((name, each.side.name), []).append(run)
                    steps.end()
    return found


def _rates(runs: list[Run]) -> Summary:
    return summarize([run.measured.requests_per_s for run in runs])


def _notes(found: dict[tuple[str, str], list[Run]]) -> list[str]:
    """The ratio that the budget is about, and what one more process on the way costs."""
    notes = []
    hops = len(_PLACEMENTS) - 1
    for load in _LOADS:
        fused, split = (_rates(found[load, place]).median for place in ("fused", "split"))
        hop_us = (1e6 / split - 1e6 / fused) / hops
        switches = {
            place: summarize(
                [run.switches / run.measured.requests for run in found[load, place]]
            ).median
            for place in ("fused", "split")
        }
        notes.append(
            f"{load}: fused is {fused / split:.2f} x split; a hop (on both hosts) costs"
            f" {hop_us:.2f} us a request; {switches['fused']:.2f} switches a request fused,"
            f" {switches['split']:.2f} split"
        )
    return notes


def _run(effort: Effort) -> Outcome:
    need("wrk")
    found = _measure(effort)
    curves = []
    for load in _LOADS:
        ours = {
            float(i): _rates(found[load, place]) for i, place in enumerate(_PLACEMENTS, start=1)
        }
        linux = dict.fromkeys(ours, _rates(found[load, _LINUX]))
        curves += [Curve(f"{NEWTOS}, {load}", ours), Curve(f"{LINUX}, {load}", linux)]
    details: dict[str, object] = {
        f"{load}: {place}": [asdict(run) for run in runs] for (load, place), runs in found.items()
    }
    return Outcome(
        "processes of a host",
        "requests a second",
        tuple(curves),
        notes=(*_notes(found), f"congestion control on both sides: {CONGESTION}"),
        log_x=False,
        log_y=True,
        x_names=tuple(_PLACEMENTS),
        details=details,
    )


EXPERIMENT = Experiment(
    reproduces="the budget for isolation (1.15 x); no paper's figure",
    title="lighttpd by placement of the servers",
    differences=(
        "All servers of a host, and its program, are on one core: a hop is a switch there. The "
        "syscall server is a process of its own in every placement. Linux has no placement: its "
        "line is level."
    ),
    run=_run,
)
