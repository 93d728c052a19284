"""Messages between rs, zygote and servers: frozen dataclasses as JSON, descriptors beside them.

A message is one of a closed set of dataclasses (a `Codec` is made for that set) and becomes
{"": its class's name, field: value, ...}. Types that fields may have: int, bool, str, bytes
(written in hexadecimal), Fd, an Enum, a dataclass of these, a homogeneous tuple of these, or any
of them or None. An Fd travels by SCM_RIGHTS and is written as its index among the descriptors of
the message; the receiver's Fd has the receiver's number.

Both ends are ours, so a message that does not fit is a bug of ours, not input: CodecError ends the
process that finds it.
"""

import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum

from newtos_py.errors import NewtosError

_TYPE_KEY = ""


class CodecError(NewtosError):
    """A message is none that this end knows."""


@dataclass(frozen=True, slots=True)
class Fd:
    """A descriptor in a message. Sending duplicates it; whoever receives it owns it."""

    number: int


class Codec:
    """Encodes and decodes one set of messages."""

    def __init__(self, *message_types: type) -> None:
        self._types: dict[str, type] = {each.__name__: each for each in message_types}
        self._hints: dict[type, dict[str, object]] = {}

    def warm_up(self) -> None:
        """Look at all types now rather than when the first message comes: before a fork."""
        for each in self._types.values():
            self._hints_of(each)

    def encode(self, message: object) -> tuple[bytes, list[int]]:
        """Turn a message into its text and the descriptors to send beside it."""
        name = type(message).__name__
        if self._types.get(name) is not type(message):
            raise CodecError(f"no message: {message!r}")
        descriptors: list[int] = []
        tree = _encode(message, descriptors)
        assert isinstance(tree, dict)
        text = json.dumps({_TYPE_KEY: name, **tree}, separators=(",", ":"))
        return text.encode(), descriptors

    def decode(self, text: bytes, descriptors: Sequence[int]) -> object:
        """Make the message of a text; CodecError if it is none of this set."""
        try:
            tree = json.loads(text)
            return self._decode(self._types[tree[_TYPE_KEY]], tree, descriptors)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise CodecError(f"bad message {text[:200]!r}: {error!r}") from error

    def _decode(self, wanted: object, tree: object, descriptors: Sequence[int]) -> object:
        origin = typing.get_origin(wanted)
        if origin in (types.UnionType, typing.Union):
            if tree is None:
                return None
            (wanted,) = (each for each in typing.get_args(wanted) if each is not type(None))
            return self._decode(wanted, tree, descriptors)
        if origin is tuple:
            item = typing.get_args(wanted)[0]
            return tuple(self._decode(item, each, descriptors) for each in _list(tree))
        if is_dataclass(wanted) and wanted is not Fd:
            assert isinstance(wanted, type)
            return self._decode_fields(wanted, tree, descriptors)
        return _decode_plain(wanted, tree, descriptors)

    def _decode_fields(self, wanted: type, tree: object, descriptors: Sequence[int]) -> object:
        if not isinstance(tree, dict):
            raise TypeError(f"{tree!r} is no {wanted.__name__}")
        values: Mapping[str, object] = {
            name: self._decode(hint, tree[name], descriptors)
            for name, hint in self._hints_of(wanted).items()
        }
        return wanted(**values)

    def _hints_of(self, wanted: type) -> dict[str, object]:
        """Types of a dataclass's fields; those of dataclasses in it come along."""
        hints = self._hints.get(wanted)
        if hints is None:
            hints = self._hints[wanted] = typing.get_type_hints(wanted)
            for each in _dataclasses_in(hints.values()):
                self._hints_of(each)
        return hints


def _dataclasses_in(hints: Iterable[object]) -> Iterator[type]:
    for hint in hints:
        if isinstance(hint, type) and is_dataclass(hint):
            yield hint
        else:
            yield from _dataclasses_in(typing.get_args(hint))


def _decode_plain(wanted: object, tree: object, descriptors: Sequence[int]) -> object:
    if wanted is Fd:
        return Fd(descriptors[_int(tree)])
    if wanted is bytes:
        return bytes.fromhex(str(tree))
    assert isinstance(wanted, type)
    if issubclass(wanted, Enum):
        return wanted(tree)
    if type(tree) is not wanted:
        raise TypeError(f"{tree!r} is no {wanted.__name__}")
    return tree


def _encode(value: object, descriptors: list[int]) -> object:
    if isinstance(value, Fd):
        descriptors.append(value.number)
        return len(descriptors) - 1
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_encode(each, descriptors) for each in value]
    if is_dataclass(value):
        return {
            each.name: _encode(getattr(value, each.name), descriptors) for each in fields(value)
        }
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise CodecError(f"a message can't carry {value!r}")


def _list(tree: object) -> list[object]:
    if not isinstance(tree, list):
        raise TypeError(f"{tree!r} is no list")
    return tree


def _int(tree: object) -> int:
    if not isinstance(tree, int):
        raise TypeError(f"{tree!r} is no number")
    return tree
