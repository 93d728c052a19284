"""Quantities: exact integers or an error that says what is wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.topology.units import (
    UnitError,
    parse_chance_ppb,
    parse_latency_ns,
    parse_rate_bits,
)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("5ms", 5_000_000),
        ("0ms", 0),
        ("1.5 ms", 1_500_000),
        ("250us", 250_000),
        ("250µs", 250_000),
        ("7ns", 7),
        ("60s", 60_000_000_000),
    ],
)
def test_latency(text: str, ns: int) -> None:
    assert parse_latency_ns(text) == ns


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "needs one of the units"),
        ("5m", "needs one of the units"),
        ("ms", "is not a number"),
        ("-5ms", "is not a number"),
        ("0.5ns", "finer than"),
        ("61s", "out of range"),
        ("", "is not a number"),
    ],
)
def test_bad_latency(text: str, problem: str) -> None:
    with pytest.raises(UnitError, match=problem):
        parse_latency_ns(text)


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("1Gbit", 10**9),
        ("1gbit/s", 10**9),
        ("100 Mbit", 10**8),
        ("2.5Gbit", 2_500_000_000),
        ("8kbit", 8_000),
        ("9600bit", 9_600),
    ],
)
def test_rate(text: str, bits: int) -> None:
    assert parse_rate_bits(text) == bits


@pytest.mark.parametrize("text", ["0bit", "1GB", "10001Gbit", "0.5bit", "fast"])
def test_bad_rate(text: str) -> None:
    with pytest.raises(UnitError):
        parse_rate_bits(text)


@pytest.mark.parametrize(
    ("value", "ppb"),
    [
        (Decimal("0.02"), 20_000_000),
        ("2%", 20_000_000),
        ("0.5 %", 5_000_000),
        (0, 0),
        (1, 1_000_000_000),
        ("100%", 1_000_000_000),
        (Decimal("1e-9"), 1),
    ],
)
def test_chance(value: object, ppb: int) -> None:
    assert parse_chance_ppb(value) == ppb


@pytest.mark.parametrize(
    "value",
    [2, -1, Decimal("1.01"), "101%", Decimal("1e-10"), Decimal("nan"), "2", "two", True, ["2%"]],
)
def test_bad_chance(value: object) -> None:
    with pytest.raises(UnitError):
        parse_chance_ppb(value)


@given(st.integers(0, 10**9))
def test_both_ways_to_write_a_chance_agree(ppb: int) -> None:
    chance = Decimal(ppb).scaleb(-9)
    assert parse_chance_ppb(chance) == parse_chance_ppb(f"{chance * 100:f}%") == ppb
