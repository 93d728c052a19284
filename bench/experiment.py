"""What an experiment is: a name, the figure it reproduces, and curves that come out of it.

Every experiment measures something at several points of one axis, on newtos and beside it on Linux
(and whatever else it compares), and gives an `Outcome`: curves that share their axes. So one table,
one plot and one JSON format serve all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from newtos_py.bench.report import BenchError, Summary
from rich.table import Table

# In the order in which they are listed; a module of this package each, dashes as underscores.
NAMES = (
    "recvfrom",
    "http-short",
    "http-keepalive",
    "http-11k",
    "http-pipelined",
    "http-512k",
    "calls",
    "memcached",
    "bulk",
    "isolation",
    "connections",
)
NEWTOS, LINUX = "newtos", "Linux"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    runs: int
    seconds: int
    # A first impression: fewer points, too.
    quick: bool


FULL = Effort(runs=5, seconds=2, quick=False)
QUICK = Effort(runs=1, seconds=1, quick=True)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the plot: a summary of runs for each point of the axis."""

    name: str
    points: dict[float, Summary]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment measured; curves share the axes."""

    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    # What a reader must know to judge it, found out while it ran.
    notes: tuple[str, ...] = ()
    log_x: bool = True
    log_y: bool = False
    # What stands at points of an axis that counts nothing, from 1.
    x_names: tuple[str, ...] = ()
    details: dict[str, object] = field(default_factory=dict)

    def x_name(self, x: float) -> str:
        """What to call a point of the axis."""
        return self.x_names[int(x) - 1] if self.x_names else f"{x:g}"

    def ratio(self, x: float) -> float | None:
        """Newtos's median in Linux's at a point; None where either was not measured."""
        medians = {c.name: c.points[x].median for c in self.curves if x in c.points}
        if NEWTOS not in medians or LINUX not in medians:
            return None
        return medians[NEWTOS] / medians[LINUX]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment."""

    # "NewtOS Figure 5.5": what it reproduces.
    reproduces: str
    title: str
    # From the paper's setting: what a reader must not overlook.
    differences: str
    run: Callable[[Effort], Outcome]


def find(name: str) -> Experiment:
    """Load an experiment by its name; BenchError if there is none."""
    if name not in NAMES:
        raise BenchError(f"no experiment is named {name}; there are: {', '.join(NAMES)}")
    found: object = import_module(f"newtos_py.bench.{name.replace('-', '_')}").EXPERIMENT
    assert isinstance(found, Experiment)
    return found


def table_of(outcome: Outcome, title: str) -> Table:
    """Show medians, the spread of runs, and newtos in Linux's."""
    table = Table(title=f"{title}: {outcome.y_label} (median, spread of runs)")
    table.add_column(outcome.x_label, justify="right")
    for curve in outcome.curves:
        table.add_column(curve.name, justify="right")
    rows = {x: outcome.ratio(x) for x in sorted({x for c in outcome.curves for x in c.points})}
    compared = any(ratio is not None for ratio in rows.values())
    if compared:
        table.add_column("ratio", justify="right")
    for x, ratio in rows.items():
        cells = [_cell(curve.points.get(x)) for curve in outcome.curves]
        if compared:
            cells.append(f"{ratio:.2f}" if ratio is not None else "")
        table.add_row(outcome.x_name(x), *cells)
    return table


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    shown = f"{summary.median:,.0f}" if summary.median >= 1000 else f"{summary.median:.4g}"
    spread = (summary.highest - summary.lowest) / summary.median if summary.median else 0.0
    return f"{shown} ({spread:.0%})" if spread else shown
