"""What programs do with sockets that several of them hold: TOKEN, LEAVE, TAKE, and their ends.

shares.py knows who holds what, moves.py carries sockets from area to area; here is when.
"""

import asyncio
import errno
import fcntl
import functools
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from newtos_py.servers.syscall.control import BadMessageError, ControlMessage, Reply
from newtos_py.servers.syscall.listening import Listening
from newtos_py.servers.syscall.moves import Mover
from newtos_py.servers.syscall.program import Program, process_of
from newtos_py.servers.syscall.pumps import Option, Pump
from newtos_py.servers.syscall.shares import NAMED_BYTES, NOBODY, Named, Shared, Shares, named_in

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.log import log
from newtos_py.kernel.server import TCP, UDP

# As many sockets as a program may have descriptors (fs.nr_open).
_LIST_BYTES_MAX = NAMED_BYTES << 20

# rs keeps under this what stands for a pumped socket.
_STAND_IN = "stand-in."

# How long a socket in a message outlives its sender.
_MESSAGE_S = 10.0


# How long a program that uses what another has used waits for that to close it, before both are
# slow (docs/decisions/0009).
_GRACE_STEPS = 10
_GRACE_STEP_S = 0.001

# How often a datagram socket is looked at for what its reader leaves, and how often that must be.
_LOOK_S = 0.01
_UNREAD_LOOKS = 2
_PATIENCE_MAX_S = 0.5


