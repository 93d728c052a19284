"""BIND: a name for a socket, which no other of the host may have.

A socket is bound in the lane that its slot is in. Each lane knows its own sockets only, so the
others are asked first whether they have anything against it; binds are done one at a time, so that
none is given away between the question and the answer. With one lane there is nobody to ask.
"""

import asyncio
import errno
from dataclasses import replace

from newtos_py.servers.syscall.roles import Roles
from newtos_py.servers.syscall.transactions import Transactions
from newtos_py.servers.syscall.transport import Request

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib

# Ports that a lane proposes and another has: each is one of thousands.
_PROPOSALS_MAX = 64


class Binder:
    """Binds sockets of programs."""

    def __init__(self, transactions: Transactions, roles: Roles) -> None:
        """Every bind is a transaction of its own."""
        self._transactions = transactions
        self._roles = roles
        self._lock = asyncio.Lock()

    async def bind(self, program: int, control: int, area: m.KeepArea, request: Request) -> Request:
        """Have a program's bind done, by the server of the area that the socket is in."""
        role = self._roles.of(area.protocol, area.lane)
        if self._roles.lanes(area.protocol) == 1:
            return await self._transactions.do(program, control, role, request)
        async with self._lock:
            if not self._transactions.has_begun(program, control, request.kind):
                request = await self._agreed(area, role, request)
            if request.error:
                return request
            return await self._transactions.do(program, control, role, request)

    async def _agreed(self, area: m.KeepArea, home: str, request: Request) -> Request:
        """Find a name that every lane agrees to; the request with it, or with an error."""
        others = [
            self._roles.of(area.protocol, lane)
            for lane in range(self._roles.lanes(area.protocol))
            if lane != area.lane
        ]
        question = replace(request, kind=lib.NT_REQ_MAY_BIND, area=0, slot=0, generation=0)
        tries = _PROPOSALS_MAX if request.endpoint.port == 0 else 1
        for _ in range(tries):
            named = question
            if request.endpoint.port == 0:
                named = await self._transactions.do_unnoted(home, question)
                if named.error:
                    return replace(request, error=named.error)
                named = replace(question, endpoint=named.endpoint)
            answers = [await self._transactions.do_unnoted(role, named) for role in others]
            if not any(answer.error for answer in answers):
                return replace(request, endpoint=named.endpoint)
        return replace(request, error=errno.EADDRINUSE)
