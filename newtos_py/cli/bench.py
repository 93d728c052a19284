"""`newtos bench`: the experiments, each against Linux on the same cores."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from newtos_py.bench import experiment as experiments
from newtos_py.bench import results_page, series, stored
from newtos_py.bench.experiment import FULL, NAMES, QUICK, Effort
from newtos_py.bench.report import RESULTS, BenchError, this_machine
from newtos_py.bench.stored import Result
from newtos_py.cli import table

# Above it somebody else uses the machine.
_QUIET_LOAD = 0.5
_ALL = "all"


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """One experiment."""

    name: str
    measures: str
    reproduces: str


@click.group(epilog="Example: newtos bench run http-short --quick")
def command() -> None:
    """Run experiments of the papers, on newtos and on Linux in turn."""


@command.command("list", epilog="Example: newtos bench list")
@table.json_option
def list_experiments(*, as_json: bool) -> None:
    """List the experiments, and which table or figure each reproduces."""
    rows = []
    for name in NAMES:
        experiment = experiments.find(name)
        rows.append(ExperimentRow(name, experiment.title, experiment.reproduces))
    table.show(ExperimentRow, rows, as_json=as_json, empty="there are none")


@command.command(epilog="Example: newtos bench run http-short --quick")
@click.argument("name", type=click.Choice([*NAMES, _ALL]), metavar="NAME")
@click.option("--quick", is_flag=True, help="A first impression: one short run, fewer points.")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write NAME.json and NAME.png there.")  # fmt: skip
@click.option("--resume", is_flag=True, help="With all: keep the results that are in DIR already.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write results there.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the plot there, a PNG.")
def run(
    *,
    name: str,
    quick: bool,
    results: Path | None,
    resume: bool,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Run an experiment, or all: a table here, results as JSON and as a plot in bench/results.

    With all, an experiment that fails is told of and the others are run; the status is then 1.
    """
    if resume and name != _ALL:
        raise click.UsageError("--resume goes with all")
    if name == _ALL and (json_file is not None or plot is not None):
        raise click.UsageError("all writes to a folder: --results DIR")
    load = this_machine().load
    if load > _QUIET_LOAD:
        click.echo(f"the machine is busy (load {load:.1f}): figures mean little", err=True)
    effort = QUICK if quick else FULL
    if name == _ALL:
        _run_all(effort, results or series.FOLDER, resume=resume)
        return
    result = series.run_one(name, effort)
    _show(result)
    folder = results or RESULTS
    json_path = json_file or folder / f"{name if results else stored.stamped(name)}.json"
    stored.save(result, json_path)
    click.echo(f"written to {json_path}")
    plot_path = plot or json_path.with_suffix(".png")
    try:
        series.draw(result, plot_path)
    except BenchError as error:
        if plot is not None:
            raise
        click.echo(f"no plot: {error}", err=True)
    else:
        click.echo(f"drawn in {plot_path}")


@command.command(epilog="Example: newtos bench report bench/results/all")
@click.argument("folder", type=click.Path(path_type=Path), default=series.FOLDER, metavar="[DIR]")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), show_default=True,
              default=Path("docs/results.md"), help="The page to write.")  # fmt: skip
def report(*, folder: Path, output: Path) -> None:
    """Write a page with tables and plots from the results of `newtos bench run all` in DIR.

    Plots go to a folder beside it, named like the page.
    """
    page = results_page.write(folder, output)
    if page.missing:
        click.echo(f"without a result in {folder}: {', '.join(page.missing)}", err=True)
    click.echo(f"written to {page.path}, {len(page.plots)} plots in {page.plots[0].parent}")


def _run_all(effort: Effort, folder: Path, *, resume: bool) -> None:
    failures = series.run_all(NAMES, effort, folder, resume=resume)
    click.echo(f"{len(NAMES) - len(failures)} of {len(NAMES)} results in {folder}")
    for failure in failures:
        click.echo(f"{failure.name} failed: {failure.problem}", err=True)
    if failures:
        sys.exit(1)


def _show(result: Result) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"reproduces {result.reproduces}. {result.differences}")
    for panel in result.outcome.panels:
        console.print(experiments.table_of(result.outcome, panel, result.title))
    for note in result.outcome.notes:
        console.print(note)
