"""Results as files: what `newtos bench run` writes and `newtos bench report` reads.

One JSON file a run of an experiment, with all that a reader needs to judge it. Reading checks
everything: a file may be cut off, edited, or of another version, and says so.
"""

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from newtos_py.bench.experiment import Curve, Effort, Outcome, Panel
from newtos_py.bench.report import BenchError, Machine, Summary


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one experiment."""

    experiment: str
    title: str
    reproduces: str
    differences: str
    paper: str
    # That repeats it.
    command: str
    took_s: float
    machine: Machine
    effort: Effort
    outcome: Outcome


def save(result: Result, path: Path) -> None:
    """Write it, as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def stamped(name: str) -> str:
    """A name for a file that no other run has."""
    return f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"  # noqa: DTZ005 (local)


def load(path: Path) -> Result:
    """Read it; BenchError says what is wrong with the file."""
    try:
        root = _Reader("", json.loads(path.read_text(encoding="utf-8")))
        return _result(root)
    except OSError as error:
        raise BenchError(f"{path} can't be read: {error.strerror}") from None
    except (_WrongError, ValueError) as error:  # JSONDecodeError and UnicodeDecodeError are such
        problem = f"{path} is no result of newtos bench run: {error}"
        raise BenchError(f"{problem}; run that experiment again") from None


class _WrongError(Exception):
    """A value is not what stands there in a result."""


class _Reader:
    """A value of the file, and where it stands."""

    def __init__(self, where: str, value: object) -> None:
        self._where, self._value = where, value

    def at(self, key: str) -> "_Reader":
        value = self._value
        if not isinstance(value, dict):
            raise self._wrong("a table")
        if key not in value:
            raise _WrongError(f"{self._inside(key)} is missing")
        return _Reader(self._inside(key), value[key])

    def items(self) -> "Iterator[tuple[str, _Reader]]":
        if not isinstance(self._value, dict):
            raise self._wrong("a table")
        for key, value in self._value.items():
            yield key, _Reader(self._inside(key), value)

    def each(self) -> "Iterator[_Reader]":
        if not isinstance(self._value, list):
            raise self._wrong("a list")
        for i, value in enumerate(self._value):
            yield _Reader(f"{self._where}[{i}]", value)

    def text(self) -> str:
        if not isinstance(self._value, str):
            raise self._wrong("a text")
        return self._value

    def number(self) -> float:
        if isinstance(self._value, bool) or not isinstance(self._value, int | float):
            raise self._wrong("a number")
        return float(self._value)

    def whole(self) -> int:
        if isinstance(self._value, bool) or not isinstance(self._value, int):
            raise self._wrong("a whole number")
        return self._value

    def flag(self) -> bool:
        if not isinstance(self._value, bool):
            raise self._wrong("true or false")
        return self._value

    def table(self) -> Mapping[str, object]:
        if not isinstance(self._value, dict):
            raise self._wrong("a table")
        return self._value

    def _inside(self, key: str) -> str:
        return f"{self._where}.{key}" if self._where else key

    def _wrong(self, wanted: str) -> _WrongError:
        return _WrongError(f"{self._where or 'the whole'} is not {wanted}")


def _result(root: _Reader) -> Result:
    return Result(
        experiment=root.at("experiment").text(),
        title=root.at("title").text(),
        reproduces=root.at("reproduces").text(),
        differences=root.at("differences").text(),
        paper=root.at("paper").text(),
        command=root.at("command").text(),
        took_s=root.at("took_s").number(),
        machine=_machine(root.at("machine")),
        effort=_effort(root.at("effort")),
        outcome=_outcome(root.at("outcome")),
    )


def _machine(at: _Reader) -> Machine:
    return Machine(
        date=at.at("date").text(),
        newtos_py=at.at("newtos_py").text(),
        kernel=at.at("kernel").text(),
        processor=at.at("processor").text(),
        cores=at.at("cores").whole(),
        load=at.at("load").number(),
    )


def _effort(at: _Reader) -> Effort:
    return Effort(at.at("runs").whole(), at.at("seconds").whole(), at.at("quick").flag())


def _outcome(at: _Reader) -> Outcome:
    x_names = tuple(name.text() for name in at.at("x_names").each())
    outcome = Outcome(
        x_label=at.at("x_label").text(),
        y_label=at.at("y_label").text(),
        curves=_curves(at.at("curves")),
        notes=tuple(note.text() for note in at.at("notes").each()),
        log_x=at.at("log_x").flag(),
        log_y=at.at("log_y").flag(),
        x_names=x_names,
        further=tuple(_panel(panel) for panel in at.at("further").each()),
        details=dict(at.at("details").table()),
    )
    if not outcome.curves:
        raise _WrongError("outcome.curves is empty")
    for x in (x for panel in outcome.panels for x in panel.points()):
        if x_names and not (x.is_integer() and 1 <= x <= len(x_names)):
            raise _WrongError(f"outcome.x_names has no name for the point {x:g}")
    return outcome


def _panel(at: _Reader) -> Panel:
    return Panel(at.at("y_label").text(), _curves(at.at("curves")), at.at("log_y").flag())


def _curves(at: _Reader) -> tuple[Curve, ...]:
    return tuple(Curve(each.at("name").text(), _points(each.at("points"))) for each in at.each())


def _points(at: _Reader) -> dict[float, Summary]:
    points = {}
    for key, value in at.items():
        try:
            x = float(key)
        except ValueError:
            raise _WrongError(f'outcome has a point "{key}", which is no number') from None
        points[x] = Summary(
            value.at("median").number(), value.at("lowest").number(), value.at("highest").number()
        )
    return points
