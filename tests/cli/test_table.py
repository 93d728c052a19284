"""Tables: the same dataclasses for people and as JSON."""

import json
from dataclasses import dataclass, field

import pytest

from newtos_py.cli import table


@dataclass(frozen=True, slots=True)
class Row:
    """A row with every kind of cell."""

    name: str
    count: int | None
    ok: bool
    parts: tuple[str, ...]
    bytes_sent: int = field(default=0, metadata=table.column("sent"))


ROWS = [Row("a [bold]name[/]", 5, True, ("x", "y"), 12345), Row("b", None, False, ())]


def shown(capsys: pytest.CaptureFixture[str], rows: list[Row], *, as_json: bool) -> list[str]:
    table.show(Row, rows, as_json=as_json, empty="nothing here")
    captured = capsys.readouterr()
    return [captured.out, captured.err]


def test_a_table_has_a_column_for_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, ROWS, as_json=False)
    lines = [line.rstrip() for line in out.splitlines()]
    assert lines == [
        "NAME             COUNT  OK   PARTS   SENT",
        "a [bold]name[/]      5  yes  x, y   12345",
        "b                    -  no   -          0",
    ]
    assert err == ""


def test_a_pipe_gets_every_column_whole(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown(capsys, [Row("n" * 300, 1, True, ("p" * 300,))], as_json=False)
    assert "n" * 300 in out
    assert "p" * 300 in out
    assert len(out.splitlines()) == 2


def test_json_has_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = shown(capsys, ROWS, as_json=True)
    assert json.loads(out) == [
        {
            "name": "a [bold]name[/]",
            "count": 5,
            "ok": True,
            "parts": ["x", "y"],
            "bytes_sent": 12345,
        },
        {"name": "b", "count": None, "ok": False, "parts": [], "bytes_sent": 0},
    ]


def test_an_empty_table_says_so_beside_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, [], as_json=False) == ["", "nothing here\n"]


def test_an_empty_list_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, [], as_json=True)
    assert (json.loads(out), err) == ([], "")
