"""Sockets that several programs hold, and who they are (control.h: TOKEN, LEAVE, TAKE).

A record for each socket that was ever told of by a TOKEN: where it is (the program whose area it
is in, slot, generation) and who has used it; and for each program which of them it holds. Both are
notes with rs, written before anything is answered, so the next generation knows what this one did.

    the owner leaves, others hold it     it stays in the owner's area, which nobody looks at
    the owner ends, others hold it       it moves to an area of the host's own (Nobody)
    the last one leaves                  who has it closes it; in somebody else's area: this server
"""

import asyncio
import json
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from newtos_py.errors import NewtosError
from newtos_py.kernel._kernel import ffi, lib

_SOCKET_NOTE = "socket."
_HOLDS_NOTE = "holds."
# struct nt_shared_socket: inode, protocol, area, slot, generation.
_NAMED = struct.Struct("=QIIII")
NAMED_BYTES = _NAMED.size
assert ffi.sizeof("struct nt_shared_socket") == NAMED_BYTES

# The program that owns what no program has: this server.
NOBODY = 0


@dataclass(frozen=True, slots=True)
class Named:
    """A socket as a program names it (struct nt_shared_socket)."""

    inode: int
    protocol: int
    area: int
    slot: int
    generation: int


@dataclass(slots=True)
class Place:
    """A slot of a program's area."""

    program: int
    area: int
    slot: int
    generation: int


