"""A program over plain memory, with the server's end of its areas played by the test."""

import mmap
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from newtos_py.libc_shim.sockets._sockets import ffi, lib
from newtos_py.libc_shim.sockets.program import Address, Area, CData, Program, Queue, Socket

FREE, GRANTED, CONNECTING, CONNECTED, LISTENING, ACCEPTABLE, BROKEN = range(7)
RX_FIN, TX_DONE, BOUND, PEER_SET = 1, 2, 4, 8
SHUT_RD, SHUT_WR, CLOSE, RESET, TAKEN = 1, 2, 4, 8, 16
RESERVE = 4 << 20
# Where large rings and datagrams begin, behind the rings that have not grown.
LARGE = 8192 << 14
WRAP = 1 << 32  # of cursors
DGRAM_SLOTS, DGRAM_DATA = 64, 4096
DOORBELL = 77
QUEUE = 3


def geometry(base: int, log2: int) -> int:
    return base << 8 | log2


def ring_at(slot: int, log2: int) -> int:
    """Where a byte ring is, in the data of either side."""
    return slot << 14 if log2 <= 14 else LARGE + slot * RESERVE


def endpoint(address: Address) -> dict[str, Any]:
    host, port = address
    raw = (
        socket.inet_pton(socket.AF_INET6, host)
        if ":" in host
        else bytes(10) + b"\xff\xff" + socket.inet_aton(host)
    )
    return {"addr": raw, "port": port}


def error_of(call: Callable[[], object]) -> int:
    """The errno that a call fails with."""
    try:
        call()
    except OSError as error:
        return error.errno or 0
    pytest.fail("no error")


