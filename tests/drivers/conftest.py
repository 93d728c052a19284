"""Drivers under test in plain memory: hosts that are played by the test, in virtual time.

A `Host` is everything around a driver: the channels to and from IP, the return channels, the pool,
a program's socket area. The test plays IP and TCP. All memory is shared and anonymous, so that a
child process can play a part of the scenario, die in it, and leave its memory to the parent.
"""

import mmap
import os
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from newtos_py.drivers.wire import server as wire_face
from newtos_py.drivers.wire._engine import ffi, lib

from newtos_py.kernel.server import (
    AreaMapping,
    Channels,
    Emulation,
    Memory,
    Neighbour,
    NetConfig,
    Pool,
    RunningServer,
    ServerContext,
    ServerSpec,
    WireEnd,
)

CData = Any
DESC_BYTES = 192
RETURN_BYTES = 8
RING_SLOTS = 1024
SMALL, LARGE = 64, 16
OWN_REGION = 2
AREA = 3
AREA_REGION = 16 + AREA
AREA_BYTES = 1 << 20
FRAME, FENCE = 1, 5
CSUM_PARTIAL, CSUM_VALID = 1, 2
CAPTURE_BYTES = 1 << 18
BUDGET = 16
MS = 1_000_000


@dataclass
class Region:
    """Zeroed shared memory."""

    size: int
    map: mmap.mmap = field(init=False)

    def __post_init__(self) -> None:
        self.map = mmap.mmap(-1, self.size)
        self.base = ffi.from_buffer(self.map)
        self.memory = Memory(int(ffi.cast("uintptr_t", self.base)), self.size)


def channel(slot_bytes: int) -> Region:
    region = Region(lib.nt_channel_bytes(RING_SLOTS, slot_bytes))
    lib.nt_channel_format(region.base, RING_SLOTS, slot_bytes)
    return region


def pool(small: int, large: int) -> Region:
    region = Region(lib.nt_pool_bytes(small, large))
    lib.nt_pool_format(region.base, small, large)
    return region


@dataclass(frozen=True)
class Received:
    """A frame that a driver handed up."""

    data: bytes
    flags: int
    gso_size: int
    l4_offset: int
    buffer: int
    use: int
    # What the card said: its hash, and the queue + 1.
    nic: tuple[int, int]


