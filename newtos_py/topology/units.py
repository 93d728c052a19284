"""Quantities as a topology writes them, into integers: nanoseconds, bits a second, parts per 1e9.

Integers, because the simulator replays from them: no float may enter its trace. Parsing goes
through Decimal and must come out exact; what would be rounded is refused.
"""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*(?P<unit>\S*)")
_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_BIT = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
PPB = 1_000_000_000

# A wire keeps what is under way in a bounded pool; longer delays than a minute would only fill it.
MAX_LATENCY_NS = 60 * 1_000_000_000
MAX_RATE_BITS = 10**13


class UnitError(ValueError):
    """The value is no such quantity; str() says why."""


def parse_latency_ns(text: str) -> int:
    """Read "5ms"; UnitError otherwise."""
    return _in_range(text, _scaled(text, _NS, "ns, us, ms or s"), 0, MAX_LATENCY_NS, "60s")


def parse_rate_bits(text: str) -> int:
    """Read "1Gbit" (a second, as tc writes it); UnitError otherwise."""
    bits = text.removesuffix("/s").lower()
    amount = _scaled(bits, _BIT, "bit, kbit, Mbit or Gbit")
    return _in_range(text, amount, 1, MAX_RATE_BITS, "10000Gbit")


def parse_chance_ppb(value: object) -> int:
    """Read 0.02 or "2%"; UnitError otherwise."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)
        if match is None:
            raise UnitError(f'"{value}" is no percentage')
        chance = Decimal(match[1]) / 100
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        chance = Decimal(value)
    else:
        raise UnitError("must be a number or a percentage")
    if not (chance.is_finite() and 0 <= chance <= 1):
        raise UnitError(f"{value} is not between 0 and 1")
    return _exact(chance * PPB, f"{value} is finer than one in 1e9")


def _scaled(text: str, units: dict[str, int], names: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f'"{text}" is not a number with a unit')
    if match["unit"] not in units:
        raise UnitError(f'"{text}" needs one of the units {names}')
    scaled = Decimal(match["number"]) * units[match["unit"]]
    return _exact(scaled, f'"{text}" is finer than the smallest unit')


def _in_range(text: str, amount: int, low: int, high: int, high_text: str) -> int:
    if not low <= amount <= high:
        raise UnitError(f'"{text}" is out of range, at most {high_text}')
    return amount


def _exact(value: Decimal, problem: str) -> int:
    whole = value.to_integral_value()
    if whole != value:
        raise UnitError(problem)
    return int(whole)