class Server:
    """The server's end of one area, by area.h's rules, one small step a call."""

    def __init__(self, protocol: int, slots: int = 8, number: int = 0) -> None:
        self.slots = slots
        # Anonymous memory: pages that nobody touches cost nothing.
        sizes = (
            lib.nt_area_program_bytes(slots),
            lib.nt_area_server_bytes(slots),
            lib.nt_area_hint_bytes(),
        )
        self.memory = [mmap.mmap(-1, size) for size in sizes]
        raw = [ffi.from_buffer(part) for part in self.memory]
        lib.nt_area_format(raw[0], raw[1], raw[2], slots, protocol)
        self.area = ffi.new("struct nt_area *")
        assert lib.nt_area_open(self.area, raw[0], raw[1], raw[2], slots) == 0
        self.view = Area(*self.memory, slots, number)
        self.number = number
        self.sleeping = ffi.new("uint32_t *", 0)
        self.generation = 100
        self.free = list(range(slots))
        self.program_data = memoryview(self.memory[0])[
            len(self.memory[0]) - slots * RESERVE - LARGE :
        ]
        self.server_data = memoryview(self.memory[1])[
            len(self.memory[1]) - slots * RESERVE - LARGE :
        ]

    # -- Slots --

    def ours(self, slot: int) -> CData:
        return self.area.slot_server[slot]

    def theirs(self, slot: int) -> CData:
        return self.area.slot_program[slot]

    def hand_out(self, state: int) -> int:
        """A slot of a new generation."""
        slot = self.free.pop(0)
        self.generation += 1
        block = self.ours(slot)
        reply = block.reply
        ffi.memmove(ffi.addressof(block), bytes(128), 128)
        block.reply = reply
        block.rx_geometry = geometry(0, 14)
        block.tx_max_log2 = 14
        block.generation = self.generation
        block.state = state
        return slot

    def grant(self, count: int = 1) -> None:
        header = self.area.server
        for _ in range(count):
            header.grant[header.grant_tail % 8192] = self.hand_out(GRANTED)
            header.grant_tail += 1

    def tell(self, slot: int) -> None:
        """What a server does after any change: the edge counter and the ready bit."""
        self.ours(slot).events += 1
        queue = self.theirs(slot).queue
        ready = self.area.ready[queue]
        ready.bitmap[slot >> 6] |= 1 << (slot & 63)
        ready.summary[slot >> 12] |= 1 << (slot >> 6 & 63)

    def activity(self) -> list[int]:
        """The slots whose activity bit is set; clears them."""
        hints = self.area.hints
        slots = [slot for slot in range(self.slots) if hints.bitmap[slot >> 6] >> (slot & 63) & 1]
        hints.activity = 0
        for word in range(128):
            hints.bitmap[word] = 0
        hints.summary[0] = hints.summary[1] = 0
        return slots

    # -- Connections --

    def answer(self, slot: int, error: int = 0) -> Address:
        """Reply to the open request; the address that it asks for."""
        mail = self.theirs(slot)
        block = self.ours(slot)
        assert mail.request != block.reply, "no request is open"
        assert mail.request & 0xFF == 1
        assert mail.generation == block.generation
        block.reply_errno = error
        block.reply = mail.request
        return name_of(mail.target)

    def connected(self, slot: int, local: Address = ("10.0.0.3", 40000)) -> None:
        block = self.ours(slot)
        block.local = endpoint(local)
        block.remote = self.theirs(slot).target
        block.flags |= BOUND | PEER_SET
        block.state = CONNECTED
        self.tell(slot)

    def broken(self, slot: int, error: int) -> None:
        block = self.ours(slot)
        block.error = error
        block.state = BROKEN
        self.tell(slot)

    # -- Bytes --

    def deliver(self, slot: int, data: bytes) -> None:
        """Put bytes into the RX ring, doubling it where area.h allows and it is full."""
        block = self.ours(slot)
        tail, left = block.rx_tail, data
        while left:
            log2, base = block.rx_geometry & 0xFF, block.rx_geometry >> 8
            position = (tail - base) % (1 << log2)
            if (tail - self.rx_head(slot)) % WRAP == 1 << log2:
                assert position == 0, "no room"
                block.rx_geometry = geometry((tail - (1 << log2)) % WRAP, log2 + 1)
                old, new = ring_at(slot, log2), ring_at(slot, log2 + 1)
                self.server_data[new : new + (1 << log2)] = self.server_data[
                    old : old + (1 << log2)
                ]
                continue
            room = (1 << log2) - (tail - self.rx_head(slot)) % WRAP
            piece = left[: min(room, (1 << log2) - position)]
            at = ring_at(slot, log2) + position
            self.server_data[at : at + len(piece)] = piece
            tail, left = (tail + len(piece)) % WRAP, left[len(piece) :]
        block.rx_tail = tail
        self.tell(slot)

    def rx_room(self, slot: int) -> int:
        """How much deliver() has room for, with growth up to 256 kB."""
        block = self.ours(slot)
        log2, base = block.rx_geometry & 0xFF, block.rx_geometry >> 8
        held = (block.rx_tail - self.rx_head(slot)) % WRAP
        to_end = (1 << log2) - (block.rx_tail - base) % (1 << log2)
        if log2 < 18 and held + to_end == 1 << log2:  # it will be full just at its end
            return to_end + (1 << log2)
        return (1 << log2) - held

    def rx_head(self, slot: int) -> int:
        mail = self.theirs(slot)
        return mail.rx_head if mail.generation == self.ours(slot).generation else 0

    def fin(self, slot: int) -> None:
        self.ours(slot).flags |= RX_FIN
        self.tell(slot)

    def unacknowledged(self, slot: int) -> bytes:
        """What the program wrote and the server still needs."""
        mail, block = self.theirs(slot), self.ours(slot)
        size, base = 1 << (mail.tx_geometry & 0xFF), mail.tx_geometry >> 8
        at = ring_at(slot, mail.tx_geometry & 0xFF)
        ring = self.program_data[at : at + size]
        start, count = (block.tx_head - base) % size, (mail.tx_tail - block.tx_head) % WRAP
        assert count <= size
        return (bytes(ring[start:]) + bytes(ring[:start]))[:count]

    def acknowledge(self, slot: int, count: int | None = None) -> bytes:
        data = self.unacknowledged(slot)[:count]
        block = self.ours(slot)
        block.tx_head = (block.tx_head + len(data)) % WRAP
        self.tell(slot)
        return data

    # -- Datagrams --

    def datagram(self, slot: int, data: bytes, peer: Address, offset: int = DGRAM_DATA) -> None:
        block = self.ours(slot)
        dgram = self._descriptors(self.area.rx_data, slot)[block.rx_tail % DGRAM_SLOTS]
        dgram.offset, dgram.len = offset, len(data)
        dgram.peer = endpoint(peer)
        dgram.local_addr = endpoint(("10.0.0.3", 0))["addr"]
        dgram.ttl, dgram.tos = 61, 8
        start = LARGE + slot * RESERVE + offset
        self.server_data[start : start + len(data)] = data
        block.rx_tail += 1
        self.tell(slot)

    def sent(self, slot: int, release: bool = True) -> list[tuple[bytes, Address]]:
        """Every datagram the program sent and the server has not let go of."""
        mail, block = self.theirs(slot), self.ours(slot)
        found = []
        for cursor in range(block.tx_head, mail.tx_tail):
            dgram = self._descriptors(self.area.tx_data, slot)[cursor % DGRAM_SLOTS]
            start = LARGE + slot * RESERVE + dgram.offset
            data = bytes(self.program_data[start : start + dgram.len])
            found.append((data, name_of(dgram.peer)))
        if release:
            block.tx_head = mail.tx_tail
            self.tell(slot)
        return found

    def rx_descriptors(self, slot: int) -> CData:
        return self._descriptors(self.area.rx_data, slot)

    @staticmethod
    def _descriptors(data: CData, slot: int) -> CData:
        return ffi.cast("struct nt_dgram *", data + LARGE + slot * RESERVE)


