"""Instruction counts: none has grown unnoticed, and the comparison notices."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from newtos_py.bench import instructions

STORED = Path(__file__).parents[2] / instructions.STORED
SANITIZED = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="valgrind can't run sanitized code"
)


@SANITIZED
@pytest.mark.apps("valgrind")
@pytest.mark.parametrize("count", [instructions.count_engine, instructions.count_calls])
def test_no_count_has_grown(count: Callable[[], dict[str, float]]) -> None:
    before = instructions.stored(STORED)
    counts = count()
    assert all(number > 10 for number in counts.values())
    if not before:
        pytest.skip(f"no counts are stored for {instructions.platform_name()}")
    assert instructions.grown(counts, before) == []
    assert counts.keys() <= before.keys()


@SANITIZED
@pytest.mark.slow
@pytest.mark.apps("valgrind")
def test_counts_repeat_exactly() -> None:
    assert instructions.count_engine() == instructions.count_engine()


def test_growth_is_told(tmp_path: Path) -> None:
    path = tmp_path / "instructions.toml"
    instructions.store({"recv": 100.0, "send": 100.0}, path)
    before = instructions.stored(path)
    assert instructions.grown({"recv": 105.0, "send": 80.0}, before) == []
    assert instructions.grown({"recv": 106.0, "send": 80.0}, before) == [
        "recv: 106 instructions, 100 before"
    ]


def test_other_platforms_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "instructions.toml"
    instructions.store({"recv": 100.0}, path)
    monkeypatch.setattr(instructions, "platform_name", lambda: "another")
    assert instructions.stored(path) == {}
    instructions.store({"recv": 90.0}, path)
    monkeypatch.undo()
    assert instructions.stored(path) == {"recv": 100.0}
