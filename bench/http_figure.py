"""What the HTTP figures of NewtOS (§5.8.1) have in common: lighttpd at 1 to 128 connections.

They differ in the size of an answer, in how many requests a connection carries, and in whether
these are sent one by one or together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort, Experiment, Outcome
from newtos_py.bench.http import CONGESTION, Result, compare
from newtos_py.bench.lighttpd import KEEP_ALIVE_MAX, path_of
from newtos_py.bench.wrk import Load

if TYPE_CHECKING:
    from newtos_py.bench.report import Summary

CONNECTIONS = (1, 2, 8, 32, 64, 128)
QUICK_CONNECTIONS = (1, 32, 128)
# Of the baselines, which are slow, and whose curve has no more to say.
BASELINE_CONNECTIONS = (1, 32, 128)
QUICK_BASELINE_CONNECTIONS = (32,)
_DIFFERENCES = (
    "The load is wrk on the second of two cores, not httperf on another machine over 10 Gb/s; "
    "newtos's servers share the two cores with the programs. lighttpd is as Debian has it: it uses "
    "epoll and sendfile, and reads its files itself. Linux serves the same load over loopback, on "
    "the same cores. The paper's curve with system calls is NEWTOS_SOCKETS=syscall here, a kernel "
    "message a call; channel is a message in shared memory a call."
)
_ONLY_FIGURE = "Its points are in the figure only, not in the text. "


def figure(
    reproduces: str,
    title: str,
    size_bytes: int,
    requests_a_connection: int,
    *,
    paper: str,
    pipelined: int = 1,
) -> Experiment:
    """Make the experiment of one figure."""

    def run(effort: Effort) -> Outcome:
        close = requests_a_connection == 1
        points = QUICK_CONNECTIONS if effort.quick else CONNECTIONS
        baselines = QUICK_BASELINE_CONNECTIONS if effort.quick else BASELINE_CONNECTIONS
        todo = [Load(path_of(size_bytes), size_bytes, n, close, pipelined) for n in points]
        bound = KEEP_ALIVE_MAX if close else requests_a_connection
        some = [load for load in todo if load.connections in baselines]
        if pipelined > 1:
            # The figure compares both ways.
            todo += [replace(load, pipelined=1) for load in some]
        return outcome_of(compare(todo, effort.runs, effort.seconds, bound, some))

    return Experiment(reproduces, title, _DIFFERENCES, run, _ONLY_FIGURE + paper)


def outcome_of(results: Sequence[Result]) -> Outcome:
    """A curve a side, over connections; and one more a side where requests went one by one, too."""
    curves: dict[str, dict[float, Summary]] = {NEWTOS: {}, LINUX: {}}
    most = max(result.load.pipelined for result in results)
    for result in results:
        x = float(result.load.connections)
        way = "" if result.load.pipelined == most else ", one by one"
        curves.setdefault(NEWTOS + way, {})[x] = result.newtos.requests_per_s
        curves.setdefault(LINUX + way, {})[x] = result.linux.requests_per_s
        for name, side in result.others.items():
            curves.setdefault(name, {})[x] = side.requests_per_s
    return Outcome(
        "connections",
        "requests a second",
        tuple(Curve(name, points) for name, points in curves.items()),
        notes=(*_notes(results), f"congestion control on both sides: {CONGESTION}"),
        details={"results": [asdict(result) for result in results]},
    )


def _notes(results: Sequence[Result]) -> Iterator[str]:
    """How much the baselines' calls cost, and who switches how often."""
    for result in results:
        ours = result.newtos.requests_per_s.median
        ratios = [
            f"{ours / side.requests_per_s.median:.1f} x {name}"
            for name, side in result.others.items()
        ]
        if ratios:
            yield f"newtos, {result.load.connections} connections: {', '.join(ratios)}"
    busiest = max(results, key=lambda result: (result.load.pipelined, result.load.connections))
    yield (
        f"{busiest.load.connections} connections:"
        f" {busiest.newtos.bytes_per_s * 8 / 1e9:.2f} Gbit/s on newtos,"
        f" {busiest.linux.bytes_per_s * 8 / 1e9:.2f} on Linux;"
        f" {busiest.newtos.switches_a_request:.1f} switches a request on newtos,"
        f" {busiest.linux.switches_a_request:.1f} on Linux"
    )
