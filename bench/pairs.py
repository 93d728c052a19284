"""Measuring one thing at several points, on newtos and on Linux in turn."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort
from newtos_py.bench.http import CONGESTION
from newtos_py.bench.report import BenchError, summarize
from newtos_py.bench.sides import LinuxSide, NewtosSide, Side, two_cores
from newtos_py.bench.steps import Steps

# Starts what is to be measured on a side.
Start = Callable[[Side], AbstractContextManager[object]]
# Measures once at a point of the axis.
Measure = Callable[[Side, float], float]


def curves(
    effort: Effort, points: Sequence[float], start: Start, measure: Measure
) -> tuple[Curve, ...]:
    """Alternate between the sides and collect medians; each side was warmed by one more run."""
    cores = two_cores()
    seen: dict[tuple[str, float], list[float]] = {}
    with ExitStack() as stack:
        sides: dict[str, Side] = {
            NEWTOS: stack.enter_context(NewtosSide(cores)),
            LINUX: stack.enter_context(LinuxSide(cores, CONGESTION)),
        }
        for side in sides.values():
            stack.enter_context(start(side))
            measure(side, points[0])
        names = list(sides)
        with Steps(effort.runs * len(points) * len(sides)) as steps:
            for number in range(effort.runs):
                for point in points:
                    for name in names if number % 2 == 0 else reversed(names):
                        steps.begin(f"{point:g} on {name}")
                        seen.setdefault((name, point), []).append(measure(sides[name], point))
                        steps.end()
    return tuple(
        Curve(name, {point: summarize(seen[name, point]) for point in points}) for name in sides
    )


def need(*programs: str) -> None:
    """BenchError if a program is missing."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)}")
