"""What each request of a program does (control.h). Every one may be done twice (program.py)."""

import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from newtos_py.servers.syscall.binding import Binder
from newtos_py.servers.syscall.callers import Callers
from newtos_py.servers.syscall.control import ControlMessage, Reply
from newtos_py.servers.syscall.keeper import Keeper, KeepError
from newtos_py.servers.syscall.listening import Listening
from newtos_py.servers.syscall.memory import make_area
from newtos_py.servers.syscall.names import interface_lines, resolve
from newtos_py.servers.syscall.program import AreaKey, Program
from newtos_py.servers.syscall.roles import Roles
from newtos_py.servers.syscall.sharing import Sharing
from newtos_py.servers.syscall.transactions import Transactions
from newtos_py.servers.syscall.transport import Request

from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.log import log
from newtos_py.kernel.memfd import reopen_read_only
from newtos_py.kernel.server import ServerContext

Fds = tuple[int, ...]


# None: there is no reply.
_Call = Callable[[Program, ControlMessage, Fds], Awaitable[Reply | None]]


class Calls:
    """All requests."""

    def __init__(
        self,
        context: ServerContext,
        *,
        keeper: Keeper,
        transactions: Transactions,
        listening: Listening,
        roles: Roles,
        binder: Binder,
        programs: Mapping[int, Program],
        nobody: Program,
        sharing: Sharing,
    ) -> None:
        """`programs` are all that are connected."""
        self._context = context
        self._keeper = keeper
        self._transactions = transactions
        self._roles = roles
        self._binder = binder
        self._programs = programs
        self._nobody = nobody
        self._sharing = sharing
        self._callers = Callers()
        self._by_kind: Mapping[int, _Call] = {
            lib.NT_CTL_HELLO: self._hello,
            lib.NT_CTL_ATTACH: self._attach,
            lib.NT_CTL_QUEUE: self._queue,
            lib.NT_CTL_BIND: self._bind,
            lib.NT_CTL_LISTEN: listening.listen,
            lib.NT_CTL_UNLISTEN: listening.unlisten,
            lib.NT_CTL_JOIN: listening.join,
            lib.NT_CTL_RESOLVE: self._resolve,
            lib.NT_CTL_IFADDRS: self._ifaddrs,
            lib.NT_CTL_TOKEN: self._token,
            lib.NT_CTL_LEAVE: self._leave,
            lib.NT_CTL_STATE: self._state,
            lib.NT_CTL_TAKE: self._take,
            lib.NT_CTL_CALLS: self._call_server,
            lib.NT_CTL_OPTION: self._option,
        }

    async def do(self, program: Program, message: ControlMessage, descriptors: Fds) -> Reply | None:
        """Do a request; what can't be done is answered with an errno."""
        call = self._by_kind.get(message.kind)
        if call is None:
            return Reply(message.failed(errno.ENOSYS))
        try:
            return await call(program, message, descriptors)
        except KeepError as error:
            log(f"process {program.pid}: {error}")
            return Reply(message.failed(errno.ENETDOWN))
        except OSError as error:
            log(f"process {program.pid}: {error}")
            return Reply(message.failed(error.errno or errno.EIO))

    async def _hello(self, program: Program, message: ControlMessage, fds: Fds) -> Reply:
        if message.arg != 0 and program.process is None and len(fds) == 1:
            self._sharing.identify(program, fds[0])
        return _text_reply(message, self._context.host)

    # -- Memory ------------------------------------------------------------------------------

    async def _attach(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        lanes = self._roles.lanes(message.protocol)
        if lanes == 0:
            return Reply(message.failed(errno.EPROTONOSUPPORT))
        if message.lane >= lanes:
            return Reply(message.failed(errno.EINVAL))
        role = self._roles.of(message.protocol, message.lane)
        key = AreaKey(message.protocol, message.lane, message.nth)
        area = program.areas.get(key)
        if area is None:
            if message.nth != len(program.areas_of(key.protocol, key.lane)):
                return Reply(message.failed(errno.EINVAL))
            number = self._free_area()
            if number is None:
                log(f"process {program.pid}: all {lib.NT_AREAS_MAX} socket areas are in use")
                return Reply(message.failed(errno.ENFILE))
            area = make_area(program.number, program.pid, number, key)
            program.add_area(area)
        # Again, if a former generation died over it: then this waits until all have it mapped.
        await self._keeper.do(area)
        request = _area_new(area)
        done = await self._transactions.do(program.number, message.number, role, request)
        if done.error:
            return Reply(message.failed(done.error))
        server = reopen_read_only(area.server.number)
        neighbour = self._context.neighbour(role)
        descriptors = (
            area.memory.number,
            server,
            area.hint.number,
            neighbour.doorbell,
            neighbour.status_fd,
        )
        answer = replace(message, area=area.area, arg=area.slots, lanes=lanes)
        return Reply(answer, descriptors, temporary=(server,))

    async def renew_area(self, role: str, area: m.KeepArea) -> None:
        """Tell a server of an area that it has forgotten."""
        await self._transactions.do_unnoted(role, _area_new(area))

    async def _queue(self, program: Program, message: ControlMessage, descriptors: Fds) -> Reply:
        if len(descriptors) != 1 or message.arg >= lib.NT_AREA_QUEUES:
            return Reply(message.failed(errno.EINVAL))
        await self._keeper.do(m.KeepQueue(0, program.number, message.arg, Fd(descriptors[0])))
        return Reply(message)

    def _free_area(self) -> int | None:
        """The lowest area number that no program has; None if there is none left."""
        programs = (self._nobody, *self._programs.values())
        used = {area.area for program in programs for area in program.areas.values()}
        return next((i for i in range(lib.NT_AREAS_MAX) if i not in used), None)

    async def make_area(self, program: Program, protocol: int, lane: int) -> bool:
        """Make a further area for a program that is none: this server itself. False: no room."""
        number = self._free_area()
        if number is None:
            return False
        key = AreaKey(protocol, lane, len(program.areas_of(protocol, lane)))
        area = make_area(program.number, program.pid, number, key)
        program.add_area(area)
        await self._keeper.do(area)
        await self.renew_area(self._roles.of(protocol, lane), area)
        return True

    # -- Sockets that several programs hold ----------------------------------------------------

    async def _token(self, program: Program, message: ControlMessage, fds: Fds) -> None:
        await self._sharing.token(program, message, fds)

    async def _leave(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        is_last = await self._sharing.leave(program, message.text)
        return Reply(replace(message, arg=int(is_last), text=b""))

    async def _state(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        self._sharing.state(program, message.text, message.arg)
        return Reply(replace(message, text=b""))

    async def _take(self, program: Program, message: ControlMessage, fds: Fds) -> Reply:
        if len(fds) != 1:
            return Reply(message.failed(errno.EINVAL))
        return await self._sharing.take(program, message, fds[0])

    async def _option(self, _program: Program, message: ControlMessage, fds: Fds) -> Reply:
        if len(fds) != 1:
            return Reply(message.failed(errno.EINVAL))
        return await self._sharing.option(message, fds[0])

    # -- The baselines -------------------------------------------------------------------------

    async def _call_server(self, _program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        if message.arg not in (lib.NT_CALLS_SYSCALL, lib.NT_CALLS_CHANNEL):
            return Reply(message.failed(errno.EINVAL))
        connection = self._callers.start(by_kernel=message.arg == lib.NT_CALLS_SYSCALL)
        return Reply(message, (connection,), temporary=(connection,))

    # -- Names of sockets ----------------------------------------------------------------------

    async def _bind(self, program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        area = program.area(message.protocol, message.area)
        if area is None:
            return Reply(message.failed(errno.EBADF))
        request = Request(
            0,
            lib.NT_REQ_BIND,
            area.area,
            message.slot,
            message.generation,
            options=message.options,
            endpoint=message.endpoint,
        )
        done = await self._binder.bind(program.number, message.number, area, request)
        return Reply(replace(message, error=done.error, endpoint=done.endpoint))

    # -- Names of hosts ------------------------------------------------------------------------

    async def _resolve(self, _program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        name = message.text.decode(errors="replace")
        addresses = resolve(name, self._context.names)
        if not addresses:
            return Reply(message.failed(errno.ENOENT))
        return _text_reply(message, *addresses)

    async def _ifaddrs(self, _program: Program, message: ControlMessage, _fds: Fds) -> Reply:
        return _text_reply(message, *interface_lines(self._context.net))


def _area_new(area: m.KeepArea) -> Request:
    return Request(0, lib.NT_REQ_AREA_NEW, area.area, slot=area.program + 1, arg=area.pid)


def _text_reply(message: ControlMessage, *lines: str) -> Reply:
    return Reply(replace(message, text="\n".join(lines).encode()))
