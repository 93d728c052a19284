"""LISTEN, JOIN and UNLISTEN: listening sockets and their members (request.h)."""

import errno
from dataclasses import replace

from newtos_py.servers.syscall.control import ControlMessage, Reply
from newtos_py.servers.syscall.keeper import Keeper
from newtos_py.servers.syscall.listeners import Listeners, Owner
from newtos_py.servers.syscall.memory import make_listener
from newtos_py.servers.syscall.program import Program
from newtos_py.servers.syscall.shares import Place, Shares
from newtos_py.servers.syscall.transactions import Transactions
from newtos_py.servers.syscall.transport import Request

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib
from newtos_py.kernel.memfd import reopen_read_only
from newtos_py.kernel.server import TCP

Fds = tuple[int, ...]


class Listening:
    """The calls on listening sockets; every one may be done twice (program.py)."""

    def __init__(
        self,
        keeper: Keeper,
        transactions: Transactions,
        listeners: Listeners,
        shares: Shares,
        role: str,
    ) -> None:
        """`role` is the TCP server."""
        self._keeper = keeper
        self._transactions = transactions
        self._listeners = listeners
        self._shares = shares
        self._role = role

    async def listen(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        """LISTEN: make a region, or change the backlog of the one there is."""
        area = program.area(message.protocol, message.area)
        if area is None or area.protocol != TCP:
            return Reply(message.failed(errno.EOPNOTSUPP))
        owner = Owner(area.area, message.slot, message.generation)
        shared = self._shares.at(TCP, owner.area, owner.slot, owner.generation)
        if shared is None:
            return await self._listen(program, message, owner)
        async with shared.lock:
            reply = await self._listen(program, message, owner)
            listens = self._listeners.find(owner)
            if listens is not None and shared.listener is None:
                # Others hold it since it was only bound: from now on, a listener.
                await self.hold(listens.listener)
                shared.listener = listens.listener
                self._shares.keep(shared)
        return reply

    async def _listen(self, program: Program, message: ControlMessage, owner: Owner) -> Reply:
        listener = self._listeners.find(owner)
        if listener is None:
            listener = self._make_listener(owner, message.arg)
        # Also where it is there, but perhaps not yet everywhere: a former generation died over it.
        await self._keeper.do(listener)
        request = Request(
            0,
            lib.NT_REQ_LISTEN,
            owner.area,
            owner.slot,
            owner.generation,
            arg=listener.listener,
            options=message.options,
        )
        done = await self._transactions.do(program.number, message.number, self._role, request)
        if done.error:
            await self.drop(listener.listener)
            return Reply(message.failed(done.error))
        place = Place(program.number, owner.area, owner.slot, owner.generation)
        if self._shares.set_listener(place, listener.listener):
            await self.hold(listener.listener)
        return _region_reply(message, listener)

    def _make_listener(self, owner: Owner, backlog: int) -> m.KeepListener:
        number = self._listeners.claim(owner)
        self._keeper.note(*self._listeners.note(number))
        listener = make_listener(number, backlog)
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
        error = errno.EBADF
        for area in program.areas_of(TCP, 0):
            request = Request(0, lib.NT_REQ_JOIN, area.area, arg=number)
            done = await self._transactions.do_unnoted(self._role, request)
            error = done.error
            if error != errno.ENOBUFS:
                break
        if error:
            return Reply(message.failed(error))
        own = Owner(done.area, done.slot, done.generation)
        self._listeners.join(number, own)
        self._keeper.note(*self._listeners.note(number))
        answer = replace(message, area=own.area, slot=own.slot, generation=own.generation)
        return _region_reply(answer, listener)

    async def unlisten(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        """UNLISTEN: a program accepts there no longer; with arg 1, nobody does."""
        area = program.area(TCP, message.area)
        if area is None:
            return Reply(message.failed(errno.EBADF))
        owner = Owner(area.area, message.slot, message.generation)
        listener = self._listeners.find(owner)
        if listener is not None:
            request = Request(
                0, lib.NT_REQ_UNLISTEN, owner.area, owner.slot, owner.generation, arg=message.arg
            )
            await self._transactions.do(program.number, message.number, self._role, request)
            if message.arg == 1:
                await self.drop(listener.listener)
            else:
                await self._leave(listener.listener, owner)
        return Reply(message)

    async def area_died(self, area: int) -> None:
        """All members in an area are gone."""
        for number, owner in self._listeners.of_area(area):
            await self._leave(number, owner)

    async def _leave(self, number: int, owner: Owner) -> None:
        self._listeners.leave(number, owner)
        if self._listeners.members(number) or self._shares.is_listener_held(number):
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
        request = Request(0, lib.NT_REQ_HOLD, 0, arg=number, options=1)
        await self._transactions.do_unnoted(self._role, request)

    async def release(self, number: int) -> None:
        """No program holds it any more, joined or not."""
        if self._listeners.get(number) is None:
            return
        request = Request(0, lib.NT_REQ_HOLD, 0, arg=number, options=0)
        await self._transactions.do_unnoted(self._role, request)
        if not self._listeners.members(number):
            await self.drop(number)

    async def drop(self, number: int) -> None:
        """Forget a listener region, everywhere."""
        await self._keeper.do(m.DropListener(0, number))
        self._shares.listener_ended(number)
        self._listeners.remove(number)
        self._keeper.note(*self._listeners.no_note(number))


def _region_reply(message: ControlMessage, listener: m.KeepListener) -> Reply:
    ring = reopen_read_only(listener.ring.number)
    answer = replace(message, arg=listener.entries)
    return Reply(answer, (ring, listener.claims.number), temporary=(ring,))
