"""Streams that send as fast as they can: what moving bytes costs."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from newtos_py.bench.experiment import Curve, Effort, Experiment, Outcome, Panel
from newtos_py.bench.pairs import alternate, need
from newtos_py.bench.processor_time import ProcessorTime, cycles_a_second
from newtos_py.bench.program import ServerProgram, output_of
from newtos_py.bench.report import BenchError, summarize
from newtos_py.bench.sides import Side

PORT = 5201
STREAMS = (1.0, 2.0, 4.0, 8.0, 16.0)
QUICK_STREAMS = (1.0, 16.0)
_GRACE_S = 20


@dataclass(frozen=True, slots=True)
class Moved:
    """One run."""

    mbit_a_second: float
    # Of the servers, if there are any, and both iperf3.
    processor_s_a_byte: float


def moved(told: str, servers_s: float) -> Moved:
    """Read what iperf3's client said (-J); it knows the processor time of both its ends.

    `servers_s`: processor time of the servers meanwhile.
    """
    end = json.loads(told)["end"]
    received, used = end["sum_received"], end["cpu_utilization_percent"]
    if not received["bytes"]:
        raise BenchError("iperf3 received nothing")
    programs_s = (used["host_total"] + used["remote_total"]) / 100 * received["seconds"]
    return Moved(received["bits_per_second"] / 1e6, (programs_s + servers_s) / received["bytes"])


def _measure(side: Side, streams: float, seconds: int) -> Moved:
    servers = ProcessorTime(side.pids())
    command = ["iperf3", "-c", side.address, "-p", str(PORT), "-J"]
    told = output_of(
        side, [*command, "-P", f"{streams:.0f}", "-t", str(seconds)], seconds + _GRACE_S
    )
    return moved(told, servers.seconds())


def _run(effort: Effort) -> Outcome:
    need("iperf3")

    def measure(side: Side, streams: float) -> Moved:
        return _measure(side, streams, effort.seconds)

    def start(side: Side) -> ServerProgram:
        return ServerProgram(side, PORT, ["iperf3", "-s", "-p", str(PORT)])

    points = QUICK_STREAMS if effort.quick else STREAMS
    runs = alternate(effort, points, start, measure)
    hertz = cycles_a_second()

    def curves(value: Callable[[Moved], float]) -> tuple[Curve, ...]:
        return tuple(
            Curve(name, {x: summarize([value(run) for run in found]) for x, found in at.items()})
            for name, at in runs.items()
        )

    return Outcome(
        "streams",
        "Mbit/s",
        curves(lambda run: run.mbit_a_second),
        further=(Panel("cycles a byte", curves(lambda run: run.processor_s_a_byte * hertz)),),
    )


EXPERIMENT = Experiment(
    reproduces="no figure; NewtOS §5.8.1 tells of 8 Gbit/s for 512 kB answers",
    title="iperf3, one direction",
    differences=(
        "iperf3's streams on two cores; on Linux over loopback, without a network card. Cycles are "
        "processor time of both iperf3 and, on newtos, all servers, polling and yielding included, "
        "in the time stamp counter's."
    ),
    run=_run,
)
