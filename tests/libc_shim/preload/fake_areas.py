"""Socket areas and slots of the fake host, as its servers see them (area.h)."""

import mmap
import os
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fake_shares import RING_LOG2
from newtos_py.libc_shim.sockets._sockets import ffi, lib

GRANTED, CONNECTING, CONNECTED, LISTENING, ACCEPTABLE, BROKEN = range(1, 7)
SLOTS = 512
AHEAD = 16


def memfd(size: int) -> int:
    fd = os.memfd_create("fake", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


def read_only(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def map_whole(fd: int) -> tuple[mmap.mmap, Any]:
    memory = mmap.mmap(fd, 0)
    return memory, ffi.from_buffer(memory)


@dataclass(eq=False)
class Slot:
    """A slot in use: a listener, one end of a connection, or a datagram socket."""

    area: "Area"
    number: int
    generation: int
    address: bytes = b""
    port: int = 0
    options: int = 0
    peer: "Slot | None" = None
    # Of a listener.
    ring: Any = None
    memory: list[Any] = field(default_factory=list)
    waiting: deque["Slot"] = field(default_factory=deque)
    fin_sent: bool = False
    closed: bool = False
    dead: bool = False
    datagram_peer: tuple[bytes, int] | None = None

    @property
    def ours(self) -> Any:
        return self.area.view.slot_server[self.number]

    @property
    def theirs(self) -> Any:
        return self.area.view.slot_program[self.number]

    @property
    def valid(self) -> bool:
        return bool(self.theirs.generation == self.generation)

    def tell(self) -> None:
        self.ours.events += 1
        self.area.ready(self.theirs.queue if self.valid else 0, self.number)


class Area:
    """One socket area."""

    def __init__(self, program: "Program", protocol: int, number: int) -> None:
        self.program = program
        self.protocol = protocol
        self.number = number
        sizes = (
            lib.nt_area_program_bytes(SLOTS),
            lib.nt_area_server_bytes(SLOTS),
            lib.nt_area_hint_bytes(),
        )
        self.fds = [memfd(size) for size in sizes]
        self.maps = [map_whole(fd) for fd in self.fds]
        raw = [pair[1] for pair in self.maps]
        lib.nt_area_format(*raw, SLOTS, protocol)
        self.view = ffi.new("struct nt_area *")
        assert lib.nt_area_open(self.view, *raw, SLOTS) == 0
        self.free = deque(range(SLOTS))
        self.used: dict[int, Slot] = {}
        self.generation = 0
        self.grant()

    def ready(self, queue: int, number: int) -> None:
        word = number >> 6
        ready = self.view.ready[queue]
        ready.bitmap[word] |= 1 << (number & 63)
        ready.summary[word >> 6] |= 1 << (word & 63)
        if self.view.queue[queue].sleeping and queue in self.program.queues:
            os.eventfd_write(self.program.queues[queue], 1)

    def hand_out(self, state: int) -> Slot | None:
        if not self.free:
            return None
        number = self.free.popleft()
        self.generation += 1
        block = self.view.slot_server[number]
        reply = block.reply
        ffi.memmove(ffi.addressof(block), bytes(128), 128)
        block.reply = reply
        block.rx_geometry = RING_LOG2
        block.tx_max_log2 = RING_LOG2
        block.generation = self.generation
        block.state = state
        slot = Slot(self, number, self.generation)
        self.used[number] = slot
        return slot

    def grant(self) -> None:
        server, program = self.view.server, self.view.program
        while server.grant_tail - program.grant_head < AHEAD:
            was_empty = server.grant_tail == program.grant_head
            slot = self.hand_out(GRANTED)
            if slot is None:
                return
            server.grant[server.grant_tail % 8192] = slot.number
            server.grant_tail += 1
            if was_empty:
                self.ready(0, slot.number)

    def release(self, slot: Slot) -> None:
        slot.dead = True
        if self.used.get(slot.number) is slot:
            del self.used[slot.number]
            self.free.append(slot.number)


@dataclass(eq=False)
class Program:
    """One control connection; None: of the host itself."""

    control: socket.socket | None
    queues: dict[int, int] = field(default_factory=dict)
    areas: dict[int, Area] = field(default_factory=dict)
