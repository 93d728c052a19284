"""Listener regions, and which sockets each belongs to: the one that listens, and those that joined.

A region ends with its last member, unless a program holds the listening socket without having
joined (request.h: HOLD).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel.descriptors import close_all

_NOTE = "listener."


@dataclass(frozen=True, slots=True)
class Owner:
    """A member of a listener: a slot in one generation of it."""

    area: int
    slot: int
    generation: int


class Listeners:
    """All listener regions of a host."""

    def __init__(self) -> None:
        self._kept: dict[int, m.KeepListener] = {}
        self._members: dict[int, list[Owner]] = {}
        # What a socket is in further lanes: its number in the lane that its slot is in.
        self._homes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, listener: m.KeepListener) -> None:
        """Enter a region; its owner is known, or will be restored."""
        self._kept[listener.listener] = listener

    def claim(self, *owners: Owner, home: int | None = None) -> int:
        """Choose a number for a new region: the lowest that is free.

        `home` is the number of the same socket in the lane that its slot is in; None: this is it.
        """
        used = {*self._members, *self._homes.values()}
        number = next(i for i in range(len(used) + 1) if i not in used)
        self._members[number] = list(owners)
        if home is not None:
            self._homes[number] = home
        return number

    def home(self, number: int) -> int:
        """The number of the same socket in the lane that its slot is in."""
        return self._homes.get(number, number)

    def beside(self, home: int) -> list[m.KeepListener]:
        """The regions of a socket in further lanes, by lane."""
        numbers = [number for number, other in self._homes.items() if other == home]
        found = [self._kept[number] for number in numbers if number in self._kept]
        return sorted(found, key=lambda listener: listener.lane)

    def join(self, number: int, owner: Owner) -> None:
        """Enter a further member."""
        if owner not in self._members[number]:
            self._members[number].append(owner)

    def leave(self, number: int, owner: Owner) -> None:
        """A member is gone."""
        members = self._members.get(number, [])
        if owner in members:
            members.remove(owner)

    def find(self, owner: Owner) -> m.KeepListener | None:
        """Find the region of a socket."""
        for number, members in self._members.items():
            if owner in members:
                return self._kept.get(number)
        return None

    def get(self, number: int) -> m.KeepListener | None:
        """Find a region by its number."""
        return self._kept.get(number)

    def members(self, number: int) -> tuple[Owner, ...]:
        """All sockets of a region."""
        return tuple(self._members.get(number, ()))

    def of_area(self, area: int) -> list[tuple[int, Owner]]:
        """List all members in an area, with their regions' numbers."""
        return [
            (number, owner)
            for number, members in self._members.items()
            for owner in members
            if owner.area == area
        ]

    def remove(self, number: int) -> None:
        """Forget a region and close its descriptors."""
        self._members.pop(number, None)
        self._homes.pop(number, None)
        kept = self._kept.pop(number, None)
        if kept is not None:
            close_all((kept.ring.number, kept.claims.number))

    def note(self, number: int) -> tuple[str, str]:
        """The note, key and text, that says to whom a region belongs."""
        members = [[each.area, each.slot, each.generation] for each in self._members[number]]
        return _key(number), json.dumps([self.home(number), members])

    def no_note(self, number: int) -> tuple[str, str]:
        """The note that removes it."""
        return _key(number), ""

    def restore(self, key: str, text: str) -> None:
        """Take up a note of a former generation."""
        match json.loads(text):
            case [int(home), list(members)] if key.startswith(_NOTE):
                number = int(key.removeprefix(_NOTE))
                self._members[number] = [Owner(*each) for each in members]
                if home != number:
                    self._homes[number] = home
            case _:
                raise NewtosError(f"no note of a listener: {key}={text!r}")

    def without_region(self) -> Iterator[int]:
        """Numbers that were claimed by a generation that died before it kept a region."""
        return (number for number in self._members if number not in self._kept)


def _key(number: int) -> str:
    return f"{_NOTE}{number}"
