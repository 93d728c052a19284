"""Listener regions, and which socket each belongs to."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel.descriptors import close_all

_NOTE = "listener."


@dataclass(frozen=True, slots=True)
class Owner:
    """A listening socket: a slot in one generation of it."""

    area: int
    slot: int
    generation: int


class Listeners:
    """All listener regions of a host."""

    def __init__(self) -> None:
        self._kept: dict[int, m.KeepListener] = {}
        self._owners: dict[int, Owner] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, listener: m.KeepListener) -> None:
        """Enter a region; its owner is known, or will be restored."""
        self._kept[listener.listener] = listener

    def claim(self, owner: Owner) -> int:
        """Choose a number for a new region of `owner`: the lowest that is free."""
        number = next(i for i in range(len(self._owners) + 1) if i not in self._owners)
        self._owners[number] = owner
        return number

    def find(self, owner: Owner) -> m.KeepListener | None:
        """Find the region of a socket."""
        for number, each in self._owners.items():
            if each == owner:
                return self._kept.get(number)
        return None

    def of_area(self, area: int) -> list[int]:
        """List the numbers of all regions of an area."""
        return [number for number, owner in self._owners.items() if owner.area == area]

    def remove(self, number: int) -> None:
        """Forget a region and close its descriptors."""
        self._owners.pop(number, None)
        kept = self._kept.pop(number, None)
        if kept is not None:
            close_all((kept.ring.number, kept.claims.number))

    def note(self, number: int) -> tuple[str, str]:
        """The note, key and text, that says to whom a region belongs."""
        owner = self._owners[number]
        text = json.dumps([owner.area, owner.slot, owner.generation])
        return _key(number), text

    def no_note(self, number: int) -> tuple[str, str]:
        """The note that removes it."""
        return _key(number), ""

    def restore(self, key: str, text: str) -> None:
        """Take up a note of a former generation."""
        match json.loads(text):
            case [int(area), int(slot), int(generation)] if key.startswith(_NOTE):
                self._owners[int(key.removeprefix(_NOTE))] = Owner(area, slot, generation)
            case _:
                raise NewtosError(f"no note of a listener: {key}={text!r}")

    def without_region(self) -> Iterator[int]:
        """Numbers that were claimed by a generation that died before it kept a region."""
        return (number for number in self._owners if number not in self._kept)


def _key(number: int) -> str:
    return f"{_NOTE}{number}"