@dataclass(slots=True)
class Shared:
    """A socket."""

    inode: int
    protocol: int
    place: Place
    # Who has used it, and so would go on.
    users: set[int] = field(default_factory=set)
    # Where it is on its way to.
    target: Place | None = None
    # Number of the listener it is; None: it does not listen.
    listener: int | None = None
    # Who has sent it to another process, and how many messages with it may be under way.
    senders: dict[int, int] = field(default_factory=dict)
    # What its program keeps of it, as the shim wrote it.
    state: bytes = b""
    # Several programs use it at once: they get the other end of what the pump carries.
    is_pumped: bool = False
    # That end's inode, and it itself, for those who still come.
    stand_in_inode: int = 0
    stand_in: int | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shares:
    """All of a host."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        """`note` keeps a text under a key, and removes it if it is empty."""
        self._note = note
        self._by_inode: dict[int, Shared] = {}
        self._holds: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return len(self._by_inode)

    def find(self, inode: int) -> Shared | None:
        """The socket of that name, if any program holds it."""
        return self._by_inode.get(inode)

    def register(self, program: int, named: Named, listener: int | None) -> None:
        """A program tells of a socket of its own; hold() comes after the last one."""
        place = Place(program, named.area, named.slot, named.generation)
        shared = Shared(named.inode, named.protocol, place, {program}, listener=listener)
        self._by_inode[named.inode] = shared
        self.keep(shared)

    def hold(self, program: int, inodes: Iterable[int]) -> None:
        """A program holds sockets that are registered."""
        self._holds.setdefault(program, set()).update(inodes)
        self._keep_holds(program)

    def give(self, holder: int, to: int, only: set[int] | None) -> None:
        """Another program holds what `holder` does, or only those of it."""
        held = self._holds.get(holder, set())
        self._holds[to] = set(held if only is None else held & only)
        self._keep_holds(to)

    def held_by(self, program: int) -> list[Shared]:
        """What a program holds."""
        return [self._by_inode[inode] for inode in sorted(self._holds.get(program, ()))]

    def owned_by(self, program: int) -> list[Shared]:
        """What is in the area of a program, whether it holds it or has left it."""
        return [each for each in self._by_inode.values() if each.place.program == program]

    def at(self, protocol: int, area: int, slot: int, generation: int) -> Shared | None:
        """The socket in a slot, if it is one of those that programs may share."""
        for each in self._by_inode.values():
            place = each.place
            if (each.protocol, place.area, place.slot) == (protocol, area, slot):
                return each if place.generation == generation else None
        return None

    def stood_for_by(self, inode: int) -> Shared | None:
        """The pumped socket that a kernel's socket of that inode stands for."""
        for each in self._by_inode.values():
            if each.is_pumped and each.stand_in_inode == inode:
                return each
        return None

    def all(self) -> list[Shared]:
        """All sockets."""
        return list(self._by_inode.values())

    def holders(self, shared: Shared) -> set[int]:
        """Which programs hold a socket."""
        return {program for program, held in self._holds.items() if shared.inode in held}

    def is_held_by(self, program: int, shared: Shared) -> bool:
        """Whether a program holds a socket."""
        return shared.inode in self._holds.get(program, ())

    def lose(self, shared: Shared) -> None:
        """Its place is gone: that area's number will be another program's."""
        shared.place = Place(NOBODY, lib.NT_AREAS_MAX, 0, 0)
        self.keep(shared)

    def set_listener(self, place: Place, listener: int) -> bool:
        """A socket listens now; False if it is not registered."""
        found = [each for each in self._by_inode.values() if each.place == place]
        for shared in found:
            shared.listener = listener
            self.keep(shared)
        return bool(found)

    def listener_ended(self, listener: int) -> None:
        """A listener's number may be another's from now on."""
        for shared in self._by_inode.values():
            if shared.listener == listener:
                shared.listener = None
                self.keep(shared)

    def is_listener_held(self, listener: int) -> bool:
        """Whether any program holds a listening socket, joined or not."""
        return any(each.listener == listener for each in self._by_inode.values())

    def is_held(self, shared: Shared) -> bool:
        """Whether any program does, or a message."""
        return bool(shared.senders) or any(shared.inode in held for held in self._holds.values())

    def send(self, program: int, shared: Shared) -> None:
        """A program has put it into a message."""
        shared.senders[program] = shared.senders.get(program, 0) + 1
        self.keep(shared)

    def receive(self, shared: Shared) -> None:
        """A message with it was received; whose does not matter."""
        sender = next(iter(shared.senders), None)
        if sender is None:
            return
        shared.senders[sender] -= 1
        if shared.senders[sender] == 0:
            del shared.senders[sender]
        self.keep(shared)

    def leave(self, program: int, shared: Shared, *, is_ending: bool = False) -> bool:
        """A program holds a socket no longer; True if nobody does, and it is forgotten.

        What one that ends holds is noted once, when all is done (forget_program): what stands there
        until then, and is no more, does no harm.
        """
        held = self._holds.get(program, set())
        if shared.inode in held:
            held.discard(shared.inode)
            if not is_ending:
                self._keep_holds(program)
        if self.is_held(shared):
            return False
        if self._by_inode.get(shared.inode) is shared:
            del self._by_inode[shared.inode]
            self._note(f"{_SOCKET_NOTE}{shared.inode}", "")
        return True

    def end(self, shared: Shared) -> None:
        """Nobody can use it any more, whoever holds it."""
        shared.senders.clear()
        for program in self.holders(shared):
            self.leave(program, shared)
        self.leave(NOBODY, shared)

    def forget_program(self, program: int) -> None:
        """A program is gone, and holds nothing."""
        self._holds.pop(program, None)
        self._note(f"{_HOLDS_NOTE}{program}", "")
        for shared in self._by_inode.values():
            shared.users.discard(program)

    # -- Notes -------------------------------------------------------------------------------

    def keep(self, shared: Shared) -> None:
        """Note what has changed in a socket."""
        target = shared.target
        text = json.dumps(
            [
                shared.protocol,
                _to_list(shared.place),
                sorted(shared.users),
                _to_list(target) if target is not None else None,
                shared.listener,
                list(shared.senders.items()),
                shared.state.hex(),
                shared.is_pumped,
                shared.stand_in_inode,
            ]
        )
        self._note(f"{_SOCKET_NOTE}{shared.inode}", text)

    def restore(self, key: str, text: str) -> bool:
        """Take up a note of a former generation; False if it is none of a socket."""
        if key.startswith(_HOLDS_NOTE):
            self._holds[int(key.removeprefix(_HOLDS_NOTE))] = set(json.loads(text))
            return True
        if not key.startswith(_SOCKET_NOTE):
            return False
        inode = int(key.removeprefix(_SOCKET_NOTE))
        match json.loads(text):
            case [
                int(protocol),
                list(place),
                list(users),
                target,
                listener,
                list(senders),
                str(state),
                bool(is_pumped),
                int(stand_in_inode),
            ]:
                self._by_inode[inode] = Shared(
                    inode,
                    protocol,
                    Place(*place),
                    set(users),
                    Place(*target) if target is not None else None,
                    listener=listener,
                    senders=dict(senders),
                    state=bytes.fromhex(state),
                    is_pumped=is_pumped,
                    stand_in_inode=stand_in_inode,
                )
            case _:
                raise NewtosError(f"no note of a socket: {key}={text!r}")
        return True

    def tidy(self, programs: Collection[int]) -> None:
        """After all notes: forget what a generation that died in between left half done."""
        for program in [each for each in self._holds if each not in programs]:
            self.forget_program(program)
        for held in self._holds.values():
            held.intersection_update(self._by_inode)
        for shared in list(self._by_inode.values()):
            if not self.is_held(shared):
                self.leave(NOBODY, shared)

    def _keep_holds(self, program: int) -> None:
        held = sorted(self._holds.get(program, ()))
        self._note(f"{_HOLDS_NOTE}{program}", json.dumps(held) if held else "")


def named_in(text: bytes) -> list[Named]:
    """Read the list of a message; what is no whole entry is left out."""
    whole = len(text) - len(text) % _NAMED.size
    return [Named(*_NAMED.unpack_from(text, at)) for at in range(0, whole, _NAMED.size)]


def _to_list(place: Place) -> list[int]:
    return [place.program, place.area, place.slot, place.generation]
