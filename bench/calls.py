"""How lighttpd's socket calls are answered: in user space, in vain, by waiting.

Requests for 11 kB, ten together on each connection, as for NewtOS's Table 5.2. The preloaded
library counts; lighttpd writes the counts when it ends, so each point has a lighttpd of its own.
"""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from newtos_py.bench.experiment import Curve, Effort, Experiment, Outcome
from newtos_py.bench.http_figure import CONNECTIONS, QUICK_CONNECTIONS
from newtos_py.bench.lighttpd import PORT, Lighttpd, Site, path_of
from newtos_py.bench.pairs import need
from newtos_py.bench.report import Summary, summarize
from newtos_py.bench.sides import CLIENT, NewtosSide, two_cores
from newtos_py.bench.steps import Steps
from newtos_py.bench.wrk import Load, run_wrk, wrk_command

SIZE = 11 * 1024
REQUESTS_A_CONNECTION = 10
# NewtOS, Table 5.2: connections to per cent.
_PAPER = {
    "user space": (91.20, 92.79, 94.97, 98.16, 99.93, 99.99, 99.98, 99.97),
    "waits that block": (99.46, 81.97, 62.83, 33.97, 4.20, 2.50, 9.09, 17.83),
    "waits of all calls": (8.84, 8.79, 7.99, 5.39, 1.59, 0.27, 0.12, 0.14),
    "accepts in vain": (50.00, 48.74, 47.07, 44.34, 32.35, 8.46, 3.63, 4.11),
    "reads in vain": (69.48, 68.36, 69.35, 72.04, 80.80, 84.27, 84.43, 84.34),
}


def _shares(counts: dict[str, int]) -> dict[str, float]:
    """The columns of the table, in per cent."""
    calls = counts["user_space_calls"] + counts["server_calls"] + counts["kernel_calls"]
    accepts = counts["accepts"] + counts["empty_accepts"]
    shares = (
        counts["user_space_calls"] / calls,
        counts["blocks"] / max(counts["waits"], 1),
        counts["waits"] / calls,
        counts["empty_accepts"] / max(accepts, 1),
        counts["empty_reads"] / max(counts["reads"], 1),
    )
    return {name: 100 * share for name, share in zip(_PAPER, shares, strict=True)}


def _measure(connections: int, seconds: int) -> dict[str, float]:
    load = Load(path_of(SIZE), SIZE, connections, close=False, pipelined=REQUESTS_A_CONNECTION)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="newtos-bench-")))
        site = stack.enter_context(Site([SIZE]))
        side = stack.enter_context(NewtosSide(two_cores()))
        plain = side.environ
        side.environ = {**plain, "NEWTOS_STATS": str(folder / "stats")}
        with Lighttpd(site, side, REQUESTS_A_CONNECTION):
            command = side.on(CLIENT, wrk_command(load, f"{side.address}:{PORT}", seconds))
            run_wrk(command, plain, load, seconds)
        lines = (folder / "stats").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    return _shares(next(each for each in told if each["program"] == "lighttpd"))


def _run(effort: Effort) -> Outcome:
    need("wrk")
    points = QUICK_CONNECTIONS if effort.quick else CONNECTIONS
    seen: dict[str, dict[float, Summary]] = {name: {} for name in _PAPER}
    with Steps(len(points) * effort.runs) as steps:
        for connections in points:
            runs = []
            for _ in range(effort.runs):
                steps.begin(f"{connections} connections")
                runs.append(_measure(connections, effort.seconds))
                steps.end()
            for name, found in seen.items():
                found[float(connections)] = summarize([run[name] for run in runs])
    ours = [Curve(name, found) for name, found in seen.items()]
    theirs = [
        Curve(f"{name} (paper)", {float(x): Summary(y, y, y) for x, y in pairs if x in points})
        for name, pairs in ((name, zip(CONNECTIONS, values, strict=True))
                            for name, values in _PAPER.items())
    ]  # fmt: skip
    return Outcome("connections", "per cent", (*ours, *theirs))


EXPERIMENT = Experiment(
    reproduces="NewtOS Table 5.2",
    title="lighttpd's socket calls, ten pipelined requests of 11 kB a connection",
    differences=(
        "lighttpd waits with epoll_wait, not select; wrk on the second of two cores loads it. A "
        "wait that only polled or yielded counts as one that did not block."
    ),
    run=_run,
)
