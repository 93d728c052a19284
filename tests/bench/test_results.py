"""A series keeps going and can be resumed; results are read back whole, or refused; one page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from newtos_py.bench import results_page, series, stored
from newtos_py.bench.experiment import FULL, LINUX, NEWTOS, QUICK, Curve, Effort, Outcome, Panel
from newtos_py.bench.report import BenchError, Machine, Summary
from newtos_py.bench.stored import Result

from newtos_py import __version__
from newtos_py.cli import main

PNG = b"\x89PNG"


def result(name: str = "http-short", effort: Effort = FULL) -> Result:
    ours = {1.0: Summary(50, 40, 60), 64.0: Summary(3000, 3000, 3000)}
    theirs = {1.0: Summary(100, 100, 100), 64.0: Summary(1000, 900, 1100)}
    curves = (Curve(NEWTOS, ours), Curve(LINUX, theirs))
    further = (Panel("cycles", (Curve("only one", {64.0: Summary(7, 7, 7)}),), log_y=True),)
    outcome = Outcome("connections", "requests a second", curves, ("a note",), further=further)
    machine = Machine("2026-11-21T10:00:00+00:00", __version__, "6.18", "a | processor", 2, 0.1)
    command = f"newtos bench run {name}"
    return Result(
        name, "20 B", "Figure 5.5", "other load", "more", command, 61.5, machine, effort, outcome
    )


@pytest.fixture(autouse=True)
def _plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """What draws is tested by test_experiments.py; a picture takes a second."""

    def save(outcome: Outcome, title: str, path: Path) -> None:
        assert outcome.curves
        assert title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)

    monkeypatch.setattr(series.plot, "save", save)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    stored.save(result(), path)
    assert stored.load(path) == result()
    assert list(path.parent.iterdir()) == [path]


def changed(change: Any) -> str:
    told = json.loads(json.dumps(stored.asdict(result())))
    change(told)
    return json.dumps(told)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ('{"experiment": "http-sh', "Unterminated string"),
        ("[]", "the whole is not a table"),
        (changed(lambda told: told.pop("machine")), "machine is missing"),
        (changed(lambda told: told["machine"].pop("load")), "machine.load is missing"),
        (changed(lambda told: told["effort"].update(runs=True)), "effort.runs is not a whole"),
        (changed(lambda told: told["outcome"].update(curves={})), "outcome.curves is not a list"),
        (changed(lambda told: told["outcome"].update(curves=[])), "outcome.curves is empty"),
        (
            changed(lambda told: told["outcome"]["curves"][1]["points"]["1.0"].pop("median")),
            r"outcome.curves\[1\].points.1.0.median is missing",
        ),
        (
            changed(lambda told: told["outcome"]["curves"][0]["points"].update(many={})),
            'a point "many", which is no number',
        ),
        (changed(lambda told: told["outcome"].update(x_names=["one"])), "no name for the point 64"),
        (changed(lambda told: told["outcome"].update(notes=[1])), r"notes\[0\] is not a text"),
        ("\udcff", "can't decode"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "http-short.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BenchError, match=rf"http-short.json is no result .*{problem}.*run that"):
        stored.load(path)
    page = tmp_path / "results.md"
    refused = CliRunner().invoke(main, ["bench", "report", str(tmp_path), "--output", str(page)])
    assert refused.exit_code == 1
    assert "http-short.json is no result" in refused.output
    assert not page.exists()


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="can't be read: No such file"):
        stored.load(tmp_path / "x.json")


def test_a_series_keeps_going_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ran: list[str] = []
    broken = {"calls": BenchError("no wrk"), "bulk": KeyError("end")}

    def run(name: str, effort: Effort) -> Result:
        ran.append(name)
        if name in broken:
            raise broken[name]
        return result(name, effort)

    names = ["http-short", "calls", "bulk", "isolation"]
    stale = series.path_in(tmp_path, "calls")
    stored.save(result("calls", QUICK), stale)
    failures = series.run_all(names, QUICK, tmp_path, resume=False, run=run)
    assert ran == names
    assert [failure.name for failure in failures] == ["calls", "bulk"]
    assert failures[0].problem == "no wrk"
    assert "KeyError" in failures[1].problem
    said = capsys.readouterr().err
    assert "calls failed: no wrk" in said
    assert "Traceback" in said  # of what nobody expected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "http-short.json", "http-short.png", "isolation.json", "isolation.png"
    ]  # fmt: skip

    ran.clear()
    broken.clear()
    series.path_in(tmp_path, "isolation").write_text("cut o")
    assert series.run_all(names, QUICK, tmp_path, resume=True, run=run) == []
    assert ran == ["calls", "bulk", "isolation"]
    ran.clear()
    # Of another effort, or another version, is not there.
    assert series.run_all(names[:1], FULL, tmp_path, resume=True, run=run) == []
    old = result()
    stored.save(replace(old, machine=replace(old.machine, newtos_py="0")), tmp_path / "calls.json")
    assert series.run_all(["calls"], FULL, tmp_path, resume=True, run=run) == []
    assert ran == ["http-short", "calls"]


def test_all_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, effort: Effort) -> Result:
        if name == "memcached":
            raise BenchError("memcached is missing")
        return result(name, effort)

    monkeypatch.setattr(series.run_all, "__kwdefaults__", {"run": run})
    command = ["bench", "run", "all", "--quick", "--results", str(tmp_path), "--resume"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "memcached failed: memcached is missing" in done.output
    assert f"results in {tmp_path}" in done.output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["http-short", "--resume"], "--resume goes with all"),
        (["all", "--json", "x.json"], "all writes to a folder"),
        (["all", "--plot", "x.png"], "all writes to a folder"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], problem: str) -> None:
    refused = CliRunner().invoke(main, ["bench", "run", *words])
    assert refused.exit_code == 2
    assert problem in refused.output


def test_a_page_has_tables_plots_and_what_differs(tmp_path: Path) -> None:
    for name in ("http-short", "bulk"):
        stored.save(result(name), series.path_in(tmp_path / "in", name))
    output = tmp_path / "docs" / "results.md"
    output.parent.mkdir()
    done = CliRunner().invoke(
        main, ["bench", "report", str(tmp_path / "in"), "--output", str(output)]
    )
    assert done.exit_code == 0
    assert "without a result" in done.output
    text = output.read_text()
    assert "Linux 6.18, newtos_py" in text
    assert "2 minutes in all" in text
    assert "| connections | newtos | Linux | ratio |" in text
    assert "| 64 | 3,000 | 1,000 (20%) | 3.00 |" in text
    assert "| 20 B | 0.5 | 3.0 |" in text
    assert "- a note" in text
    assert "Different here: other load" in text
    assert "Different here: as with http-short." in text
    assert "The paper: more" in text
    assert "`newtos bench run bulk`, 5 runs of 1 s each, 62 s in all" in text
    assert "calls, memcached" in text  # without a result
    linked = [line.split("(")[-1].rstrip(")") for line in text.splitlines() if line[:2] == "!["]
    assert linked == ["results/http.png", "results/http-short.png", "results/bulk.png"]
    assert all((output.parent / link).read_bytes().startswith(PNG) for link in linked)
    assert "--quick" not in text


def test_a_page_of_quick_runs_says_so() -> None:
    text = results_page.text_of([result(effort=QUICK)], [], "results", None)
    assert "a first impression only" in text


def test_an_empty_folder_is_explained(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BenchError, match="newtos bench run all --results"):
            results_page.write(folder, tmp_path / "results.md")
