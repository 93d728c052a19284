"""Requests of programs that need a TCP or UDP server: each is done once, whoever dies.

A transaction belongs to one request of one program, by that request's number. It is noted with rs
before its server request is published, and again with the reply (transport.py says why). So when a
new generation of this server looks at the program's request again, it finds how far it had come:

    not noted                  begin
    noted, not published       publish now, under the same number
    noted and published        the reply will come
    noted with the reply       done
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from newtos_py.servers.syscall.transport import Request, Transport, from_bytes, to_bytes

from newtos_py.errors import NewtosError

_NOTE = "request."
# The upper bits of a request's number are the generation that made it.
GENERATION_SHIFT = 20
_NUMBER_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Transaction:
    """How far one request of a program has come."""

    program: int
    # Number of the program's request.
    control: int
    role: str
    request: Request
    # In the channel to the server; None: not published.
    index: int | None = None
    reply: Request | None = None


class Transactions:
    """All open requests to all servers."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        note: Callable[[str, str], None],
        generation: int,
    ) -> None:
        """`note` keeps a text under a key, and removes it if it is empty."""
        self._transports = transports
        self._note = note
        self._number = generation << GENERATION_SHIFT & _NUMBER_MASK
        self._by_program: dict[int, Transaction] = {}
        self._awaited: dict[int, asyncio.Future[Request]] = {}
        # Without a note, by number: what a server that starts cold has to be asked again.
        self._unnoted: dict[int, tuple[str, Request]] = {}

    def restore(self, key: str, text: str) -> bool:
        """Take up a note of a former generation; False if it is none of a transaction."""
        if not key.startswith(_NOTE):
            return False
        transaction = _from_text(int(key.removeprefix(_NOTE)), text)
        self._by_program[transaction.program] = transaction
        return True

    async def do(self, program: int, control: int, role: str, request: Request) -> Request:
        """Have a program's request `control` done by a server; its reply, whenever it comes."""
        known = self._by_program.get(program)
        if known is None or known.control != control or known.request.kind != request.kind:
            known = Transaction(program, control, role, replace(request, number=self._next()))
        if known.reply is not None:
            return known.reply
        self._by_program[program] = known
        if known.index is None or not self._transports[role].was_published(known.index):
            self._publish(known)
        return await self._reply(known.request.number)

    def has_begun(self, program: int, control: int, kind: int) -> bool:
        """Whether a request of a program has been given to a server, perhaps before a restart."""
        known = self._by_program.get(program)
        return known is not None and (known.control, known.request.kind) == (control, kind)

    async def do_unnoted(self, role: str, request: Request) -> Request:
        """Have a request done that may be done twice."""
        request = replace(request, number=self._next())
        self._unnoted[request.number] = role, request
        self._transports[role].send(request, lambda _: None)
        return await self._reply(request.number)

    def forget(self, program: int) -> None:
        """A program is gone, and its last request with it."""
        if self._by_program.pop(program, None) is not None:
            self._note(f"{_NOTE}{program}", "")

    def answered(self, reply: Request) -> None:
        """A server has replied. Noted first: the reply goes off the channel after this."""
        for known in self._by_program.values():
            if known.request.number == reply.number and known.reply is None:
                self._keep(replace(known, reply=reply))
                break
        self._unnoted.pop(reply.number, None)
        awaited = self._awaited.pop(reply.number, None)
        if awaited is not None and not awaited.done():
            awaited.set_result(reply)

    def unanswered(self, role: str) -> Callable[[], None]:
        """What asks a server again that has lost its memory, and requests that it had read."""
        noted = [
            known
            for known in self._by_program.values()
            if known.role == role and known.reply is None
        ]
        unnoted = [request for asked, request in self._unnoted.values() if asked == role]

        def publish() -> None:
            for known in noted:
                self._publish(known)
            for request in unnoted:
                self._transports[role].send(request, lambda _: None)

        return publish

    def _publish(self, known: Transaction) -> None:
        self._transports[known.role].send(
            known.request, lambda index: self._keep(replace(known, index=index))
        )

    def _keep(self, transaction: Transaction) -> None:
        self._by_program[transaction.program] = transaction
        self._note(f"{_NOTE}{transaction.program}", _to_text(transaction))

    async def _reply(self, number: int) -> Request:
        if number not in self._awaited:
            self._awaited[number] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._awaited[number])

    def _next(self) -> int:
        self._number = (self._number + 1) & _NUMBER_MASK
        return self._number


def _to_text(transaction: Transaction) -> str:
    reply = transaction.reply
    return json.dumps(
        [
            transaction.control,
            transaction.role,
            to_bytes(transaction.request).hex(),
            transaction.index,
            to_bytes(reply).hex() if reply is not None else None,
        ]
    )


def _from_text(program: int, text: str) -> Transaction:
    match json.loads(text):
        case [int(control), str(role), str(request), index, reply]:
            return Transaction(
                program,
                control,
                role,
                from_bytes(bytes.fromhex(request)),
                index,
                from_bytes(bytes.fromhex(reply)) if reply is not None else None,
            )
    raise NewtosError(f"no note of a request: {text!r}")