class Sharing:
    """The calls, and the ends of programs."""

    def __init__(
        self,
        shares: Shares,
        mover: Mover,
        listening: Listening,
        *,
        nobody: Program,
        admit: Callable[[socket.socket, Program, Callable[[int], None]], Program | None],
        changed: Callable[[Program], None],
        make_area: Callable[[Program, int, int], Awaitable[bool]],
        find: Callable[[int], Program | None],
        pump: Pump,
        keep_file: Callable[[str, int | None], None],
        beat: Callable[[], None],
    ) -> None:
        """Take what only the server can do.

        `admit` enters the program behind a token of another's, once what it holds is noted under
        its number, or refuses it;
        `changed` has rs keep who a program is; `make_area` makes one for this server itself; `find`
        knows programs by their numbers; `beat` shows that this server gets somewhere.
        """
        self._shares = shares
        self._mover = mover
        self._listening = listening
        self._nobody = nobody
        self._admit = admit
        self._changed = changed
        self._make_area = make_area
        self._find = find
        self._pump = pump
        self._keep_file = keep_file
        self._beat = beat
        # Inodes of tokens: one that is read again after a restart is known.
        self._tokens: dict[int, int] = {}
        # Kept, because the event loop does not keep tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def identify(self, program: Program, process: int) -> None:
        """The holder of a token says who it is: the process that sends this.

        One that is the process which handed the token in is that after exec: what it was before has
        ended.
        """
        if program.speaker == 0 or process_of(process) != program.speaker:
            raise BadMessageError("what it hands in is no pidfd of its own")
        giver = _name(program)
        if giver is not None and giver.pid == program.speaker:
            giver.end()
        program.pid = program.speaker
        program.process = os.dup(process)
        self._changed(program)

    def restored(self, program: Program) -> None:
        """A program came from a former generation."""
        self._tokens[os.fstat(program.connection.fileno()).st_ino] = program.number

    def restore_file(self, key: str, descriptor: int) -> None:
        """Take up what a former generation had kept: after the sockets' notes."""
        if self._pump.restore(key, descriptor):
            return
        shared = self._shares.find(int(key.removeprefix(_STAND_IN)))
        if shared is None:
            os.close(descriptor)
            self._keep_file(key, None)
        else:
            shared.stand_in = descriptor

    async def option(self, message: ControlMessage, stand_in: int) -> Reply:
        """Set or tell an option of a socket that is pumped."""
        shared = self._shares.stood_for_by(os.fstat(stand_in).st_ino)
        if shared is None:
            return Reply(message.failed(errno.ENOTCONN))
        level, name = _signed(message.slot), _signed(message.generation)
        option = Option(message.arg, level, name, message.options, message.text)
        error, value = await self._pump.option(shared.inode, option)
        return Reply(message.failed(error) if error else replace(message, text=value))

    def forget(self, program: Program) -> None:
        """A program is gone."""
        self._tokens.pop(os.fstat(program.connection.fileno()).st_ino, None)
        _name(program)

    def _pid_of(self, number: int) -> int | None:
        program = self._find(number)
        return program.pid if program is not None else None

    def _is_ending(self, number: int) -> bool:
        program = self._find(number)
        return program is None or program.is_at_end()

    async def token(
        self, program: Program, message: ControlMessage, descriptors: tuple[int, ...]
    ) -> None:
        """Register sockets; with a connection, admit a program that holds them, too."""
        named, flags = named_in(message.text), message.arg
        placeholders, fds = descriptors[: message.options], descriptors[message.options :]
        # An inode is a number that anybody can say: who has the socket can show it.
        shown = [
            each
            for each, placeholder in zip(named, placeholders, strict=False)
            if _placeholder_inode(placeholder) == each.inode
        ]
        await self._register(program, shown)
        if len(fds) not in (1, 2):
            return
        if len(fds) == 2:
            named += named_in(_list_in(fds[1]))
        inode = os.fstat(fds[0]).st_ino
        connection = None if inode in self._tokens else _own_end(fds[0])
        if connection is None:
            return
        only = {each.inode for each in named} if flags & lib.NT_TOKEN_ONLY else None
        # What it holds is noted before rs knows of it: a program that rs knows has all it should.
        child = self._admit(
            connection, program, lambda number: self._shares.give(program.number, number, only)
        )
        if child is None:
            return
        child.giver = program
        program.unnamed += 1
        self._tokens[inode] = child.number

    async def _register(self, program: Program, named: Sequence[Named]) -> None:
        slots = {(area.protocol, area.area): area.slots for area in program.areas.values()}
        known = [each for each in named if each.slot < slots.get((each.protocol, each.area), 0)]
        # No program has more sockets than its areas have slots.
        room = sum(slots.values()) - len(self._shares.owned_by(program.number)) if known else 0
        for each in known:
            if self._shares.find(each.inode) is not None:
                continue
            if room <= 0:
                raise BadMessageError("it names more sockets than it can have")
            room -= 1
            listener = None
            if each.protocol == TCP:
                listener = self._listening.number_of(each.area, each.slot, each.generation)
            # First: what is registered is held.
            if listener is not None:
                await self._listening.hold(listener)
            self._shares.register(program.number, each, listener)
        if known:
            self._shares.hold(program.number, [each.inode for each in known])

    async def leave(self, program: Program, text: bytes) -> bool:
        """A program closes a socket; True if it has it and nobody else holds it."""
        named = named_in(text)
        shared = self._shares.find(named[0].inode) if named else None
        if shared is None:
            return True
        async with shared.lock:
            return await self._leave_locked(program, shared)

    async def _leave_locked(
        self, program: Program, shared: Shared, *, is_ending: bool = False
    ) -> bool:
        if not self._shares.leave(program.number, shared, is_ending=is_ending):
            self._drop_stand_in(shared)
            return False
        self._drop_stand_in(shared)
        if shared.listener is not None:
            await self._listening.release(shared.listener)
            return True
        await self._mover.finish(shared)
        if shared.place.program == program.number:
            return True
        self._mover.close(shared.place, shared.protocol)
        return False

    def state(self, program: Program, text: bytes, flags: int) -> None:
        """Keep what a shim wants to have kept of a socket."""
        named = named_in(text[:NAMED_BYTES])
        shared = self._shares.find(named[0].inode) if named else None
        if shared is not None and self._shares.is_held_by(program.number, shared):
            shared.state = text[NAMED_BYTES:]
            self._shares.keep(shared)
            if flags & lib.NT_STATE_SENT:
                self._shares.send(program.number, shared)

    async def take(self, program: Program, message: ControlMessage, placeholder: int) -> Reply:
        """A program uses a socket: bring it there, or have it pumped."""
        inode = _placeholder_inode(placeholder)
        shared = self._shares.find(inode) if inode is not None else None
        if shared is None:
            return Reply(message.failed(errno.EBADF))
        async with shared.lock:
            pass  # whoever is taking it now has it then
        # The other one may be closing it, or ending, just now.
        for _ in range(_GRACE_STEPS):
            if not self._is_used_by_two(program, shared):
                break
            await asyncio.sleep(_GRACE_STEP_S)
        if message.arg == lib.NT_TAKE_READ:
            await self._await_datagrams(program, shared, message.options / 1000)
        async with shared.lock:
            if self._shares.find(shared.inode) is not shared:
                return Reply(message.failed(errno.EBADF))  # the last who held it has left
            is_pump = program.pid == self._pump.pid
            wants_pump = shared.is_pumped or (
                # Datagrams can't be carried by a stream: that socket goes to and fro.
                shared.protocol == TCP
                and (
                    (message.arg == lib.NT_TAKE_PUMP and shared.listener is None)
                    or self._is_used_by_two(program, shared)
                )
            )
            if wants_pump and not is_pump:
                return await self._give_stand_in(program, message, shared, placeholder)
            return Reply(await self._take_locked(program, message, shared))

    def _is_used_by_two(self, program: Program, shared: Shared) -> bool:
        other = shared.place.program
        return (
            shared.listener is None
            and program.number in shared.users
            and other not in (program.number, NOBODY)
            and self._shares.is_held_by(other, shared)
            and not self._is_ending(other)
            # Without a peer there is nothing to carry: it goes to and fro, until it listens.
            and (shared.protocol != TCP or self._mover.is_connected(shared.place, TCP))
        )

    async def _await_datagrams(self, program: Program, shared: Shared, patience_s: float) -> None:
        """Two want to read: who has the socket keeps it while nothing has come that it leaves."""
        end = time.monotonic() + min(patience_s, _PATIENCE_MAX_S)
        unread = 0
        while (
            shared.protocol == UDP
            and time.monotonic() < end
            and unread < _UNREAD_LOOKS
            and self._is_used_by_two(program, shared)
        ):
            await asyncio.sleep(_LOOK_S)
            unread = unread + 1 if self._mover.has_unread(shared.place, UDP) else 0

    async def _give_stand_in(
        self, program: Program, message: ControlMessage, shared: Shared, placeholder: int
    ) -> Reply:
        try:
            if not shared.is_pumped:
                # First, so that the other's next bytes come behind this one's.
                await self._park(shared)
                shared.state = message.text
                shared.is_pumped = True
                # The message to the pump holds it until that has it.
                self._shares.send(NOBODY, shared)
                shared.stand_in = self._pump.carry(shared.inode, placeholder)
                shared.stand_in_inode = os.fstat(shared.stand_in).st_ino
                self._shares.keep(shared)
                self._keep_file(f"{_STAND_IN}{shared.inode}", shared.stand_in)
            if shared.stand_in is None:
                raise OSError(errno.ECONNRESET, "its pump is gone")
            stand_in = os.dup(shared.stand_in)
        except OSError as error:
            log(f"process {program.pid}: a socket can't be pumped: {error.strerror}")
            return Reply(message.failed(errno.ECONNRESET))
        self._shares.leave(program.number, shared)
        self._drop_stand_in(shared)
        place = shared.place
        local = self._mover.local_name(place, shared.protocol)
        answer = replace(message, arg=lib.NT_TAKEN_PUMPED, endpoint=local, text=b"")
        return Reply(answer, (stand_in,), temporary=(stand_in,))

    def _drop_stand_in(self, shared: Shared) -> None:
        """Nobody comes for it any more: only then does the pump see that all have closed theirs."""
        if shared.stand_in is None:
            return
        mine = self._pump.pid
        if all(self._pid_of(each) == mine for each in self._shares.holders(shared)):
            self._keep_file(f"{_STAND_IN}{shared.inode}", None)
            os.close(shared.stand_in)
            shared.stand_in = None

    async def _take_locked(
        self, program: Program, message: ControlMessage, shared: Shared
    ) -> ControlMessage:
        if not self._shares.is_held_by(program.number, shared):
            self._shares.hold(program.number, [shared.inode])
        if message.arg == lib.NT_TAKE_RECEIVED:
            self._shares.receive(shared)
        if message.arg in (lib.NT_TAKE_LOOK, lib.NT_TAKE_RECEIVED):
            return replace(message, protocol=shared.protocol, text=shared.state)
        answer = replace(message, protocol=shared.protocol, arg=lib.NT_TAKEN_SLOT, text=b"")
        if shared.listener is not None:
            return replace(answer, arg=lib.NT_TAKEN_LISTENER, slot=shared.listener)
        error = await self._mover.move(shared, program.number)
        if error:
            return replace(message.failed(error), protocol=shared.protocol)
        if program.number not in shared.users:
            shared.users.add(program.number)
            self._shares.keep(shared)
        place = shared.place
        return replace(answer, area=place.area, slot=place.slot, generation=place.generation)

    async def bury(self, program: Program) -> None:
        """A program has ended: what others hold lives on, in an area of this server's own.

        Not what it pumped: those who use that have nothing but ends that hang up now.
        """
        for shared in self._shares.owned_by(program.number):
            if shared.is_pumped:
                async with shared.lock:
                    self._shares.end(shared)
                    self._drop_stand_in(shared)
        for shared in self._shares.held_by(program.number):
            self._beat()  # there may be thousands
            async with shared.lock:
                if await self._leave_locked(program, shared, is_ending=True):
                    continue  # it goes with its area
        for shared in self._shares.owned_by(program.number):
            self._beat()
            async with shared.lock:
                await self._park(shared)
                if shared.place.program == program.number:
                    self._shares.lose(shared)
        self._shares.forget_program(program.number)
        self.expire_messages(program.number)

    def expire_messages(self, sender: int) -> None:
        """A program that sent sockets is gone: they are received soon, or never."""
        sent = [each for each in self._shares.all() if sender in each.senders]
        if sent:
            asyncio.get_running_loop().call_later(_MESSAGE_S, self._forget_messages, sender, sent)

    def _forget_messages(self, sender: int, sent: Sequence[Shared]) -> None:
        for shared in sent:
            if shared.senders.pop(sender, None) is None:
                continue
            self._shares.keep(shared)
            task = asyncio.get_running_loop().create_task(self._end_if_unheld(shared))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end_if_unheld(self, shared: Shared) -> None:
        async with shared.lock:
            await self._leave_locked(self._nobody, shared)

    async def _park(self, shared: Shared) -> None:
        if shared.listener is not None:
            return
        lane = self._mover.lane_of(shared)
        error = await self._mover.move(shared, NOBODY)
        # There is none yet, or all are full.
        if error in (errno.ENOTCONN, errno.ENOBUFS):
            has_room = await self._make_area(self._nobody, shared.protocol, lane)
            error = await self._mover.move(shared, NOBODY) if has_room else errno.ENFILE
        if error:
            log(f"a socket of a program that ended can't be kept: {os.strerror(error)}")


