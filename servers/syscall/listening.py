"""LISTEN, JOIN and UNLISTEN: listening sockets and their members (request.h)."""

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from newtos_py.servers.syscall.control import ControlMessage, Endpoint, Reply
from newtos_py.servers.syscall.keeper import Keeper
from newtos_py.servers.syscall.listeners import Listeners, Owner
from newtos_py.servers.syscall.memory import make_listener, set_backlog
from newtos_py.servers.syscall.program import Program
from newtos_py.servers.syscall.roles import Roles
from newtos_py.servers.syscall.shares import Place, Shares
from newtos_py.servers.syscall.transactions import Transactions
from newtos_py.servers.syscall.transport import Request

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib
from newtos_py.kernel.memfd import reopen_read_only
from newtos_py.kernel.server import TCP

Fds = tuple[int, ...]
_DESIGNS: dict[str, int] = {
    "stock": lib.NT_LISTEN_STOCK,
    "fine": lib.NT_LISTEN_FINE,
    "reuseport": lib.NT_LISTEN_REUSEPORT,
    "affinity": lib.NT_LISTEN_AFFINITY,
    "fastsocket": lib.NT_LISTEN_FASTSOCKET,
}
# struct nt_beside
_BESIDE = struct.Struct("=IIII")


@dataclass(frozen=True, slots=True)
class Member:
    """What a listening socket is in a further lane: its region there, and the program's slot."""

    listener: m.KeepListener
    owner: Owner


