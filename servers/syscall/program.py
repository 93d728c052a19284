"""One connected program: its control connection, and what it has been given.

A request is looked at (MSG_PEEK), done, answered, and only then taken off the socket. rs holds the
connection, too: if this server dies in between, its next generation finds the request still there
and does it again, so whatever a request does can be done twice. An answer that is sent twice has a
number that the program no longer waits for, and a request that is sent twice (the shim repeats
itself when it has to wait long) has the number of the one before.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from newtos_py.servers.syscall.control import FDS_MAX, MESSAGE_BYTES, ControlMessage, emit, parse

from newtos_py.kernel import messages as m
from newtos_py.kernel.descriptors import UCRED, close_all, receive_signed, send_with

if TYPE_CHECKING:
    from collections.abc import Iterator

# Linux 6.5; Python does not have it yet.
_SO_PEERPIDFD = 77


@dataclass(frozen=True, slots=True)
class Received:
    """A request and its descriptors, which are the receiver's to close."""

    message: ControlMessage
    descriptors: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AreaKey:
    """What a program calls an area (control.h: ATTACH)."""

    protocol: int
    lane: int = 0
    nth: int = 0


@dataclass(slots=True)
class Program:
    """A program that may have sockets."""

    number: int
    # 0: not known yet.
    pid: int
    connection: socket.socket
    # Readable when the process has ended; None: a token's holder, who has not said who it is.
    process: int | None
    areas: dict[AreaKey, m.KeepArea] = field(default_factory=dict)
    # Number of the last request that was answered; 0: none.
    answered: int = 0
    # Who handed in its token, until it has said who it is; None: nobody, or it is not known.
    giver: "Program | None" = None
    # How many hold tokens of this one's and have not said who they are.
    unnamed: int = 0
    # Who sent the last request, by a token, as the kernel says; 0: that is not known.
    speaker: int = 0
    _waiting: asyncio.Future[bool] | None = None
    _is_over: bool = False

    def add_area(self, area: m.KeepArea) -> None:
        """Take note of an area of this program's."""
        self.areas[AreaKey(area.protocol, area.lane, area.nth)] = area

    def area(self, protocol: int, number: int) -> m.KeepArea | None:
        """The area of that number, if it is this program's."""
        for area in self.areas.values():
            if (area.protocol, area.area) == (protocol, number):
                return area
        return None

    def areas_of(self, protocol: int, lane: int) -> list[m.KeepArea]:
        """All areas with one server, in the order in which they were made."""
        own = [
            each for each in self.areas.values() if (each.protocol, each.lane) == (protocol, lane)
        ]
        return sorted(own, key=lambda area: area.nth)

    def peek(self) -> Received | None:
        """Look at the next request; None at the end of the connection.

        BadMessageError if it is no request, BlockingIOError if there is none yet.
        """
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        try:
            data, descriptors, _, self.speaker = receive_signed(
                self.connection, MESSAGE_BYTES, FDS_MAX, flags
            )
        except BlockingIOError:
            raise
        except OSError:  # reset; or a token that never was connected
            return None
        try:
            return Received(parse(data), tuple(descriptors)) if data else None
        except Exception:
            close_all(descriptors)
            raise

    def end(self) -> None:
        """Let it count as ended, though its process lives: it has become another program."""
        self._is_over = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)

    def is_at_end(self) -> bool:
        """Whether nobody can say anything more."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def consume(self) -> None:
        """Take the request off the socket that peek has shown."""
        self.connection.recv(1, socket.MSG_DONTWAIT)

    def reply(self, message: ControlMessage, descriptors: tuple[int, ...]) -> None:
        """Answer; a program that does not take its answers, or is gone, gets none."""
        self.answered = message.number
        if message.number == 0:
            return
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            send_with(self.connection, emit(message), descriptors, socket.MSG_DONTWAIT)

    async def wait(self) -> bool:
        """Wait until there is something to read; False if the process has ended before that."""
        if self._is_over and self.process is not None:
            return False
        loop = asyncio.get_running_loop()
        happened: asyncio.Future[bool] = loop.create_future()
        self._waiting = happened

        def tell(readable: bool) -> Callable[[], None]:
            return lambda: None if happened.done() else happened.set_result(readable)

        with ExitStack() as readers:
            readers.enter_context(_reader(loop, self.connection.fileno(), tell(True)))
            if self.process is not None:
                readers.enter_context(_reader(loop, self.process, tell(False)))
            return await happened

    def close(self) -> None:
        """Close this server's descriptors."""
        self.connection.close()
        if self.process is not None:
            os.close(self.process)
        for area in self.areas.values():
            close_all((area.memory.number, area.server.number, area.hint.number))


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Who connected: pid and uid, as they were then."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    pid, uid, _ = UCRED.unpack(data)
    return pid, uid


def process_of(descriptor: int) -> int | None:
    """The process that a pidfd stands for, -1 if that has ended; None: it is no pidfd."""
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    _, is_pidfd, rest = text.partition("\nPid:")
    return int(rest.split(maxsplit=1)[0]) if is_pidfd else None


def open_process(connection: socket.socket, pid: int) -> int:
    """A pidfd of who connected; ProcessLookupError if it has ended already."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:  # an older kernel: the pid may be another's by now, if the program was quick
        return os.pidfd_open(pid)


@contextmanager
def _reader(
    loop: asyncio.AbstractEventLoop, descriptor: int, callback: Callable[[], None]
) -> "Iterator[None]":
    loop.add_reader(descriptor, callback)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
