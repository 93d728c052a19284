"""An IP server that floods: on the host FLOODER it sends SYNs of random sources, as fast as it can.

Everywhere else it is the real one. It is what an attacker could run who has a wire to a host:
another program at the end of the driver's channels. Frames go through both wire drivers as any
others do. It answers ARP, throws everything else away that comes back, and floods while there is a
file of the name NEWTOS_FLOOD, for a minute at most; what is in the file says what at: the target's
address, its port, and the network of the sources.
"""

import os
import random
import struct
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from newtos_py.servers.ip import SERVER as REAL

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import (
    AreaMapping,
    ListenerMapping,
    Memory,
    RunningServer,
    ServerContext,
    ServerSpec,
)
from newtos_py.sim import packets

FLOODER = "mallory"
LONGEST_S = 60.0
DESC_BYTES, RETURN_BYTES = 192, 8
# Frames and inputs a step; how many steps until it looks for its file again.
BATCH, LOOK_EVERY = 64, 64
PAUSE_NS = 50_000
ETHERNET = 14
ARP, IPV4 = 0x0806, 0x0800
BROADCAST = b"\xff" * 6
SENT = 0


def cast(kind: str, memory: Memory) -> Any:
    return ffi.cast(kind, memory.address)


class Flood:
    """One flood: a SYN whose source, port and sequence number are drawn anew each time."""

    # Offsets in the frame: of the IP header's identification, which makes up for the low half of
    # the source, so that its checksum stays; of that; of TCP's source port and sequence number.
    ID, SOURCE, PORT = ETHERNET + 4, ETHERNET + 12, ETHERNET + 20

    def __init__(self, ours: bytes, theirs: bytes, words: list[str]) -> None:
        target, port, network = words
        self._sources = IPv4Network(network)
        self._base = int(self._sources.network_address) & 0xFFFF0000
        options = struct.pack(">BBHBBBBBBBBII", 2, 4, 1460, 1, 3, 3, 7, 1, 1, 8, 10, 1, 0)
        offset = (20 + len(options)) // 4 << 4
        syn = struct.pack(">HHIIBBHHH", 0, int(port), 0, 0, offset, 2, 65535, 0, 0) + options
        source = str(IPv4Address(self._base))
        packet = packets.ipv4(packets.Ipv4(source, target, packets.TCP, syn))
        self._frame = bytearray(theirs + ours + struct.pack(">H", IPV4) + packet)
        self._hosts = min(self._sources.num_addresses, 0x10000) - 2

    def next(self) -> bytearray:
        chance = random.getrandbits(64)
        low = 1 + chance % self._hosts
        struct.pack_into(">H", self._frame, self.ID, -low % 0xFFFF)
        struct.pack_into(">H", self._frame, self.SOURCE + 2, low)
        struct.pack_into(">H", self._frame, self.PORT, 1024 + (chance >> 16) % 60000)
        struct.pack_into(">I", self._frame, self.PORT + 4, chance >> 32)
        return self._frame