class Listening:
    """The calls on listening sockets; every one may be done twice (program.py)."""

    def __init__(
        self,
        keeper: Keeper,
        transactions: Transactions,
        listeners: Listeners,
        shares: Shares,
        roles: Roles,
        *,
        design: str,
    ) -> None:
        """`listeners` are all there are, `shares` who holds them, `design` that of the host."""
        self._design: int = _DESIGNS[design]
        self._keeper = keeper
        self._transactions = transactions
        self._listeners = listeners
        self._shares = shares
        self._roles = roles

    async def listen(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        """LISTEN: make a region, or change the backlog of the one there is."""
        area = program.area(message.protocol, message.area)
        if area is None or area.protocol != TCP:
            return Reply(message.failed(errno.EOPNOTSUPP))
        owner = Owner(area.area, message.slot, message.generation)
        shared = self._shares.at(TCP, owner.area, owner.slot, owner.generation)
        if shared is None:
            return await self._listen(program, message, owner, area.lane)
        async with shared.lock:
            reply = await self._listen(program, message, owner, area.lane)
            listens = self._listeners.find(owner)
            if listens is not None and shared.listener is None:
                # Others hold it since it was only bound: from now on, a listener.
                await self.hold(listens.listener)
                shared.listener = listens.listener
                self._shares.keep(shared)
        return reply

    async def _listen(
        self, program: Program, message: ControlMessage, owner: Owner, lane: int
    ) -> Reply:
        listener = self._listeners.find(owner)
        if listener is None:
            listener = self._make_listener(lane, message.arg, owner)
        else:
            set_backlog(listener, message.arg)
        # Also where it is there, but perhaps not yet everywhere: a former generation died over it.
        await self._keeper.do(listener)
        # First, so that it listens nowhere if it can't everywhere.
        beside, error = await self._listen_beside(program, message, listener)
        request = Request(
            0,
            lib.NT_REQ_LISTEN,
            owner.area,
            owner.slot,
            owner.generation,
            arg=listener.listener,
            options=message.options,
        )
        if not error:
            role = self._roles.of(TCP, lane)
            done = await self._transactions.do(program.number, message.number, role, request)
            error = done.error
        if error:
            await self._unlisten_beside(program, listener.listener, for_everybody=True)
            await self.drop(listener.listener)
            return Reply(message.failed(error))
        place = Place(program.number, owner.area, owner.slot, owner.generation)
        if self._shares.set_listener(place, listener.listener):
            await self.hold(listener.listener)
        return _region_reply(message, listener, beside)

    def _make_listener(
        self, lane: int, backlog: int, *owners: Owner, home: int | None = None
    ) -> m.KeepListener:
        number = self._listeners.claim(*owners, home=home)
        self._keeper.note(*self._listeners.note(number))
        listener = make_listener(number, lane, backlog, self._design)
        self._listeners.add(listener)
        return listener

    async def join(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        """JOIN: a program accepts from a listening socket that it holds, in a slot of its own."""
        listener = self._listeners.get(message.slot)
        if listener is None:
            return Reply(message.failed(errno.EBADF))
        number = listener.listener
        if not any(each.listener == number for each in self._shares.held_by(program.number)):
            return Reply(message.failed(errno.EPERM))
        own, error = await self._join(program, listener, Endpoint(), 0)
        if own is None:
            return Reply(message.failed(error))
        beside = []
        for other in self._listeners.beside(number):
            member, _ = await self._join(program, other, Endpoint(), 0)
            if member is not None:
                beside.append(Member(other, member))
        answer = replace(message, area=own.area, slot=own.slot, generation=own.generation)
        return _region_reply(answer, listener, beside)

    async def _join(
        self, program: Program, listener: m.KeepListener, local: Endpoint, options: int
    ) -> tuple[Owner | None, int]:
        """Make a program a member of a listener: its slot, or an errno."""
        number, role = listener.listener, self._roles.of(TCP, listener.lane)
        error = errno.EBADF
        for area in program.areas_of(TCP, listener.lane):
            request = Request(
                0, lib.NT_REQ_JOIN, area.area, arg=number, options=options, endpoint=local
            )
            done = await self._transactions.do_unnoted(role, request)
            error = done.error
            if not error:
                own = Owner(done.area, done.slot, done.generation)
                self._listeners.join(number, own)
                self._keeper.note(*self._listeners.note(number))
                return own, 0
            if error != errno.ENOBUFS:
                break
        return None, error

    # -- The same socket in further lanes (request.h) ------------------------------------------

    async def _listen_beside(
        self, program: Program, message: ControlMessage, home: m.KeepListener
    ) -> tuple[list[Member], int]:
        """Let a socket listen in all lanes but its own slot's: what it is there, or an errno."""
        known = {each.lane: each for each in self._listeners.beside(home.listener)}
        members: list[Member] = []
        for lane in range(self._roles.lanes(TCP)):
            if lane == home.lane:
                continue
            listener = known.get(lane)
            if listener is None:
                listener = self._make_listener(lane, message.arg, home=home.listener)
            else:
                set_backlog(listener, message.arg)
            await self._keeper.do(listener)
            own, error = await self._join(program, listener, message.endpoint, message.options)
            if own is None:
                return members, error
            members.append(Member(listener, own))
        return members, 0

    async def _unlisten_beside(self, program: Program, home: int, *, for_everybody: bool) -> None:
        """A program, or everybody, accepts no longer from a socket in further lanes."""
        for listener in self._listeners.beside(home):
            number = listener.listener
            role = self._roles.of(TCP, listener.lane)
            areas = {area.area for area in program.areas_of(TCP, listener.lane)}
            own = [each for each in self._listeners.members(number) if each.area in areas]
            for each in own:
                place = (each.area, each.slot, each.generation)
                request = Request(0, lib.NT_REQ_UNLISTEN, *place, arg=int(for_everybody))
                await self._transactions.do_unnoted(role, request)
                if not for_everybody:
                    await self._leave(number, each)
            if for_everybody:
                await self.drop(number)

    async def unlisten(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        """UNLISTEN: a program accepts there no longer; with arg 1, nobody does."""
        area = program.area(TCP, message.area)
        if area is None:
            return Reply(message.failed(errno.EBADF))
        owner = Owner(area.area, message.slot, message.generation)
        listener = self._listeners.find(owner)
        if listener is not None:
            number = listener.listener
            await self._unlisten_beside(program, number, for_everybody=message.arg == 1)
            request = Request(
                0, lib.NT_REQ_UNLISTEN, owner.area, owner.slot, owner.generation, arg=message.arg
            )
            role = self._roles.of(TCP, area.lane)
            await self._transactions.do(program.number, message.number, role, request)
            if message.arg == 1:
                await self.drop(number)
            else:
                await self._leave(number, owner)
        return Reply(message)

    async def area_died(self, area: int) -> None:
        """All members in an area are gone."""
        for number, owner in self._listeners.of_area(area):
            await self._leave(number, owner)

    async def _leave(self, number: int, owner: Owner) -> None:
        self._listeners.leave(number, owner)
        held = self._shares.is_listener_held(self._listeners.home(number))
        if self._listeners.members(number) or held:
            self._keeper.note(*self._listeners.note(number))
        else:
            await self.drop(number)

    # -- Held by programs that have not joined -------------------------------------------------

    def number_of(self, area: int, slot: int, generation: int) -> int | None:
        """Number of the listener that a socket is; None: it does not listen."""
        listener = self._listeners.find(Owner(area, slot, generation))
        return listener.listener if listener is not None else None

    async def hold(self, number: int) -> None:
        """A program that has not joined may hold it: it does not end with its last member."""
        await self._set_held(number, held=True)

    async def release(self, number: int) -> None:
        """No program holds it any more, joined or not."""
        if self._listeners.get(number) is None and not self._listeners.beside(number):
            return
        await self._set_held(number, held=False)
        for each in (*(other.listener for other in self._listeners.beside(number)), number):
            if self._listeners.get(each) is not None and not self._listeners.members(each):
                await self.drop(each)

    async def _set_held(self, number: int, *, held: bool) -> None:
        home = self._listeners.get(number)
        for each in (*self._listeners.beside(number), *([home] if home is not None else [])):
            request = Request(0, lib.NT_REQ_HOLD, 0, arg=each.listener, options=int(held))
            await self._transactions.do_unnoted(self._roles.of(TCP, each.lane), request)

    async def drop(self, number: int) -> None:
        """Forget a listener region, everywhere."""
        await self._keeper.do(m.DropListener(0, number))
        self._shares.listener_ended(number)
        self._listeners.remove(number)
        self._keeper.note(*self._listeners.no_note(number))


def _region_reply(
    message: ControlMessage, listener: m.KeepListener, beside: Sequence[Member]
) -> Reply:
    """Entries and descriptors of the home lane, and in the text and behind them those of others."""
    rings = [reopen_read_only(listener.ring.number)]
    descriptors = [rings[0], listener.claims.number]
    text = b""
    for each in beside:
        rings.append(reopen_read_only(each.listener.ring.number))
        descriptors += [rings[-1], each.listener.claims.number]
        own = each.owner
        text += _BESIDE.pack(own.area, own.slot, own.generation, each.listener.entries)
    answer = replace(message, arg=listener.entries, text=text)
    return Reply(answer, tuple(descriptors), temporary=tuple(rings))
