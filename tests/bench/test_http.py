"""The comparison of two sides: turns, medians, ratios; and Linux's side for real."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from newtos_py.bench import http, http_figure
from newtos_py.bench.lighttpd import PORT, Lighttpd, Site
from newtos_py.bench.namespace import Namespace
from newtos_py.bench.report import BenchError, Summary
from newtos_py.bench.sides import CLIENT, LinuxSide, two_cores
from newtos_py.bench.wrk import Load, Measurement, run_wrk, wrk_command
from rich.console import Console

LOAD = Load("64.bin", 64, 8, close=True)


class FakeSide:
    """A side whose runs are made up."""

    address = "nowhere"

    def __init__(self, name: str) -> None:
        self.name = name
        self.environ: dict[str, str] = {}

    def on(self, role: str, command: Sequence[str]) -> list[str]:
        raise NotImplementedError

    def pids(self) -> list[int]:
        raise NotImplementedError


def test_sides_take_turns_and_medians_make_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"newtos": [50.0, 100.0, 400.0], "linux": [20.0, 10.0, 90.0]}
    order: list[str] = []

    def run(served: http.Served, load: Load, seconds: int) -> http.Run:
        assert (load, seconds) == (LOAD, 1)
        order.append(served.side.name)
        rate = rates[served.side.name][order.count(served.side.name) - 1]
        return http.Run(Measurement(1000, rate, rate * 64, 10, 20), switches=250)

    monkeypatch.setattr(http, "run_once", run)
    sides = [http.Served(FakeSide(name), 1) for name in ("newtos", "linux")]
    (result,) = http.measure(sides, [LOAD], runs=3, seconds=1)
    assert order == ["newtos", "linux", "linux", "newtos", "newtos", "linux"]
    assert (result.newtos.requests_per_s.median, result.ratio) == (100.0, 5.0)
    ours = result.newtos.requests_per_s
    assert (ours.lowest, ours.highest) == (50.0, 400.0)
    assert result.linux.switches_a_request == 0.25
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(http.table_of([result]))
    text = console.export_text()
    assert "one a connection" in text
    assert "100 (350%)" in text
    assert "5.00" in text


def test_all_ways_to_ask_at_all_numbers_of_connections() -> None:
    loads = [(load.close, load.connections) for load in http.loads(64)]
    assert loads == [(close, n) for close in (False, True) for n in (1, 8, 64)]


def namespace_or_skip(congestion: str = "reno") -> Namespace:
    try:
        return Namespace(congestion)
    except BenchError as error:
        pytest.skip(str(error))


def test_a_namespace_has_its_own_loopback_and_settings() -> None:
    setting = "/proc/sys/net/ipv4/tcp_congestion_control"
    with namespace_or_skip() as namespace:
        show = ["sh", "-c", f"cat {setting}; cat /proc/net/dev"]
        done = subprocess.run(namespace.command(show), capture_output=True, text=True, check=True)
        inside, *devices = done.stdout.splitlines()
        assert inside == "reno"
        assert [line.split(":")[0].strip() for line in devices[2:]] == ["lo"]
        holder = namespace.command([])[-2]
        link = Path(f"/proc/{holder}/ns/net").readlink()
        assert link != Path("/proc/self/ns/net").readlink()
    assert not Path(f"/proc/{holder}").exists()


def test_an_unknown_congestion_control_is_said() -> None:
    namespace_or_skip().__exit__()
    with pytest.raises(BenchError, match="no congestion control nonsense; it has"):
        Namespace("nonsense")


@pytest.mark.apps("lighttpd", "wrk")
def test_linux_serves_and_an_error_counts_for_nothing() -> None:
    namespace_or_skip().__exit__()
    with ExitStack() as stack:
        site = stack.enter_context(Site([64]))
        side = stack.enter_context(LinuxSide(two_cores(), "reno"))
        stack.enter_context(Lighttpd(site, side))

        def run(load: Load) -> Measurement:
            command = side.on(CLIENT, wrk_command(load, f"{side.address}:{PORT}", 1))
            return run_wrk(command, side.environ, load, 1)

        assert run(LOAD).requests_per_s > 0
        with pytest.raises(BenchError, match="status_errors"):
            run(replace(LOAD, path="missing.bin"))


@pytest.mark.apps("lighttpd")
def test_a_server_that_does_not_start_says_why() -> None:
    namespace_or_skip().__exit__()
    with ExitStack() as stack:
        site = stack.enter_context(Site([64]))
        side = stack.enter_context(LinuxSide(two_cores(), "reno"))
        stack.enter_context(Lighttpd(site, side))
        with pytest.raises(BenchError, match=r"did not start on linux: .*in use"):
            Lighttpd(site, side)


def test_help_has_an_example() -> None:
    command = [sys.executable, "-P", "-m", "newtos_py.bench.http", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Example: python -m newtos_py.bench.http --quick" in done.stdout


def test_results_are_json(tmp_path: Path) -> None:
    path = http.write_json("http", {"a": [1]}, tmp_path / "sub" / "x.json")
    assert json.loads(path.read_text()) == {"a": [1]}


def test_a_figure_has_a_curve_a_side_and_way() -> None:
    def side(rate: float) -> http.SideResult:
        return http.SideResult(Summary(rate, rate, rate), 1, 2, 0.5, 1e9, ())

    together = replace(LOAD, pipelined=10)
    results = [
        http.Result(together, side(300), side(100), 3.0, {"NEWTOS_SOCKETS=syscall": side(30)}),
        http.Result(replace(together, connections=64), side(500), side(100), 5.0),
        http.Result(LOAD, side(200), side(100), 2.0),
    ]
    outcome = http_figure.outcome_of(results)
    rates = {
        curve.name: {x: summary.median for x, summary in curve.points.items()}
        for curve in outcome.curves
    }
    assert rates == {
        "newtos": {8: 300, 64: 500},
        "Linux": {8: 100, 64: 100},
        "NEWTOS_SOCKETS=syscall": {8: 30},
        "newtos, one by one": {8: 200},
        "Linux, one by one": {8: 100},
    }
    (panel,) = outcome.panels
    assert panel.ratios() == {"ratio": {8: 3, 64: 5}, "ratio, one by one": {8: 2}}
    assert "newtos, 8 connections: 10.0 x NEWTOS_SOCKETS=syscall" in outcome.notes
    assert any(note.startswith("64 connections: 8.00 Gbit/s") for note in outcome.notes)


def test_a_baseline_gets_its_own_loads_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def run(served: http.Served, load: Load, seconds: int) -> http.Run:
        asked.append((served.side.name, load.connections))
        return http.Run(Measurement(1000, 100.0, 6400.0, 10, seconds), switches=0)

    monkeypatch.setattr(http, "run_once", run)
    other = replace(LOAD, connections=64)
    sides = [http.Served(FakeSide(name), 1) for name in ("newtos", "linux")]
    sides.append(http.Served(FakeSide("slow"), 1, frozenset([other])))
    first, second = http.measure(sides, [LOAD, other], runs=2, seconds=1)
    assert asked.count(("slow", 64)) == 2
    assert ("slow", 8) not in asked
    assert asked == list(reversed(asked))  # the second time the other way round
    assert (first.others.keys(), second.others.keys()) == (set(), {"slow"})
