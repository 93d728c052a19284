"""docs/results.md: the results of a series as one page with tables and plots.

Everything on it is from the results' files: which machine, when, by which command, what was
measured, what the paper says and what is different here. The plots are drawn anew beside the page.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from newtos_py.bench import plot, series, stored
from newtos_py.bench.experiment import (
    LINUX,
    NAMES,
    Curve,
    Outcome,
    cells_of,
)
from newtos_py.bench.report import BenchError, Summary
from newtos_py.bench.stored import Result

# The README shows this plot: newtos in Linux's, for the web server.
HEADLINE = "http"
_HEADLINE_PREFIX = "http-"
_PLAIN_RATIO = "ratio"
_QUIET_LOAD = 0.5
_COLUMNS = 110


@dataclass(frozen=True, slots=True)
class Page:
    """What was written."""

    path: Path
    plots: tuple[Path, ...]
    # Experiments without a result.
    missing: tuple[str, ...]


def write(folder: Path, path: Path) -> Page:
    """Read a folder of results and write the page; BenchError if one is damaged or none there."""
    if not folder.is_dir():
        raise BenchError(f"there is no folder {folder}; newtos bench run all --results {folder}")
    found = {name: series.path_in(folder, name) for name in NAMES}
    results = [stored.load(file) for file in found.values() if file.exists()]
    if not results:
        raise BenchError(f"no results in {folder}; newtos bench run all --results {folder}")
    plots = path.with_suffix("")
    drawn = []
    for result in results:
        drawn.append(plots / f"{result.experiment}.png")
        series.draw(result, drawn[-1])
    headline = _headline(results)
    if headline is not None:
        drawn.append(plots / f"{HEADLINE}.png")
        plot.save(headline, "lighttpd on newtos, against Linux", drawn[-1])
    missing = tuple(name for name, file in found.items() if not file.exists())
    path.write_text(text_of(results, missing, plots.name, headline), encoding="utf-8")
    return Page(path, tuple(drawn), missing)


def text_of(
    results: Sequence[Result], missing: Sequence[str], plots: str, headline: Outcome | None
) -> str:
    """The page; `plots` is the folder of the plots, as seen from it."""
    parts = ["# Results\n", _opening(results)]
    if missing:
        parts.append(f"Without a result here: {', '.join(missing)}.\n")
    if headline is not None:
        parts += [
            "## lighttpd, in Linux's\n",
            "Requests a second on newtos in those on Linux (medians), by connections.\n",
            _markdown(_headline_rows(headline)),
            f"![newtos in Linux's]({plots}/{HEADLINE}.png)\n",
        ]
    told: dict[str, str] = {}
    for result in results:
        same = told.setdefault(result.differences, result.experiment)
        parts += _section(result, plots, same if same != result.experiment else None)
    return "\n".join(parts)


def _opening(results: Sequence[Result]) -> str:
    machines = {
        f"{m.processor}, {m.cores} cores, Linux {m.kernel}, newtos_py {m.newtos_py}": None
        for m in (result.machine for result in results)
    }
    dates = sorted(result.machine.date for result in results)
    minutes = sum(result.took_s for result in results) / 60
    said = [
        f"Measured on {'; '.join(machines)}.",
        f"{dates[0][:16]} to {dates[-1][:16]}, {minutes:.0f} minutes in all.",
        "",
        "A cell is the median of an experiment's runs and, in brackets, their spread: highest",
        "less lowest, in the median. A ratio is newtos's median in Linux's. Sides take turns on",
        "the same cores. A dashed line, or (paper), is what the paper says. To repeat it all:",
        "",
        "```sh",
        f"newtos bench run all {'--quick ' if _is_quick(results) else ''}--results DIR",
        "newtos bench report DIR",
        "```",
    ]
    if _is_quick(results):
        said += ["", "**Single short runs (`--quick`) are among these: a first impression only.**"]
    loads = {result.experiment: result.machine.load for result in results}
    first = next(iter(loads))
    if loads[first] > _QUIET_LOAD:
        said += ["", f"**The machine was busy when it began (load {loads[first]:.1f}).**"]
    return "\n".join(said) + "\n"


def _is_quick(results: Sequence[Result]) -> bool:
    return any(result.effort.quick for result in results)


def _section(result: Result, plots: str, same: str | None) -> list[str]:
    """One experiment's; `same`: an earlier one with the same differences."""
    effort, outcome = result.effort, result.outcome
    runs = f"{effort.runs} run{'s' if effort.runs > 1 else ''} of {effort.seconds} s"
    parts = [
        f"## {result.experiment}\n",
        _wrapped(f"**{result.title}.** Reproduces: {result.reproduces}."),
        f"`{result.command}`, {runs} each, {result.took_s:.0f} s in all, {result.machine.date}.\n",
    ]
    for panel in outcome.panels:
        if len(outcome.panels) > 1:
            parts.append(f"{panel.y_label[:1].upper()}{panel.y_label[1:]}:\n")
        parts.append(_markdown(cells_of(outcome, panel)))
    parts.append(f"![{result.title}]({plots}/{result.experiment}.png)\n")
    if outcome.notes:
        parts.append("".join(_wrapped(note, "- ") for note in outcome.notes))
    if result.paper:
        parts.append(_wrapped(f"The paper: {result.paper}"))
    differences = result.differences if same is None else f"as with {same}."
    parts.append(_wrapped(f"Different here: {differences}"))
    return parts


def _headline(results: Sequence[Result]) -> Outcome | None:
    """The ratios of all HTTP experiments as curves."""
    curves = []
    for result in results:
        ratio = result.outcome.panels[0].ratios().get(_PLAIN_RATIO)
        if ratio and result.experiment.startswith(_HEADLINE_PREFIX):
            points = {x: Summary(y, y, y) for x, y in ratio.items()}
            curves.append(Curve(result.title, points))
    if not curves:
        return None
    level = {x: Summary(1, 1, 1) for curve in curves for x in curve.points}
    return Outcome(
        "connections",
        "requests a second, in Linux's",
        (*curves, Curve(LINUX, dict(sorted(level.items())))),
        log_y=True,
    )


def _headline_rows(headline: Outcome) -> list[list[str]]:
    (panel,) = headline.panels
    points = panel.points()
    rows = [["", *(headline.x_name(x) for x in points)]]
    for curve in panel.curves:
        if curve.name != LINUX:
            cells = (curve.points.get(x) for x in points)
            rows.append([curve.name, *(f"{c.median:.1f}" if c is not None else "" for c in cells)])
    return rows


def _wrapped(text: str, mark: str = "") -> str:
    """Lines of source, not of the page."""
    indent = " " * len(mark)
    lines = textwrap.wrap(
        text, _COLUMNS, initial_indent=mark, subsequent_indent=indent, break_on_hyphens=False
    )
    return "\n".join(lines) + "\n"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    heading, *rest = rows
    rule = ["---", *(["---:"] * (len(heading) - 1))]
    lines = (" | ".join(cell.replace("|", "\\|") for cell in row) for row in (heading, rule, *rest))
    return "\n".join(f"| {line} |" for line in lines) + "\n"
