"""The syscall server: admits programs, and does the calls that are not user space.

One task a program, so that none waits for another's slow call. What must outlive this process is
with rs (keeper.py) or in the channels (transport.py); connections of programs, too, so a program
only notices that an answer takes longer.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from newtos_py.servers.syscall.admission import UNNAMED_MAX, connections_of, refuse, too_many
from newtos_py.servers.syscall.binding import Binder
from newtos_py.servers.syscall.calls import Calls
from newtos_py.servers.syscall.control import BadMessageError, Reply
from newtos_py.servers.syscall.keeper import Keeper, KeepError
from newtos_py.servers.syscall.listeners import Listeners
from newtos_py.servers.syscall.listening import Listening
from newtos_py.servers.syscall.moves import Mover
from newtos_py.servers.syscall.program import Program, open_process, peer_of
from newtos_py.servers.syscall.pumps import Pump
from newtos_py.servers.syscall.roles import Roles
from newtos_py.servers.syscall.shares import NOBODY, Shares
from newtos_py.servers.syscall.sharing import Sharing
from newtos_py.servers.syscall.transactions import Transactions
from newtos_py.servers.syscall.transport import Request, Transport

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.doorbell import drain
from newtos_py.kernel.link import Link
from newtos_py.kernel.log import log
from newtos_py.kernel.server import ServerContext, ServerSpec

COUNTERS = ("programs", "areas", "listeners", "requests", "refused_programs", "bad_messages")
_PROGRAMS, _AREAS, _LISTENERS, _REQUESTS, _REFUSED, _BAD = range(len(COUNTERS))

# A cffi object.
_C = Any


class SyscallServer:
    """One generation."""

    def __init__(self, context: ServerContext, link: Link) -> None:
        self._context = context
        self._status: _C = ffi.cast("struct nt_status *", context.status.address)
        self._roles = Roles(neighbour.role for neighbour in context.neighbours)
        self._transports = {role: Transport(context, role) for role in self._roles.all()}
        self._programs: dict[int, Program] = {}
        # Has areas as a program has, for sockets whose program has ended.
        self._nobody = Program(NOBODY, 0, socket.socket(socket.AF_UNIX), None)
        self._listeners = Listeners()
        kept = []
        while not isinstance(message := link.receive(), m.Start):
            kept.append(message)
        self._keeper = Keeper(link, self._on_restarted)
        self._transactions = Transactions(self._transports, self._keeper.note, context.generation)
        self._control = socket.socket(fileno=context.control_fd)
        self._control.setblocking(False)
        self._pump = Pump(self._control.getsockname(), self._keeper.keep_file, context.generation)
        self._shares = Shares(self._keeper.note)
        mover = Mover(
            self._shares,
            self._transactions.do_unnoted,
            self._roles,
            self._find_program,
            lambda role: self._transports[role].ring(),
        )
        self._listening = Listening(
            self._keeper,
            self._transactions,
            self._listeners,
            self._shares,
            self._roles,
            design=context.net.listen,
        )
        self._sharing = Sharing(
            self._shares,
            mover,
            self._listening,
            nobody=self._nobody,
            admit=self._enter_by_token,
            changed=self._keep,
            make_area=self._make_area,
            find=self._programs.get,
            pump=self._pump,
            keep_file=self._keeper.keep_file,
            beat=self._beat,
        )
        self._calls = Calls(
            context,
            keeper=self._keeper,
            transactions=self._transactions,
            listening=self._listening,
            roles=self._roles,
            binder=Binder(self._transactions, self._roles),
            programs=self._programs,
            nobody=self._nobody,
            sharing=self._sharing,
        )
        for message in kept:
            self._restore(message)
        self._shares.tidy(self._programs)
        for number in list(self._listeners.without_region()):
            self._keeper.note(*self._listeners.no_note(number))
            self._listeners.remove(number)
        # Kept, because the event loop does not keep tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until this process is killed."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._context.doorbell, self._on_bell)
        loop.add_reader(self._control, self._on_connection)
        # For ever: whoever publishes something rings. Raised before the first look.
        self._status.sleeping = 1
        for transport in self._transports.values():
            transport.ring()
        self._on_bell()
        for program in self._programs.values():
            self._spawn(program)
        senders = {sender for each in self._shares.all() for sender in each.senders}
        for sender in senders - self._programs.keys():
            self._sharing.expire_messages(sender)
        self._pump.serve()
        self._status.state = lib.NT_SERVER_RUNNING
        self._keeper.ready()
        await loop.create_future()

    # -- Programs ----------------------------------------------------------------------------

    def _on_connection(self) -> None:
        while True:
            try:
                connection, _ = self._control.accept()
            except BlockingIOError:
                return
            except OSError as error:  # out of descriptors: the others go on
                log(f"can't accept a program: {error.strerror}")
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        pid, uid = peer_of(connection)
        if uid not in (0, os.geteuid()):
            log(f"refused process {pid} of user {uid}")
            self._count(_REFUSED)
            connection.close()
            return
        if self._refuse(connection, connections_of(pid, self._programs.values())):
            return
        try:
            process = open_process(connection, pid)
        except ProcessLookupError:
            connection.close()
            return
        self._enter(self._free_number(), connection, pid, process)

    def _refuse(self, connection: socket.socket, of_one: tuple[int, int]) -> bool:
        """Refuse one program too many."""
        error = too_many(connection, *of_one)
        if error:
            refuse(connection, error)
            self._count(_REFUSED)
        return error != 0

    def _enter_by_token(
        self, connection: socket.socket, giver: Program, prepare: Callable[[int], None]
    ) -> Program | None:
        if self._refuse(connection, (giver.unnamed, UNNAMED_MAX)):
            return None
        number = self._free_number()
        prepare(number)
        return self._enter(number, connection, 0, None)

    def _free_number(self) -> int:
        return max(self._programs, default=NOBODY) + 1

    def _enter(
        self, number: int, connection: socket.socket, pid: int, process: int | None
    ) -> Program:
        """Serve a new program."""
        connection.setblocking(False)
        program = Program(number, pid, connection, process)
        self._programs[number] = program
        self._keep(program)
        self._count_all()
        self._spawn(program)
        return program

    def _find_program(self, number: int) -> Program | None:
        return self._nobody if number == NOBODY else self._programs.get(number)

    async def _make_area(self, program: Program, protocol: int, lane: int) -> bool:
        return await self._calls.make_area(program, protocol, lane)

    def _spawn(self, program: Program) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(program))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, program: Program) -> None:
        """Answer a program's requests in turn until it ends, then bury it."""
        try:
            while await self._answer_one(program):
                pass
            if program.process is not None and not program.is_at_end():
                await self._end_process(program)
                while await self._answer_one(program):
                    pass
        except BadMessageError as error:
            log(f"process {program.pid}: {error}; its connection is closed")
            self._count(_BAD)
        except KeepError as error:
            log(f"process {program.pid}: {error}")
        try:
            await self._bury(program)
        except KeepError as error:
            log(f"process {program.pid} can't be forgotten: {error}")

    def _keep(self, program: Program) -> None:
        connection = Fd(program.connection.fileno())
        process = Fd(program.process) if program.process is not None else None
        self._keeper.tell(m.KeepProgram(0, program.number, program.pid, connection, process))

    async def _answer_one(self, program: Program) -> bool:
        """Answer the next request; False at the end of the program."""
        if not await program.wait():
            return False
        try:
            received = program.peek()
        except BlockingIOError:
            return True
        if received is None:
            return False
        message = received.message
        # One that was answered is the shim's repeating itself; 0 numbers what has no answer.
        if message.number != program.answered or message.number == 0:
            self._count(_REQUESTS)
            reply: Reply | None = await self._calls.do(program, message, received.descriptors)
            if reply is not None:
                program.reply(reply.message, reply.descriptors)
                reply.close()
        for descriptor in received.descriptors:
            os.close(descriptor)
        program.consume()
        self._count_all()
        return True

    async def _end_process(self, program: Program) -> None:
        """A program has ended, but its connection hasn't: a child may hand in its own there."""
        await self._free(program)
        if program.process is not None:
            os.close(program.process)
            program.process = None
        self._keep(program)

    async def _free(self, program: Program) -> None:
        """Take back what a program had: its connections end as Linux would end them."""
        await self._sharing.bury(program)
        for key, area in list(program.areas.items()):
            request = Request(0, lib.NT_REQ_AREA_DEAD, area.area)
            role = self._roles.of(key.protocol, key.lane)
            await self._transactions.do_unnoted(role, request)
            await self._listening.area_died(area.area)
            await self._keeper.do(m.DropArea(0, area.area))
            del program.areas[key]
            close_all((area.memory.number, area.server.number, area.hint.number))
        self._transactions.forget(program.number)
        self._count_all()

    async def _bury(self, program: Program) -> None:
        """A program is gone."""
        await self._free(program)
        await self._keeper.do(m.DropProgram(0, program.number))
        del self._programs[program.number]
        self._sharing.forget(program)
        program.close()
        self._count_all()

    # -- Others ------------------------------------------------------------------------------

    def _restore(self, message: object) -> None:
        """Take up what a former generation had rs keep."""
        match message:
            case m.KeepProgram():
                connection = socket.socket(fileno=message.connection.number)
                connection.setblocking(False)
                process = message.process.number if message.process is not None else None
                program = Program(message.program, message.pid, connection, process)
                self._programs[message.program] = program
                self._sharing.restored(program)
            case m.KeepArea() if message.program == NOBODY:
                self._nobody.add_area(message)
            case m.KeepArea():
                self._programs[message.program].add_area(message)
            case m.KeepQueue():
                os.close(message.doorbell.number)
            case m.KeepListener():
                self._listeners.add(message)
            case m.KeepFile() if message.file is not None:
                self._sharing.restore_file(message.key, message.file.number)
            case m.KeepNote():
                takers = (self._transactions.restore, self._shares.restore)
                if not any(take(message.key, message.text) for take in takers):
                    self._listeners.restore(message.key, message.text)

    def _on_bell(self) -> None:
        drain(self._context.doorbell)
        self._status.heartbeat += 1
        for transport in self._transports.values():
            transport.flush()
            transport.receive(self._transactions.answered)

    def _on_restarted(self, message: m.Restarted) -> None:
        """A server that lost its memory has to be told of every area again."""
        if not message.cold:
            return
        loop = asyncio.get_running_loop()
        publish_again = self._transactions.unanswered(message.role)
        for program in (self._nobody, *self._programs.values()):
            for area in program.areas.values():
                if self._roles.of(area.protocol, area.lane) == message.role:
                    task = loop.create_task(self._calls.renew_area(message.role, area))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        # Behind the areas that they speak of: those tasks begin first.
        loop.call_soon(publish_again)

    def _beat(self) -> None:
        """Something was done: this server does not hang."""
        self._status.heartbeat += 1

    def _count(self, index: int) -> None:
        self._status.counter[index] += 1

    def _count_all(self) -> None:
        self._status.heartbeat += 1
        pump = self._pump.pid
        programs = [each for each in self._programs.values() if pump is None or each.pid != pump]
        self._status.counter[_PROGRAMS] = len(programs)
        self._status.counter[_AREAS] = sum(len(each.areas) for each in programs)
        self._status.counter[_LISTENERS] = len(self._listeners)


def run(context: ServerContext, link: Link) -> None:
    """Be the syscall server of a host (ServerSpec.run)."""

    async def serve() -> None:
        await SyscallServer(context, link).run()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve())


SERVER = ServerSpec(name="syscall", arena_bytes=0, counters=COUNTERS, run=run)
