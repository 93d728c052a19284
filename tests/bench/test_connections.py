"""Clients of the connections experiment that end or hang are said, and nothing waits for ever."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from newtos_py.bench import connections
from newtos_py.bench.connections import Asker
from newtos_py.bench.report import BenchError, Summary


@contextmanager
def asker(code: str) -> Iterator[Asker]:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Asker(process)
        process.kill()


def test_an_answer_is_heard() -> None:
    with asker("print(int(input().split()[1]) + 1, flush=True); input()") as one:
        one.say("grow", 41)
        assert one.hear() == 42


def test_an_ended_client_is_said() -> None:
    with asker("raise SystemExit(3)") as one, pytest.raises(BenchError, match="with status 3"):
        one.hear()


def test_a_silent_client_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.05)
    with asker("input()") as one, pytest.raises(BenchError, match="did not answer within"):
        one.hear()


def test_growth_is_of_the_most_in_the_fewest() -> None:
    points = {100.0: Summary(2, 2, 2), 1000.0: Summary(9, 9, 9), 10_000.0: Summary(3, 3, 3)}
    assert connections.growth(connections.Curve("any", points)) == 1.5