class Host:
    """One host around its driver. IP and TCP are the test's."""

    def __init__(self, name: str, spec: ServerSpec, small: int = SMALL, large: int = LARGE) -> None:
        self.name = name
        self.spec = spec
        self.arena = Region(-(-spec.arena_bytes // 4096) * 4096)
        self.status = Region(4096)
        self.neighbour_status = Region(4096)
        self.pool = pool(small, large)
        self.from_ip, self.to_ip = channel(DESC_BYTES), channel(DESC_BYTES)
        self.returns = {peer: channel(RETURN_BYTES) for peer in ("ip", "tcp0", "udp")}
        self.area = Region(AREA_BYTES)
        self.capture = Region(lib.nt_capture_bytes(CAPTURE_BYTES))
        lib.nt_capture_format(self.capture.base, CAPTURE_BYTES)
        self.generation = 0
        self.net = NetConfig((), (), ())
        self.now_ns = 1
        self.rung: set[int] = set()
        self.view = ffi.new("struct nt_pool *")
        assert lib.nt_pool_open(self.view, self.pool.base, self.pool.size, OWN_REGION) == 0
        self.down = ffi.new("struct nt_producer *")
        assert self.open_producer(self.down, self.from_ip, DESC_BYTES) == 0
        self.up = ffi.new("struct nt_consumer *")
        assert lib.nt_consumer_open(self.up, self.to_ip.base, self.to_ip.size, DESC_BYTES) == 0
        self.back = {peer: ffi.new("struct nt_producer *") for peer in self.returns}
        for peer, end in self.back.items():
            assert self.open_producer(end, self.returns[peer], RETURN_BYTES) == 0

    @staticmethod
    def open_producer(end: CData, region: Region, slot_bytes: int) -> int:
        return int(lib.nt_producer_open(end, region.base, region.size, slot_bytes))

    def context(self, wire: WireEnd | None = None, device_fd: int = -1) -> ServerContext:
        self.generation += 1
        own = Pool(self.pool.memory, OWN_REGION)
        # A neighbour that sleeps, so that marked bells can be seen.
        status = self.neighbour_status.memory
        ip = Neighbour("ip", status, status.address + 128, -1)
        channels = tuple(
            Channels(
                peer,
                out=self.to_ip.memory if peer == "ip" else None,
                into=self.from_ip.memory if peer == "ip" else None,
                returns_in=region.memory,
            )
            for peer, region in self.returns.items()
        )
        return ServerContext(
            host=self.name,
            role="driver",
            index=0,
            generation=self.generation,
            recovered=self.generation > 1,
            seed=1,
            status=self.status.memory,
            doorbell=-1,
            arena=self.arena.memory,
            own_pool=own,
            pools=(("driver", own),),
            drivers=("driver",),
            channels=channels,
            neighbours=(ip,),
            net=self.net,
            wire=wire,
            device_fd=device_fd,
            capture=self.capture.memory,
        )

    def boot(self, context: ServerContext) -> None:
        """Start a generation of the driver; a former one is simply forgotten, as by kill -9."""
        self.face: RunningServer = self.spec.create(context)
        self.engine = ffi.cast("struct nt_engine *", self.face.engines[0])
        memory = self.area.memory
        self.face.map_area(AreaMapping(AREA, 6, 8, 1, memory, None, None))
        self.face.start()

    # What IP does.

    def send(
        self,
        inline: bytes = b"",
        *refs: tuple[int, int],
        flags: int = 0,
        gso_size: int = 0,
        l4_offset: int = 0,
        **changes: int,
    ) -> None:
        """Push a frame: inline bytes, then (offset, length) pieces of the program's area."""
        desc = ffi.new("struct nt_desc *")
        desc.kind = FRAME
        desc.flags = flags
        desc.gso_size = gso_size
        desc.l4_offset = l4_offset
        desc.inline_len = len(inline)
        desc.ref_count = len(refs)
        assert len(inline) <= 136
        ffi.memmove(desc.data, inline, len(inline))
        for i, (offset, length) in enumerate(refs):
            desc.ref[i].region = AREA_REGION
            desc.ref[i].offset = offset
            desc.ref[i].len = length
        self.push(desc, **changes)

    def fence(self, source: int, number: int) -> None:
        desc = ffi.new("struct nt_desc *")
        desc.kind = FENCE
        self.push(desc, tag=source, arg=number)

    def push(self, desc: CData, **changes: int) -> None:
        desc.check = desc_check(self.down.page.tail)
        for name, value in changes.items():
            setattr(desc, name, value)
        assert lib.nt_producer_push(self.down, desc)

    # What IP, TCP and UDP do with what comes up.

    def take(self) -> list[Received]:
        """Take all frames handed up, without giving back their buffers."""
        frames = []
        desc = ffi.new("struct nt_desc *")
        while True:
            index = self.up.head
            if not lib.nt_consumer_pop(self.up, desc):
                return frames
            assert desc.kind == FRAME
            assert desc.ref_count == 1
            assert desc.check == desc_check(index)
            ref = desc.ref[0]
            assert ref.region == OWN_REGION
            data = lib.nt_pool_read(self.view, ffi.addressof(desc, "ref")[0])
            assert data != ffi.NULL, "a stale or malformed reference came up"
            buffer = lib.nt_pool_buffer_at(self.view, ref.offset, ref.len)
            copy = bytes(ffi.buffer(data, ref.len))
            frames.append(
                Received(
                    copy,
                    desc.flags,
                    desc.gso_size,
                    desc.l4_offset,
                    buffer,
                    ref.use,
                    (desc.flow_hash, desc.arg),
                )
            )

    def give_back(self, frame: Received, by: str = "tcp0", **changes: int) -> None:
        ret = ffi.new("struct nt_return *")
        ret.buffer, ret.use, ret.region = frame.buffer, frame.use, OWN_REGION
        for name, value in changes.items():
            setattr(ret, name, value)
        assert lib.nt_producer_push(self.back[by], ret)

    def receive(self) -> list[bytes]:
        """Take all frames handed up, and give back their buffers."""
        frames = self.take()
        for frame in frames:
            self.give_back(frame)
        return [frame.data for frame in frames]

    # What an observer does.

    def observe(self) -> None:
        """Ask for all frames from now on; `observed` has them."""
        self.observer = ffi.new("struct nt_capture_reader *")
        base, size = self.capture.base, self.capture.size
        assert lib.nt_capture_reader_open(self.observer, base, size) == 0
        lib.nt_capture_renew(self.observer, self.now_ns, 2**63, 0)

    def observed(self) -> list[tuple[int, int, bytes]]:
        """Direction, time and bytes of each frame since the last call."""
        found = []
        record = ffi.new("struct nt_capture_record *")
        out = ffi.new("char[]", 70_000)
        while lib.nt_capture_next(self.observer, record, out, 70_000):
            data = bytes(ffi.buffer(out, record.captured_bytes))
            found.append((record.direction, record.time_ns, data))
        return found

    # The engine.

    def step(self) -> int:
        work = int(self.engine.step(self.engine.context, self.now_ns, BUDGET))
        bells = self.engine.bells
        self.rung |= {bells.marked[i] for i in range(bells.marked_count)}
        bells.marked_count = 0
        for i in range(2):
            bells.bell[i].marked = 0
        self.audit()
        return work

    def take_rung(self) -> set[int]:
        """Bells that steps have marked since this was last asked: IP's is 0, the peer's 1."""
        rung, self.rung = self.rung, set()
        return rung

    def audit(self) -> None:
        why = ffi.new("char[256]")
        assert self.engine.audit(self.engine.context, why, 256) == 0, ffi.string(why).decode()

    def deadline(self) -> int:
        return int(self.engine.next_deadline(self.engine.context))

    def has_work(self) -> bool:
        return bool(self.engine.has_work(self.engine.context))

    def count(self, name: str) -> int:
        status = ffi.cast("struct nt_status *", self.status.base)
        return int(status.counter[self.spec.counters.index(name)])

    def fence_seen(self, source: int) -> int:
        return int(ffi.cast("struct nt_status *", self.status.base).fence[source])


def desc_check(index: int) -> int:
    return ((index * 2654435761) & 0xFFFFFFFF) ^ 0x6E746F73


NO_EMULATION = Emulation(0, 0, 0, 0, 0, 0, 0)


class Link:
    """Two hosts and a wire between them."""

    def __init__(self, emulation: Emulation = NO_EMULATION, **pool_shape: int) -> None:
        self.emulation = emulation
        self.hosts = [Host(name, wire_face.SERVER, **pool_shape) for name in ("a", "b")]
        self.frames = [channel(DESC_BYTES) for _ in self.hosts]  # by sender
        self.grants = [channel(RETURN_BYTES) for _ in self.hosts]  # by lender
        self.reboot()

    @property
    def a(self) -> Host:
        return self.hosts[0]

    @property
    def b(self) -> Host:
        return self.hosts[1]

    def reboot(self, *which: int) -> None:
        """Start both engines, or those given, anew from their memory."""
        for me in which or (0, 1):
            self.hosts[me].boot(self.hosts[me].context(self.end(me)))

    def end(self, me: int) -> WireEnd:
        peer = 1 - me
        other = self.hosts[peer]
        seeded = {name: getattr(self.emulation, name) for name in Emulation.__slots__}
        seeded["seed"] += me
        status = other.status.memory
        return WireEnd(
            name="lan",
            side=me,
            emulation=Emulation(**seeded),
            channels=Channels(
                other.name,
                out=self.frames[me].memory,
                into=self.frames[peer].memory,
                returns_out=self.grants[me].memory,
                returns_in=self.grants[peer].memory,
            ),
            peer_pool=Pool(other.pool.memory, 0),
            peer=Neighbour("driver", status, status.address + 128, -1),
        )

    def settle(self, limit: int = 200) -> None:
        """Step both engines until neither finds anything to do now."""
        for _ in range(limit):
            if self.a.step() + self.b.step() == 0:
                return
        raise AssertionError("the engines don't come to rest")

    def pass_time(self, until_ns: int) -> None:
        """Go from deadline to deadline up to a time."""
        while True:
            self.settle()
            deadline = min(self.a.deadline(), self.b.deadline(), until_ns)
            for host in self.hosts:
                host.now_ns = max(host.now_ns, deadline)
            if deadline >= until_ns:
                self.settle()
                return

    def check_no_buffer_lost(self) -> None:
        """Every buffer of one host is free there, or held by the other: nothing is under way."""
        self.settle()
        for me, host in enumerate(self.hosts):
            states = buffer_states(host)
            held = held_buffers(self.hosts[1 - me])
            granted = {i for i, (_, state) in states.items() if state == 2}
            assert {i for i, (_, state) in states.items() if state not in (0, 2)} == set()
            assert set(held) == granted
            for i in granted:
                assert held[i] == states[i][0], f"use counts of buffer {i} differ"


def arena_body(host: Host) -> int:
    return int(ffi.cast("struct nt_arena_header *", host.arena.base).body_offset)


def buffer_states(host: Host) -> dict[int, tuple[int, int]]:
    """Use count and state of each of a host's buffers, read from its driver's arena."""
    state = ffi.cast("struct nt_uplink_state *", host.arena.base + arena_body(host))
    count = host.view.small_count + host.view.large_count
    return {i: (state.record[i].use, state.record[i].state) for i in range(count)}


def held_buffers(host: Host) -> dict[int, int]:
    """The peer's buffers that a host may fill, with their use counts (struct nt_wire_state)."""
    at = arena_body(host) + ffi.sizeof("struct nt_uplink_state") + 40
    raw = host.arena.map[at : at + 4096]
    pairs = list(struct.iter_unpack("HH", raw))
    return {i: use for i, (use, held) in enumerate(pairs) if held}


@pytest.fixture
def make_host() -> type[Host]:
    """Makes what is around a driver: call with a name and the driver's ServerSpec."""
    return Host


@pytest.fixture
def make_link() -> Callable[..., Link]:
    """Two hosts and a wire: call with an Emulation, and `small` and `large`, the pools' shape."""
    return Link


@pytest.fixture
def link() -> Link:
    """Two hosts and a wire that does nothing to frames."""
    return Link()


@pytest.fixture
def die_in_child() -> Callable[[Callable[[], None]], bool]:
    """Runs a function in a forked child; True if it was killed, False if it got to its end."""

    def run(play: Callable[[], None]) -> bool:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                play()
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == 9
            return True
        assert os.WEXITSTATUS(status) == 0, "the scenario failed in the child"
        return False

    return run


def inet_sum(data: bytes) -> int:
    """The folded one's complement sum (RFC 1071), big endian."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class TcpFrame:
    """A TCP segment over IPv4 over Ethernet, as IP hands it to a driver."""

    payload_bytes: int
    seq: int = 1
    flags: int = 0x18
    ident: int = 100
    options: bytes = bytes.fromhex("0101080a1122334455667788")
    source: bytes = bytes([10, 0, 0, 1])
    target: bytes = bytes([10, 0, 0, 2])

    def header(self) -> bytes:
        """Headers with a complete IP checksum and a partial TCP checksum."""
        l4 = 20 + len(self.options)
        total = 20 + l4 + self.payload_bytes
        ends = self.source + self.target
        ip = struct.pack(">BBHHHBBH", 0x45, 0, total, self.ident, 0x4000, 64, 6, 0) + ends
        ip = ip[:10] + struct.pack(">H", ~inet_sum(ip) & 0xFFFF) + ip[12:]
        pseudo = inet_sum(self.source + self.target + struct.pack(">HH", 6, total - 20))
        tcp = struct.pack(
            ">HHIIBBHHH", 1000, 80, self.seq, 77, l4 // 4 << 4, self.flags, 512, pseudo, 0
        )
        return b"\x02" * 12 + b"\x08\x00" + ip + tcp + self.options


@dataclass(frozen=True)
class Segment:
    """What a received TCP frame says; see `parse_tcp`."""

    seq: int
    flags: int
    ident: int
    payload: bytes
    ip_sum_right: bool
    tcp_sum_right: bool


def parse_tcp(data: bytes, *, partial: bool = False) -> Segment:
    """Take a frame apart, whatever is in it."""
    ip, tcp = data[14:34], data[34:]
    total = struct.unpack(">H", ip[2:4])[0]
    pseudo = ip[12:20] + struct.pack(">HH", 6, len(tcp))
    seq = struct.unpack(">I", tcp[4:8])[0]
    right = inet_sum(pseudo) == struct.unpack(">H", tcp[16:18])[0]
    if not partial:
        right = inet_sum(pseudo + tcp) == 0xFFFF
    return Segment(
        seq,
        tcp[13],
        struct.unpack(">H", ip[4:6])[0],
        tcp[(tcp[12] >> 4) * 4 :],
        inet_sum(ip) == 0xFFFF and total == len(data) - 14,
        right,
    )


@pytest.fixture
def tcp_frame() -> type[TcpFrame]:
    """Makes TCP frames."""
    return TcpFrame


@pytest.fixture
def parse() -> Callable[..., Segment]:
    """Takes a TCP frame apart and verifies its checksums."""
    return parse_tcp