def name_of(found: CData) -> Address:
    raw = bytes(found.addr)
    if raw[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntoa(raw[12:]), found.port
    return socket.inet_ntop(socket.AF_INET6, raw), found.port


class Listener:
    """The server's end of a listener region."""

    def __init__(self, entries: int = 8) -> None:
        self.entries = entries
        self.ring = mmap.mmap(-1, lib.nt_listener_ring_bytes(entries))
        self.claims = mmap.mmap(-1, lib.nt_listener_claims_bytes())
        raw = ffi.from_buffer(self.ring), ffi.from_buffer(self.claims)
        lib.nt_listener_format(raw[0], raw[1], entries, entries)
        self.view = ffi.new("struct nt_listener *")
        assert lib.nt_listener_open(self.view, raw[0], raw[1], entries) == 0
        self.tail = 0

    def offer(self, server: Server, peer: Address, local: Address = ("10.0.0.2", 80)) -> int:
        """A finished handshake, bound to a slot of the only acceptor's area; that slot."""
        slot = server.hand_out(ACCEPTABLE)
        entry = ffi.new(
            "struct nt_accept_entry *",
            {
                "area": server.number,
                "slot": slot,
                "generation": server.ours(slot).generation,
                "peer": endpoint(peer),
                "local": endpoint(local),
            },
        )
        lib.nt_listener_fill(self.view, self.tail, entry)
        self.tail += 1
        lib.nt_listener_publish(self.view, self.tail)
        return slot


@dataclass
class World:
    """A program attached to a TCP and a UDP server."""

    tcp: Server = field(default_factory=lambda: Server(6))
    udp: Server = field(default_factory=lambda: Server(17, number=1))
    rung: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.program = Program(self.rung.append)
        for server, protocol in ((self.tcp, 6), (self.udp, 17)):
            self.program.attach(server.view, protocol, server.sleeping, DOORBELL + server.number)
        self.queue = Queue(self.program, QUEUE)

    def stream(self, family: int = socket.AF_INET) -> Socket:
        self.tcp.grant()
        return self.program.socket(family, socket.SOCK_STREAM)

    def dgram(self, family: int = socket.AF_INET) -> Socket:
        self.udp.grant()
        return self.program.socket(family, socket.SOCK_DGRAM)

    def connected(self, family: int = socket.AF_INET) -> tuple[Socket, int]:
        """A connected TCP socket and its slot."""
        sock = self.stream(family)
        slot = sock.identity().slot
        with pytest.raises(BlockingIOError):
            sock.connect(("10.0.0.2", 80) if family == socket.AF_INET else ("fd00::2", 80))
        self.tcp.answer(slot)
        self.tcp.connected(slot)
        assert sock.connect(("10.0.0.2", 80)) is None
        self.tcp.activity()
        return sock, slot

    def listening(self, family: int = socket.AF_INET) -> tuple[Socket, Listener]:
        sock = self.stream(family)
        listener = Listener()
        assert sock.listen_check() == 0
        sock.listening(listener.ring, listener.claims, listener.entries)
        return sock, listener

    def release(self) -> None:
        """Give the areas' views back, so that their memory goes."""
        for server in (self.tcp, self.udp):
            server.program_data.release()
            server.server_data.release()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.release()
