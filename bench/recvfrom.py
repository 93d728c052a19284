"""A nonblocking recvfrom that finds nothing, by each of the ways a multiserver system can take it.

An unmodified program (receive_probe.py) asks an idle loopback connection: on a host with each
setting of NEWTOS_SOCKETS, and on Linux, in turn. The call is throughput-bound: one follows the
other at once.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from newtos_py.bench.experiment import PAPER, Curve, Effort, Experiment, Outcome
from newtos_py.bench.http import CONGESTION
from newtos_py.bench.report import BenchError, Summary, summarize
from newtos_py.bench.sides import CLIENT, LinuxSide, two_cores
from newtos_py.bench.steps import Steps

from newtos_py.rs.scratch import ScratchHosts

_TOPOLOGY = """
[host.solo]
address = "10.0.0.2/24"
cores = {{ default = {program}, syscall = {syscall} }}
"""
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Column:
    """One of the table's."""

    name: str
    # Of NEWTOS_SOCKETS; None: on Linux.
    sockets: str | None
    paper_cycles: float
    calls: int


_COLUMNS = (
    Column("kernel msgs", "syscall", 79_800, 500),
    Column("user space msgs", "channel", 19_950, 5_000),
    Column("no system calls", "", 137, 200_000),
    Column("Linux", None, 478, 50_000),
)


@contextmanager
def _places() -> Iterator[dict[str | None, tuple[list[str], dict[str, str]]]]:
    """By a column's `sockets`: how to run a program there, and in which environment."""
    program, syscall = two_cores()
    with ExitStack() as stack:
        hosts = stack.enter_context(
            ScratchHosts(_TOPOLOGY.format(program=program, syscall=syscall))
        )
        linux = stack.enter_context(LinuxSide((syscall, program), CONGESTION))
        places: dict[str | None, tuple[list[str], dict[str, str]]] = {
            None: (linux.on(CLIENT, ()), dict(os.environ))
        }
        for column in _COLUMNS:
            if column.sockets is not None:
                environ = {**hosts.environ, "NEWTOS_SOCKETS": column.sockets}
                places[column.sockets] = (hosts.on("solo", ()), environ)
        yield places


def _probe(prefix: Sequence[str], environ: dict[str, str], calls: int) -> float:
    """Cycles a call, of the second run: the first has warmed up."""
    command = [sys.executable, "-P", "-m", "newtos_py.bench.receive_probe", str(calls), "1"]
    done = subprocess.run(
        [*prefix, *command],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if done.returncode != 0:
        raise BenchError(f"the probe ended with status {done.returncode}: {done.stderr.strip()}")
    cycles = float(done.stdout.split()[-1])
    if cycles == 0:
        raise BenchError("a receive found something; run it again")
    return cycles


def _run(effort: Effort) -> Outcome:
    found: dict[str, list[float]] = {column.name: [] for column in _COLUMNS}
    with _places() as places, Steps(effort.runs * len(_COLUMNS)) as steps:
        for _ in range(effort.runs):
            for column in _COLUMNS:
                steps.begin(column.name)
                found[column.name].append(_probe(*places[column.sockets], column.calls))
                steps.end()
    axis = tuple(enumerate(_COLUMNS, start=1))
    ours = {float(i): summarize(found[column.name]) for i, column in axis}
    paper = {float(i): Summary(*(3 * (column.paper_cycles,))) for i, column in axis}
    return Outcome(
        "how the call is done",
        "cycles a call",
        (Curve("here", ours), Curve(f"NewtOS {PAPER}", paper)),
        log_x=False,
        log_y=True,
        x_names=tuple(column.name for column in _COLUMNS),
    )


EXPERIMENT = Experiment(
    reproduces="NewtOS Table 5.1",
    title="a nonblocking recvfrom on an empty socket",
    differences=(
        "Emulated on Linux: a kernel message is a System V one (msgsnd, msgrcv), a user space one "
        "passes a channel in shared memory without any system call, where the paper's program "
        "still made one. The program's call server runs on another core and answers from the "
        "socket area; the paper's asked the network stack, a third process. Cycles are the time "
        "stamp counter's."
    ),
    run=_run,
)