class FloodingIp:
    """A RunningServer at the place of IP, on a host with one driver."""

    def __init__(self, context: ServerContext) -> None:
        self.context = context
        (driver,) = context.drivers
        channels, neighbour = context.channels_with(driver), context.neighbour(driver)
        self._doorbell = neighbour.doorbell
        self._sleeping = ffi.cast("uint32_t *", neighbour.sleeping)
        self._out, self._back = ffi.new("struct nt_producer *"), ffi.new("struct nt_producer *")
        self._into = ffi.new("struct nt_consumer *")
        for end, open_end, memory, slot_bytes in (
            (self._out, lib.nt_producer_open, channels.out, DESC_BYTES),
            (self._back, lib.nt_producer_open, channels.returns_out, RETURN_BYTES),
            (self._into, lib.nt_consumer_open, channels.into, DESC_BYTES),
        ):
            assert memory is not None
            assert open_end(end, cast("void *", memory), memory.bytes, slot_bytes) == 0
        pool = context.pool(driver)
        self._pool = ffi.new("struct nt_pool *")
        base = cast("void *", pool.memory)
        assert lib.nt_pool_open(self._pool, base, pool.memory.bytes, pool.region) == 0
        self._mac = context.net.interfaces[0].mac
        self._address = context.net.addresses[0].address[12:]
        self._peer = b""
        self._flood: Flood | None = None
        self._file = Path(os.environ["NEWTOS_FLOOD"])
        self._end_s = float("inf")
        self._steps = 0
        self._desc = ffi.new("struct nt_desc *")
        self._slot = ffi.new("struct nt_desc *")
        self._return = ffi.new("struct nt_return *")
        self._status = cast("struct nt_status *", context.status)
        self._callbacks = (
            ffi.callback("uint32_t(void *, uint64_t, uint32_t)", self._step),
            ffi.callback("bool(void *)", lambda _: lib.nt_face_consumer_pending(self._into) != 0),
            ffi.callback("uint64_t(void *)", lambda _: time.monotonic_ns() + PAUSE_NS),
        )
        self._engine = ffi.new("struct nt_engine *")
        self._engine.step, self._engine.has_work, self._engine.next_deadline = self._callbacks
        self._engine.status = self._status
        self._engine.device_fd = -1

    @property
    def engines(self) -> list[int]:
        return [int(ffi.cast("uintptr_t", self._engine))]

    def start(self) -> None:
        """Nothing is left to do."""

    def map_area(self, area: AreaMapping) -> None:
        """No program runs here."""

    def unmap_area(self, number: int) -> None:
        """No program runs here."""

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """No program runs here."""

    def map_listener(self, listener: ListenerMapping) -> None:
        """No program runs here."""

    def unmap_listener(self, number: int) -> None:
        """No program runs here."""

    def _step(self, _context: object, _now_ns: int, _budget: int) -> int:
        if self._steps % LOOK_EVERY == 0:
            self._look()
        self._steps += 1
        done = self._take() + (self._send_some() if self._flood is not None else 0)
        if self._sleeping[0]:
            os.eventfd_write(self._doorbell, 1)
        return done

    def _look(self) -> None:
        try:
            words = self._file.read_text().split()
        except FileNotFoundError:
            self._flood, self._end_s = None, float("inf")
            return
        if not self._peer:
            self._ask(IPv4Address(words[0]).packed)
        elif time.monotonic() >= self._end_s:
            self._flood = None
        elif self._flood is None:
            self._end_s = time.monotonic() + LONGEST_S
            self._flood = Flood(self._mac, self._peer, words)

    def _send_some(self) -> int:
        assert self._flood is not None
        for i in range(BATCH):
            if not self._send(self._flood.next()):
                return i
            self._status.counter[SENT] += 1
        return BATCH

    def _send(self, frame: bytes | bytearray) -> bool:
        desc = self._desc
        desc.kind, desc.flags = lib.NT_DESC_FRAME, lib.NT_DESC_CSUM_PARTIAL
        desc.inline_len = len(frame)
        desc.check = lib.nt_face_desc_check(self._out.tail)
        ffi.memmove(desc.data, frame, len(frame))
        return bool(lib.nt_producer_push(self._out, desc))

    def _arp(self, operation: int, to: bytes, their_mac: bytes, their_address: bytes) -> None:
        head = to + self._mac + struct.pack(">HHHBBH", ARP, 1, IPV4, 6, 4, operation)
        frame = head + self._mac + self._address + their_mac + their_address
        self._send(frame)

    def _ask(self, address: bytes) -> None:
        self._arp(1, BROADCAST, bytes(6), address)

    def _take(self) -> int:
        """Look for ARP in what has come, and give the buffers back."""
        for i in range(BATCH):
            if not lib.nt_consumer_pop(self._into, self._slot):
                return i
            ref = self._slot.ref[0]
            frame = bytes(ffi.buffer(self._pool.base + ref.offset, min(ref.len, 42)))
            self._return.buffer = lib.nt_pool_buffer_at(self._pool, ref.offset, ref.len)
            self._return.use, self._return.region = ref.use, ref.region
            lib.nt_producer_push(self._back, self._return)
            if frame[12:14] == ARP.to_bytes(2):
                self._hear(frame)
        return BATCH

    def _hear(self, frame: bytes) -> None:
        operation = int.from_bytes(frame[20:22])
        sender, address, wanted = frame[22:28], frame[28:32], frame[38:42]
        if wanted != self._address:
            return
        self._peer = sender
        if operation == 1:
            self._arp(2, sender, sender, address)


def _create(context: ServerContext) -> RunningServer:
    assert REAL.create is not None
    return FloodingIp(context) if context.host == FLOODER else REAL.create(context)


IP = ServerSpec(
    "ip",
    arena_bytes=REAL.arena_bytes,
    counters=REAL.counters,
    create=_create,
    pool=REAL.pool,
)
