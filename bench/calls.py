"""How lighttpd's socket calls are answered: in user space, in vain, by waiting.

Requests for 11 kB, ten together on each connection, as for NewtOS's Table 5.2. The preloaded
library counts; lighttpd writes the counts when it ends, so each run has a lighttpd of its own.
"""

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from newtos_py.bench.experiment import PAPER, Curve, Effort, Experiment, Outcome, Panel
from newtos_py.bench.lighttpd import PORT, Lighttpd, Site, path_of
from newtos_py.bench.pairs import need
from newtos_py.bench.report import Summary, summarize
from newtos_py.bench.sides import CLIENT, NewtosSide, two_cores
from newtos_py.bench.steps import Steps
from newtos_py.bench.wrk import Load, run_wrk, wrk_command

SIZE = 11 * 1024
REQUESTS_A_CONNECTION = 10
# Of the paper's table.
CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_CONNECTIONS = (1, 16, 128)
# Of architecture.md §14, per cent, under load.
BUDGET = 99.9
_USER_SPACE = "user space"
# NewtOS, Table 5.2: connections to per cent.
_PAPER = {
    _USER_SPACE: (91.20, 92.79, 94.97, 98.16, 99.93, 99.99, 99.98, 99.97),
    "waits that block": (99.46, 81.97, 62.83, 33.97, 4.20, 2.50, 9.09, 17.83),
    "waits of all calls": (8.84, 8.79, 7.99, 5.39, 1.59, 0.27, 0.12, 0.14),
    "accepts in vain": (50.00, 48.74, 47.07, 44.34, 32.35, 8.46, 3.63, 4.11),
    "reads in vain": (69.48, 68.36, 69.35, 72.04, 80.80, 84.27, 84.43, 84.34),
}
_PANELS = {
    "calls handled in user space, per cent": (_USER_SPACE,),
    "waits, per cent": ("waits that block", "waits of all calls"),
    "calls in vain, per cent": ("accepts in vain", "reads in vain"),
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


class _Counted:
    """Hosts, and a site that a new lighttpd serves at each run; a context manager."""

    def __init__(self) -> None:
        with ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix="newtos-bench-")
            self._stats = Path(stack.enter_context(folder)) / "stats"
            self._site = stack.enter_context(Site([SIZE]))
            self._side = stack.enter_context(NewtosSide(two_cores()))
            self._plain = self._side.environ
            self._side.environ = {**self._plain, "NEWTOS_STATS": str(self._stats)}
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self, connections: int, seconds: int) -> dict[str, float]:
        """One run."""
        load = Load(path_of(SIZE), SIZE, connections, close=False, pipelined=REQUESTS_A_CONNECTION)
        self._stats.unlink(missing_ok=True)
        with Lighttpd(self._site, self._side, REQUESTS_A_CONNECTION):
            command = wrk_command(load, f"{self._side.address}:{PORT}", seconds)
            run_wrk(self._side.on(CLIENT, command), self._plain, load, seconds)
        lines = self._stats.read_text(encoding="utf-8").splitlines()
        told = [json.loads(line) for line in lines]
        return _shares(next(each for each in told if each["program"] == "lighttpd"))


def _run(effort: Effort) -> Outcome:
    need("wrk")
    points = QUICK_CONNECTIONS if effort.quick else CONNECTIONS
    runs: dict[int, list[dict[str, float]]] = {connections: [] for connections in points}
    with _Counted() as counted, Steps(len(points) * effort.runs) as steps:
        for _ in range(effort.runs):
            for connections, found in runs.items():
                steps.begin(f"{connections} connections")
                found.append(counted.measure(connections, effort.seconds))
                steps.end()
    first, *further = (Panel(label, _curves(runs, names)) for label, names in _PANELS.items())
    shares = {x: _median(here, _USER_SPACE) for x, here in runs.items()}
    below = ", ".join(f"{x} ({share:.2f})" for x, share in shares.items() if share < BUDGET)
    note = f"not with {below} connections" if below else "at every number of connections"
    return Outcome(
        "connections",
        first.y_label,
        first.curves,
        notes=(f"{BUDGET} % of calls in user space, the budget under load: {note}",),
        further=tuple(further),
    )


def _median(runs: Sequence[dict[str, float]], name: str) -> float:
    return summarize([run[name] for run in runs]).median


def _curves(runs: dict[int, list[dict[str, float]]], names: Sequence[str]) -> tuple[Curve, ...]:
    """Ours and the paper's."""
    found = []
    for name in names:
        ours = {float(x): summarize([run[name] for run in here]) for x, here in runs.items()}
        paper = dict(zip(map(float, CONNECTIONS), _PAPER[name], strict=True))
        theirs = {x: Summary(paper[x], paper[x], paper[x]) for x in ours}
        found += [Curve(name, ours), Curve(f"{name} {PAPER}", theirs)]
    return tuple(found)


EXPERIMENT = Experiment(
    reproduces="NewtOS Table 5.2",
    title="lighttpd's socket calls, ten pipelined requests of 11 kB a connection",
    differences=(
        "lighttpd waits with epoll_wait, not select; wrk on the second of two cores loads it. A "
        "wait that only polled or yielded counts as one that did not block."
    ),
    run=_run,
)
