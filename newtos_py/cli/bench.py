"""`newtos bench`: the experiments, each against Linux on the same cores."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console

from newtos_py.bench import experiment as experiments
from newtos_py.bench import plot as plots
from newtos_py.bench.experiment import FULL, NAMES, QUICK, Experiment, Outcome
from newtos_py.bench.report import BenchError, this_machine, write_json
from newtos_py.cli import table

# Above it somebody else uses the machine.
_QUIET_LOAD = 0.5


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
@click.argument("name", type=click.Choice(NAMES), metavar="NAME")
@click.option("--quick", is_flag=True, help="A first impression: one short run, fewer points.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write results there.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the plot there, a PNG.")
def run(*, name: str, quick: bool, json_file: Path | None, plot: Path | None) -> None:
    """Run an experiment: a table here, results as JSON and as a plot in bench/results."""
    experiment = experiments.find(name)
    machine = this_machine()
    if machine.load > _QUIET_LOAD:
        click.echo(f"the machine is busy (load {machine.load:.1f}): figures mean little", err=True)
    effort = QUICK if quick else FULL
    outcome = experiment.run(effort)
    _show(experiment, outcome)
    content = {
        "experiment": name,
        "reproduces": experiment.reproduces,
        "differences": experiment.differences,
        "machine": asdict(machine),
        "effort": asdict(effort),
        "outcome": asdict(outcome),
    }
    json_path = write_json(name, content, json_file)
    click.echo(f"written to {json_path}")
    plot_path = plot or json_path.with_suffix(".png")
    try:
        plots.save(outcome, f"{experiment.title} ({experiment.reproduces})", plot_path)
    except BenchError as error:
        if plot is not None:
            raise
        click.echo(f"no plot: {error}", err=True)
    else:
        click.echo(f"drawn in {plot_path}")


def _show(experiment: Experiment, outcome: Outcome) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(f"reproduces {experiment.reproduces}. {experiment.differences}")
    console.print(experiments.table_of(outcome, experiment.title))
    for note in outcome.notes:
        console.print(note)
