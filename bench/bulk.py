"""Streams that send as fast as they can: what moving bytes costs."""

import json

from newtos_py.bench.experiment import Effort, Experiment, Outcome
from newtos_py.bench.pairs import curves, need
from newtos_py.bench.program import ServerProgram, output_of
from newtos_py.bench.sides import Side

PORT = 5201
STREAMS = (1.0, 2.0, 4.0, 8.0, 16.0)
QUICK_STREAMS = (1.0, 16.0)
_GRACE_S = 20


def _run(effort: Effort) -> Outcome:
    need("iperf3")

    def measure(side: Side, streams: float) -> float:
        command = ["iperf3", "-c", side.address, "-p", str(PORT), "-J"]
        told = json.loads(
            output_of(
                side,
                [*command, "-P", f"{streams:.0f}", "-t", str(effort.seconds)],
                effort.seconds + _GRACE_S,
            )
        )
        return float(told["end"]["sum_received"]["bits_per_second"]) / 1e6

    def start(side: Side) -> ServerProgram:
        return ServerProgram(side, PORT, ["iperf3", "-s", "-p", str(PORT)])

    points = QUICK_STREAMS if effort.quick else STREAMS
    return Outcome("streams", "Mbit/s", curves(effort, points, start, measure))


EXPERIMENT = Experiment(
    reproduces="no figure; NewtOS §5.8.1 tells of 8 Gbit/s for 512 kB answers",
    title="iperf3, one direction",
    differences="iperf3's streams on two cores; on Linux over loopback, without a network card.",
    run=_run,
)
