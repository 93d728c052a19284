"""What an experiment is: a name, the figure it reproduces, and curves that come out of it.

Every experiment measures something at several points of one axis, on newtos and beside it on Linux
(and whatever else it compares), and gives an `Outcome`: curves that share their axes, and panels of
more curves over the same axis where it measured several things. So one table, one plot and one JSON
format serve all of them.
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
    "listen-designs",
)
NEWTOS, LINUX = "newtos", "Linux"
# In the name of a curve that was not measured here.
PAPER = "(paper)"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    runs: int
    seconds: int
    # A first impression: fewer points, too.
    quick: bool


FULL = Effort(runs=5, seconds=1, quick=False)
QUICK = Effort(runs=1, seconds=1, quick=True)


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of the plot: a summary of runs for each point of the axis."""

    name: str
    points: dict[float, Summary]


@dataclass(frozen=True, slots=True)
class Panel:
    """Something else that was measured at the same points."""

    y_label: str
    curves: tuple[Curve, ...]
    log_y: bool = False

    def points(self) -> list[float]:
        """Where any curve was measured."""
        return sorted({x for curve in self.curves for x in curve.points})

    def ratios(self) -> dict[str, dict[float, float]]:
        """Newtos's medians in Linux's, by what else the pair of curves is named."""
        medians = {c.name: {x: s.median for x, s in c.points.items()} for c in self.curves}
        found = {}
        for name, ours in medians.items():
            theirs = medians.get(name.replace(NEWTOS, LINUX, 1), {})
            rest = name.removeprefix(NEWTOS)
            if rest != name and theirs:
                both = {x: ours[x] / theirs[x] for x in ours if theirs.get(x)}
                found[f"ratio{rest}"] = both
        return found


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
    further: tuple[Panel, ...] = ()
    details: dict[str, object] = field(default_factory=dict)

    def x_name(self, x: float) -> str:
        """What to call a point of the axis."""
        return self.x_names[int(x) - 1] if self.x_names else f"{x:g}"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All that was measured, the main thing first."""
        return (Panel(self.y_label, self.curves, self.log_y), *self.further)


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment."""

    # "NewtOS Figure 5.5": what it reproduces.
    reproduces: str
    title: str
    # From the paper's setting: what a reader must not overlook.
    differences: str
    run: Callable[[Effort], Outcome]
    # What the paper found, in its words' numbers; its figures' points are not in its text.
    paper: str = ""


def find(name: str) -> Experiment:
    """Load an experiment by its name; BenchError if there is none."""
    if name not in NAMES:
        raise BenchError(f"no experiment is named {name}; there are: {', '.join(NAMES)}")
    found: object = import_module(f"newtos_py.bench.{name.replace('-', '_')}").EXPERIMENT
    assert isinstance(found, Experiment)
    return found


def table_of(outcome: Outcome, panel: Panel, title: str) -> Table:
    """Show medians, the spread of runs, and newtos in Linux's."""
    table = Table(title=f"{title}: {panel.y_label} (median, spread of runs)")
    heading, *rows = cells_of(outcome, panel)
    for cell in heading:
        table.add_column(cell, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def cells_of(outcome: Outcome, panel: Panel) -> list[list[str]]:
    """A panel as rows of text, the heading first."""
    ratios = panel.ratios()
    rows = [[outcome.x_label, *(curve.name for curve in panel.curves), *ratios]]
    for x in panel.points():
        cells = [_cell(curve.points.get(x)) for curve in panel.curves]
        cells += [f"{ratio[x]:.2f}" if x in ratio else "" for ratio in ratios.values()]
        rows.append([outcome.x_name(x), *cells])
    return rows


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    shown = f"{summary.median:,.0f}" if abs(summary.median) >= 1000 else f"{summary.median:.4g}"
    spread = (summary.highest - summary.lowest) / summary.median if summary.median else 0.0
    return f"{shown} ({spread:.0%})" if spread else shown
