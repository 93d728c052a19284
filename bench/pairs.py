"""Measuring one thing at several points, on newtos and on Linux in turn."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort
from newtos_py.bench.http import CONGESTION
from newtos_py.bench.report import BenchError, summarize
from newtos_py.bench.sides import LinuxSide, NewtosSide, Side, two_cores
from newtos_py.bench.steps import Steps

_T = TypeVar("_T")
# Starts what is to be measured on a side.
Start = Callable[[Side], AbstractContextManager[object]]


def alternate(
    effort: Effort, points: Sequence[float], start: Start, measure: Callable[[Side, float], _T]
) -> dict[str, dict[float, list[_T]]]:
    """Measure on both sides in turn: runs by side and point. Each side was warmed by one more.

    The last point is the largest: it leaves the others nothing that is used for the first time.
    """
    cores = two_cores()
    with ExitStack() as stack:
        sides: dict[str, Side] = {
            NEWTOS: stack.enter_context(NewtosSide(cores)),
            LINUX: stack.enter_context(LinuxSide(cores, CONGESTION)),
        }
        for side in sides.values():
            stack.enter_context(start(side))
            measure(side, points[-1])
        names = list(sides)
        seen: dict[str, dict[float, list[_T]]] = {
            name: {point: [] for point in points} for name in names
        }
        with Steps(effort.runs * len(points) * len(sides)) as steps:
            for number in range(effort.runs):
                for point in points:
                    for name in names if number % 2 == 0 else reversed(names):
                        steps.begin(f"{point:g} on {name}")
                        seen[name][point].append(measure(sides[name], point))
                        steps.end()
    return seen


def curves(
    effort: Effort, points: Sequence[float], start: Start, measure: Callable[[Side, float], float]
) -> tuple[Curve, ...]:
    """Alternate between the sides and collect medians."""
    seen = alternate(effort, points, start, measure)
    return tuple(
        Curve(name, {point: summarize(runs) for point, runs in found.items()})
        for name, found in seen.items()
    )


def need(*programs: str) -> None:
    """BenchError if a program is missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)}")
