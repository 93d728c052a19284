"""The pump: carries bytes for sockets that several processes use at once (§5.4.2 of NewtOS).

    python -m newtos_py.libc_shim.pump NUMBER

A program like any other on the host, with the shim preloaded; the syscall server starts it when it
is first needed. Descriptor NUMBER is a SOCK_SEQPACKET socket on which it is sent pairs: a newtos
socket, and one end of a kernel's socket pair. Whoever uses the newtos socket has the other end in
its stead. What comes in here goes out there, both ways, ends of stream too; what the peer resets
is closed, and what all programs have closed is closed, which resets it if anything is unread.
Options of the newtos socket are set and told on the same socket. It ends with the last pair once
that has closed.
"""

import contextlib
import errno
import select
import selectors
import socket
import struct
import sys
from dataclasses import dataclass, field

from newtos_py.kernel.pump_format import ANSWER, CALL, CARRY, HEAD, MESSAGE_BYTES, OPTION

_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)
_SET = 1
# What Python asks for at most.
_VALUE_BYTES_MAX = 1024


@dataclass(eq=False)
class _Way:
    """One direction of a pair."""

    source: socket.socket
    sink: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    is_at_end: bool = False
    is_done: bool = False
    # Nobody will read it (SHUT_RD): it is thrown away, as Linux does.
    is_unwanted: bool = False

    def read(self) -> None:
        """Take what there is, if what came before has gone on."""
        if self.is_at_end or self.waiting:
            return
        piece = self.source.recv(_PIECE_BYTES)
        if not self.is_unwanted:
            self.waiting += piece
        self.is_at_end = not piece

    def write(self) -> None:
        """Pass on what waits, and the end after it."""
        try:
            if self.waiting:
                del self.waiting[: self.sink.send(self.waiting)]
        except BrokenPipeError:
            if self.sink.family != socket.AF_UNIX:
                raise
            self.is_unwanted = True
            self.waiting.clear()
        if self.is_at_end and not self.waiting and not self.is_done:
            self.is_done = True
            # What all programs have closed ends as close() has it, not as shutdown().
            if not _has_hung_up(self.source):
                self.sink.shutdown(socket.SHUT_WR)


class _Pair:
    """A newtos socket and its stand-in."""

    def __init__(self, selector: selectors.BaseSelector, newtos: int, kernel: int) -> None:
        self._selector = selector
        there, here = self.ends = (socket.socket(fileno=newtos), socket.socket(fileno=kernel))
        self._ways = (_Way(there, here), _Way(here, there))
        for end in self.ends:
            end.setblocking(False)
        self._wait()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ends[0].fileno() < 0

    def step(self) -> None:
        """Do what can be done without waiting."""
        if self.is_over:  # what was seen at the other end has ended it
            return
        try:
            for way in self._ways:
                with contextlib.suppress(BlockingIOError):
                    way.read()
                with contextlib.suppress(BlockingIOError):
                    way.write()
        except OSError:
            self._end(is_broken=True)
            return
        is_left = self._ways[1].is_done and _has_hung_up(self.ends[1])
        if is_left or all(way.is_done for way in self._ways):
            self._end(is_broken=False)
        else:
            self._wait()

    def option(self, call: int, level: int, name: int, size: int, value: bytes) -> bytes:
        """Set or tell an option of the newtos socket; OSError."""
        newtos, _ = self.ends
        if call != _SET:
            return newtos.getsockopt(level, name, max(1, min(size, _VALUE_BYTES_MAX)))
        newtos.setsockopt(level, name, value)
        return b""

    def _wait(self) -> None:
        for end in self.ends:
            events = 0
            for way in self._ways:
                if way.source is end and not way.is_at_end and not way.waiting:
                    events |= selectors.EVENT_READ
                if way.sink is end and way.waiting:
                    events |= selectors.EVENT_WRITE
            self._register(end, events)

    def _register(self, end: socket.socket, events: int) -> None:
        known = end in self._selector.get_map()
        if known and not events:
            self._selector.unregister(end)
        elif known:
            self._selector.modify(end, events, self)
        elif events:
            self._selector.register(end, events, self)

    def _end(self, *, is_broken: bool) -> None:
        newtos, _ = self.ends
        if is_broken:
            with contextlib.suppress(OSError):
                newtos.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for end in self.ends:
            self._register(end, 0)
            end.close()


def _has_hung_up(end: socket.socket) -> bool:
    """Whether that is the kernel's, and all programs have closed theirs."""
    if end.family != socket.AF_UNIX:
        return False
    poll = select.poll()
    poll.register(end, select.POLLHUP)
    return bool(poll.poll(0))


class _Pump:
    """All pairs, by the inodes that the sockets have with the syscall server."""

    def __init__(self, commands: socket.socket) -> None:
        self._commands = commands
        self._selector = selectors.DefaultSelector()
        self._selector.register(commands, selectors.EVENT_READ, None)
        self._pairs: dict[int, _Pair] = {}

    def run(self) -> None:
        """Serve until nothing is left to do."""
        while self._selector.get_map():
            for key, _ in self._selector.select():
                if key.data is not None:
                    key.data.step()
                else:
                    self._obey()

    def _obey(self) -> None:
        data, numbers, _, _ = socket.recv_fds(self._commands, MESSAGE_BYTES, 2)
        if len(data) < HEAD.size:
            self._selector.unregister(self._commands)
            return
        kind, number, inode = HEAD.unpack_from(data)
        if kind == CARRY and len(numbers) == 2:
            open_pairs = {key: pair for key, pair in self._pairs.items() if not pair.is_over}
            with contextlib.suppress(OSError):
                open_pairs[inode] = _Pair(self._selector, *numbers)
            self._pairs = open_pairs
        elif kind == CALL:
            self._answer(number, inode, data[HEAD.size :])

    def _answer(self, number: int, inode: int, text: bytes) -> None:
        error, value = 0, b""
        pair = self._pairs.get(inode)
        if pair is None or pair.is_over:
            error = errno.ECONNRESET
        else:
            call, level, name, size = OPTION.unpack_from(text)
            try:
                value = pair.option(call, level, name, size, text[OPTION.size :])
            except OSError as problem:
                error = problem.errno or errno.EIO
        with contextlib.suppress(OSError):
            self._commands.send(ANSWER.pack(number, error) + value, socket.MSG_DONTWAIT)


if __name__ == "__main__":
    _Pump(socket.socket(fileno=int(sys.argv[1]))).run()
