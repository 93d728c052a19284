"""The channel bench measures what it says; its times are not judged."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from newtos_py.bench import channel


def test_every_place_and_batch_is_measured() -> None:
    results = channel.measure(runs=3, count=5000)
    places = [(result.where, result.batch) for result in results]
    assert places[:2] == [("one core", 1), ("one core", 32)]
    assert places[2:] in ([], [("two cores", 1), ("two cores", 32)])
    assert all(0 < r.best_ns <= r.median_ns <= r.worst_ns for r in results)


def test_a_descriptor_that_changed_is_found() -> None:
    """Descriptors that another producer numbered differently are not those that were sent."""
    made = channel.Channel()
    assert channel.lib.nt_bench_produce(made.base, made.size, 1, 3) > 0
    assert channel.lib.nt_bench_produce(made.base, made.size, 1, 3) > 0
    assert channel.lib.nt_bench_consume(made.base, made.size, 1, 6) == 0
    made.close()
    with pytest.raises(channel.BenchError):
        channel.checked(0)


def test_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = channel.Result("one core", 32, 2.0, 1.0, 3.0)
    monkeypatch.setattr(channel, "measure", lambda: [result])
    empty = channel.receive.Result("newtos", 6.0, 5.0, 7.0, 2.5)
    monkeypatch.setattr(channel.receive, "measure", lambda: [empty])
    file = tmp_path / "channel.json"
    shown = CliRunner().invoke(channel.main, ["--json", str(file)])
    assert shown.exit_code == 0
    assert "one core" in shown.output
    assert "empty recv on" in shown.output
    told = json.loads(file.read_text())
    assert told["descriptors"][0]["median_ns"] == 2.0
    assert told["empty_receives"][0]["median_cycles"] == 6.0
    assert told["machine"]["cores"] >= 1
