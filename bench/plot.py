"""Experiments as plots, in the axes of the papers' figures."""

from pathlib import Path
from typing import TYPE_CHECKING

from newtos_py.bench.experiment import PAPER, Outcome, Panel
from newtos_py.bench.report import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES = (6.4, 4.2)
_DPI = 120


def save(outcome: Outcome, title: str, path: Path) -> None:
    """Draw medians, with the spread of runs as bars, into a PNG; BenchError without matplotlib."""
    try:
        from matplotlib import ticker  # noqa: PLC0415 (only plots need it)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise BenchError("plots need matplotlib: pip install 'newtos_py[plots]'") from None
    panels = outcome.panels
    width, height = _SIZE_INCHES
    figure = Figure(figsize=(width, height * len(panels)), layout="constrained")
    for i, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, i)
        _draw(axes, outcome, panel)
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:,g}"))
        if panel.log_y:
            axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axes.minorticks_off()
        if outcome.x_names:
            axes.set_xticks(range(1, len(outcome.x_names) + 1), outcome.x_names)
            axes.set_xlim(0.5, len(outcome.x_names) + 0.5)
        elif outcome.log_x:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ticker.ScalarFormatter())
            axes.set_xticks(panel.points())
            axes.minorticks_off()
        if i == 1:
            axes.set_title(title, wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _draw(axes: "Axes", outcome: Outcome, panel: Panel) -> None:
    for curve in panel.curves:
        xs = sorted(curve.points)
        medians = [curve.points[x].median for x in xs]
        below = [curve.points[x].median - curve.points[x].lowest for x in xs]
        above = [curve.points[x].highest - curve.points[x].median for x in xs]
        # What others measured elsewhere is not ours; named points have nothing between them.
        is_paper = PAPER in curve.name
        axes.errorbar(
            xs,
            medians,
            yerr=[below, above],
            marker="s" if is_paper else "o",
            markerfacecolor="none" if is_paper else None,
            linestyle="none" if outcome.x_names else "--" if is_paper else "-",
            capsize=3,
            label=curve.name,
        )
    if panel.log_y:
        axes.set_yscale("log")
    else:
        highest = [point.highest for curve in panel.curves for point in curve.points.values()]
        axes.set_ylim(0, max(highest) * 1.08)
    axes.set_xlabel(outcome.x_label)
    axes.set_ylabel(panel.y_label)
    # Below: it would hide points.
    axes.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axes.grid(visible=True, alpha=0.3)
