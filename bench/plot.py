"""Experiments as plots, in the axes of the papers' figures."""

from pathlib import Path

from newtos_py.bench.experiment import Outcome
from newtos_py.bench.report import BenchError

_SIZE_INCHES = (6.4, 4.2)
_DPI = 120


def save(outcome: Outcome, title: str, path: Path) -> None:
    """Draw medians, with the spread of runs as bars, into a PNG; BenchError without matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (only plots need it)
        from matplotlib.ticker import ScalarFormatter  # noqa: PLC0415
    except ImportError:
        raise BenchError("plots need matplotlib: pip install 'newtos_py[plots]'") from None
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    for curve in outcome.curves:
        xs = sorted(curve.points)
        medians = [curve.points[x].median for x in xs]
        below = [curve.points[x].median - curve.points[x].lowest for x in xs]
        above = [curve.points[x].highest - curve.points[x].median for x in xs]
        axes.errorbar(xs, medians, yerr=[below, above], marker="o", capsize=3, label=curve.name)
    if outcome.x_names:
        axes.set_xticks(range(1, len(outcome.x_names) + 1), outcome.x_names)
        axes.margins(x=0.2)
    elif outcome.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xticks(sorted({x for curve in outcome.curves for x in curve.points}))
        axes.minorticks_off()
    if outcome.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(outcome.x_label)
    axes.set_ylabel(outcome.y_label)
    axes.set_title(title)
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
