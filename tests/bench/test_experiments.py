"""Every experiment can be found and described, runs, and its outcome is shown alike."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from newtos_py.bench import experiment, plot, stored
from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Outcome, Panel
from newtos_py.bench.report import BenchError, Summary
from rich.console import Console

from newtos_py.cli import main

PNG = b"\x89PNG"


@pytest.fixture
def outcome() -> Outcome:
    ours = {1.0: Summary(50, 40, 60), 64.0: Summary(300, 300, 300)}
    theirs = {1.0: Summary(100, 100, 100), 32.0: Summary(10, 9, 11)}
    return Outcome("connections", "requests a second", (Curve(NEWTOS, ours), Curve(LINUX, theirs)))


def test_ratio_needs_both_sides(outcome: Outcome) -> None:
    (panel,) = outcome.panels
    assert panel.ratios() == {"ratio": {1.0: 0.5}}


def test_ratios_are_of_curves_of_one_name() -> None:
    def curve(name: str, y: float) -> Curve:
        return Curve(name, {1.0: Summary(y, y, y)})

    curves = (curve("newtos, idle", 2), curve("Linux, idle", 4), curve("newtos, busy", 5))
    assert Panel("y", curves).ratios() == {"ratio, idle": {1.0: 0.5}}


def test_table_has_a_row_a_point(outcome: Outcome) -> None:
    console = Console(width=120, record=True, quiet=True)
    table = experiment.table_of(outcome, *outcome.panels, "an experiment")
    assert table.row_count == 3
    with console.capture() as shown:
        console.quiet = False
        console.print(table)
    assert "50 (40%)" in shown.get()
    assert "0.50" in shown.get()


def test_plot_is_a_picture(outcome: Outcome, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.save(outcome, "an experiment", tmp_path / "new" / "plot.png")
    assert (tmp_path / "new" / "plot.png").read_bytes().startswith(PNG)


def test_points_may_have_names(tmp_path: Path) -> None:
    points = {1.0: Summary(9, 9, 9), 2.0: Summary(9000, 9000, 9000)}
    axis = {"log_x": False, "log_y": True, "x_names": ("by shared memory", "by a message")}
    outcome = Outcome("way", "cycles", (Curve("here", points),), **axis)
    console = Console(width=120)
    with console.capture() as shown:
        console.print(experiment.table_of(outcome, *outcome.panels, "an experiment"))
    assert "by a message" in shown.get()
    pytest.importorskip("matplotlib")
    plot.save(outcome, "an experiment", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(PNG)


def test_all_are_listed() -> None:
    listed = CliRunner().invoke(main, ["bench", "list", "--json"], catch_exceptions=False)
    rows = json.loads(listed.stdout)
    assert [row["name"] for row in rows] == list(experiment.NAMES)
    assert all(row["reproduces"] and row["measures"] for row in rows)


def test_unknown_name_is_explained() -> None:
    refused = CliRunner().invoke(main, ["bench", "run", "http"])
    assert refused.exit_code == 2
    assert "http-short" in refused.output
    with pytest.raises(BenchError, match="http-short"):
        experiment.find("http")


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.apps("wrk", "lighttpd", "memcached", "memcaslap", "iperf3", "nginx")
@pytest.mark.parametrize("name", experiment.NAMES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    newtos = shutil.which("newtos")
    assert newtos is not None
    results = tmp_path / "results.json"
    done = subprocess.run(
        [newtos, "bench", "run", name, "--quick", "--json", results],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    result = stored.load(results)
    assert (result.experiment, result.effort) == (name, experiment.QUICK)
    for curve in result.outcome.curves:
        assert all(summary.median > 0 for summary in curve.points.values())
    assert results.with_suffix(".png").read_bytes().startswith(PNG)
