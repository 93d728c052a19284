"""Moving a socket from one program's area to another's (request.h: MOVE, MOVED).

The TCP or UDP server owns the slots; this server is the only one that may write both programs'
sides, and does what lies in between: it copies the program block and what is in the TX ring.

What becomes of a kill in between is decided by what was noted: before the slot there is known,
MOVE is asked for again, which answers the same; after that, the rest is done again.
"""

import errno
from collections.abc import Awaitable, Callable

from newtos_py.servers.syscall.control import Endpoint
from newtos_py.servers.syscall.program import Program
from newtos_py.servers.syscall.roles import Roles
from newtos_py.servers.syscall.shares import Place, Shared, Shares
from newtos_py.servers.syscall.slots import (
    close_slot,
    copy_slot,
    has_unread,
    is_connected,
    local_name,
)
from newtos_py.servers.syscall.transport import Request

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib

_Ask = Callable[[str, Request], Awaitable[Request]]


class Mover:
    """Moves sockets, one step after the other."""

    def __init__(
        self,
        shares: Shares,
        ask: _Ask,
        roles: Roles,
        find: Callable[[int], Program | None],
        ring: Callable[[str], None],
    ) -> None:
        """`ask` has a server do a request, `find` knows programs by number."""
        self._shares = shares
        self._ask = ask
        self._roles = roles
        self._find = find
        self._ring = ring

    async def move(self, shared: Shared, program: int) -> int:
        """Move a socket to a program's area, under its lock: 0, or an errno."""
        await self.finish(shared)
        place = shared.place
        if place.program == program:
            return 0
        old = self._area_at(place, shared.protocol)
        if old is None:
            return errno.EBADF  # it went with its program
        taker = self._find(program)
        # A connection stays in its lane.
        areas = taker.areas_of(shared.protocol, old.lane) if taker is not None else []
        role = self._roles.of(shared.protocol, old.lane)
        error = errno.ENOTCONN
        for area in areas:
            request = Request(
                0, lib.NT_REQ_MOVE, place.area, place.slot, place.generation, arg=area.area
            )
            done = await self._ask(role, request)
            error = done.error
            if not error:
                shared.target = Place(program, done.area, done.slot, done.generation)
                self._shares.keep(shared)
                await self.finish(shared)
            if error != errno.ENOBUFS:
                break
        return error

    def lane_of(self, shared: Shared) -> int:
        """The lane that a socket is in."""
        area = self._area_at(shared.place, shared.protocol)
        return area.lane if area is not None else 0

    async def finish(self, shared: Shared) -> None:
        """Do the rest of a move that has begun, under the socket's lock."""
        target = shared.target
        if target is None:
            return
        old = self._area_at(shared.place, shared.protocol)
        new = self._area_at(target, shared.protocol)
        if old is not None and new is not None:
            copy_slot(old, shared.place.slot, new, target.slot, target.generation)
        lane = new.lane if new is not None else 0  # without an area it has no slot, in any lane
        role = self._roles.of(shared.protocol, lane)
        # EBADF: it was done already, or the connection has ended; the program will see which.
        await self._ask(
            role, Request(0, lib.NT_REQ_MOVED, target.area, target.slot, target.generation)
        )
        place = shared.place
        shared.place, shared.target = target, None
        self._shares.keep(shared)
        if not self._shares.is_held_by(place.program, shared):
            self.close(place, shared.protocol)

    def local_name(self, place: Place, protocol: int) -> Endpoint:
        """Its own address and port, as its server knows them."""
        area = self._area_at(place, protocol)
        return local_name(area, place.slot) if area is not None else Endpoint()

    def is_connected(self, place: Place, protocol: int) -> bool:
        """Whether it has a peer, as its server knows."""
        area = self._area_at(place, protocol)
        return area is not None and is_connected(area, place.slot)

    def has_unread(self, place: Place, protocol: int) -> bool:
        """Whether there is anything in it that its program has not read."""
        area = self._area_at(place, protocol)
        return area is not None and has_unread(area, place.slot)

    def close(self, place: Place, protocol: int) -> None:
        """Say CLOSE in a slot for a program that holds its socket no longer."""
        area = self._area_at(place, protocol)
        if area is not None and close_slot(area, place.slot, place.generation):
            self._ring(self._roles.of(protocol, area.lane))

    def _area_at(self, place: Place, protocol: int) -> m.KeepArea | None:
        program = self._find(place.program)
        return program.area(protocol, place.area) if program is not None else None
