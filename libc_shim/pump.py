"""The pump: carries bytes for sockets that several processes use at once (§5.4.2 of NewtOS).

    python -m newtos_py.libc_shim.pump NUMBER

A program like any other on the host, with the shim preloaded; the syscall server starts it when it
is first needed. Descriptor NUMBER is a SOCK_SEQPACKET socket on which it is sent pairs: a newtos
socket, and one end of a kernel's socket pair. Whoever uses the newtos socket has the other end in
its stead. What comes in here goes out there, both ways, ends of stream too; what the peer resets
is closed. It ends with the last pair once the socket it gets them from has closed.
"""

import contextlib
import selectors
import socket
import struct
import sys
from dataclasses import dataclass, field

_PIECE_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False)
class _Way:
    """One direction of a pair."""

    source: socket.socket
    sink: socket.socket
    waiting: bytearray = field(default_factory=bytearray)
    is_at_end: bool = False
    is_done: bool = False

    def read(self) -> None:
        """Take what there is, if what came before has gone on."""
        if self.is_at_end or self.waiting:
            return
        piece = self.source.recv(_PIECE_BYTES)
        self.waiting += piece
        self.is_at_end = not piece

    def write(self) -> None:
        """Pass on what waits, and the end after it."""
        if self.waiting:
            del self.waiting[: self.sink.send(self.waiting)]
        if self.is_at_end and not self.waiting and not self.is_done:
            self.is_done = True
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

    def step(self) -> None:
        """Do what can be done without waiting."""
        if self.ends[0].fileno() < 0:  # what was seen at the other end has ended it
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
        if all(way.is_done for way in self._ways):
            self._end(is_broken=False)
        else:
            self._wait()

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


def pump(commands: socket.socket) -> None:
    """Serve until nothing is left to do."""
    selector = selectors.DefaultSelector()
    selector.register(commands, selectors.EVENT_READ, None)
    while selector.get_map():
        for key, _ in selector.select():
            if key.data is not None:
                key.data.step()
                continue
            data, numbers, _, _ = socket.recv_fds(commands, 1, 2)
            if not data:
                selector.unregister(commands)
            elif len(numbers) == 2:
                with contextlib.suppress(OSError):
                    _Pair(selector, *numbers)


if __name__ == "__main__":
    pump(socket.socket(fileno=int(sys.argv[1])))
