"""Running experiments and keeping their results: one, or all of them, one after the other.

A folder holds one result an experiment, NAME.json, and its plot beside it. An experiment that fails
costs the series only its own result; run again with `resume`, the series does what is missing.
"""

import shlex
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from newtos_py.bench import experiment as experiments
from newtos_py.bench import plot, stored
from newtos_py.bench.experiment import Effort
from newtos_py.bench.report import BenchError, this_machine
from newtos_py.bench.steps import Steps
from newtos_py.bench.stored import Result

from newtos_py import __version__
from newtos_py.errors import NewtosError

# Where a series goes if nobody names a folder; ignored by git.
FOLDER = Path("bench/results/all")


@dataclass(frozen=True, slots=True)
class Failure:
    """An experiment without a result."""

    name: str
    problem: str


def run_one(name: str, effort: Effort) -> Result:
    """Run an experiment."""
    experiment = experiments.find(name)
    machine = this_machine()
    started = time.monotonic()
    outcome = experiment.run(effort)
    command = ["newtos", "bench", "run", name, *(["--quick"] if effort.quick else [])]
    return Result(
        name,
        experiment.title,
        experiment.reproduces,
        experiment.differences,
        experiment.paper,
        shlex.join(command),
        time.monotonic() - started,
        machine,
        effort,
        outcome,
    )


def path_in(folder: Path, name: str) -> Path:
    """Where an experiment's result stands."""
    return folder / f"{name}.json"


def draw(result: Result, path: Path) -> None:
    """Draw it into a PNG; BenchError without matplotlib."""
    plot.save(result.outcome, f"{result.title}\n({result.reproduces})", path)


def run_all(
    names: Sequence[str],
    effort: Effort,
    folder: Path,
    *,
    resume: bool,
    run: Callable[[str, Effort], Result] = run_one,
) -> list[Failure]:
    """Run experiments into a folder; those that failed. Says on standard error how it goes."""
    failures = []
    with Steps(len(names), whole=True) as steps:
        for number, name in enumerate(names, start=1):
            steps.begin(f"{number} of {len(names)}: {name}")
            if resume and _is_done(path_in(folder, name), effort):
                steps.say(f"{name}: there already")
            else:
                failure = _run_into(folder, name, effort, run, steps)
                if failure is not None:
                    failures.append(failure)
            steps.end()
    return failures


def _run_into(
    folder: Path,
    name: str,
    effort: Effort,
    run: Callable[[str, Effort], Result],
    steps: Steps,
) -> Failure | None:
    path = path_in(folder, name)
    # Whatever fails now, an older result must not pass for this one.
    path.unlink(missing_ok=True)
    path.with_suffix(".png").unlink(missing_ok=True)
    try:
        result = run(name, effort)
        stored.save(result, path)
        steps.say(f"{name}: {result.took_s:.0f} s, {path}")
        _try_to_draw(result, path.with_suffix(".png"), steps)
    except NewtosError as error:
        steps.say(f"{name} failed: {error}")
        return Failure(name, str(error))
    except Exception as error:  # the others can still be measured
        steps.say("".join(traceback.format_exception(error)))
        steps.say(f"{name} failed")
        return Failure(name, f"{type(error).__name__}: {error}")
    return None


def _try_to_draw(result: Result, path: Path, steps: Steps) -> None:
    try:
        draw(result, path)
    except BenchError as error:
        steps.say(f"no plot: {error}")


def _is_done(path: Path, effort: Effort) -> bool:
    """Whether this version's result of that effort is there, and whole."""
    try:
        result = stored.load(path)
    except BenchError:
        return False
    return result.effort == effort and result.machine.newtos_py == __version__
