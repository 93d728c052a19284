"""Bars of a series: it is as far as its finished parts, and what the part under way has done."""

import pytest
from newtos_py.bench.steps import Steps


def done(steps: Steps) -> list[float]:
    return [task.completed for task in steps.progress.tasks]


def test_a_part_moves_its_series() -> None:
    with Steps(2, whole=True) as series:
        for _ in range(2):
            before = done(series)[0]
            with Steps(4) as part:
                assert part.progress is series.progress
                part.begin("one of four")
                part.end()
                assert done(series) == [before + 0.25, 1]
            series.end()
            assert done(series) == [before + 1]
    with Steps(1) as alone:
        assert alone.progress is not series.progress
        alone.end()
        assert done(alone) == [1]


def test_a_part_that_fails_leaves_no_bar() -> None:
    def fail() -> None:
        with Steps(4) as part:
            part.end()
            raise KeyError

    with Steps(2, whole=True) as series:
        with pytest.raises(KeyError):
            fail()
        series.end()
        assert done(series) == [1]


def test_what_is_said_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(1) as steps:
        steps.say("[one] of 2")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "[one] of 2\n")