def _name(program: Program) -> Program | None:
    """Its name is known now, or nobody's will be: who had handed in its token."""
    giver, program.giver = program.giver, None
    if giver is not None:
        giver.unnamed -= 1
    return giver


def _list_in(descriptor: int) -> bytes:
    """What a memory file says: nothing else could be read without waiting for its writer."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise BadMessageError("its list is no memory file") from error
    return os.pread(descriptor, _LIST_BYTES_MAX, 0)


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def _own_end(descriptor: int) -> socket.socket | None:
    """This server's own descriptor of a token's connection; None: it is no such connection."""
    own = os.dup(descriptor)
    try:
        connection = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        return None
    if (connection.family, connection.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
        connection.close()
        return None
    # Its holder proves who it is by what it sends. The shim has set it, too: it may be quicker.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return connection


@functools.cache
def _device_of_sockets() -> int:
    with socket.socket(socket.AF_UNIX) as any_socket:
        return os.fstat(any_socket.fileno()).st_dev


def _placeholder_inode(descriptor: int) -> int | None:
    """Its inode, if it is a socket of the kernel's: other file systems number as they like."""
    status = os.fstat(descriptor)
    is_socket = stat.S_ISSOCK(status.st_mode) and status.st_dev == _device_of_sockets()
    return status.st_ino if is_socket else None
