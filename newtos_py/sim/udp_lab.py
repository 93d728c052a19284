"""The UDP engine between neighbours and programs that a test plays, in virtual time.

`lab.program()` attaches one; its sockets are written and read exactly as the shim does it. IP is
played too: `lab.sent()` answers what UDP has handed down, `lab.deliver(...)` hands packets up.
"""

import ipaddress
import struct
from dataclasses import dataclass

from newtos_py.kernel._kernel import ffi as kernel_ffi
from newtos_py.kernel._kernel import lib as kernel
from newtos_py.kernel.server import (
    UDP,
    AreaMapping,
    Channels,
    InterfaceConfig,
    LocalAddress,
    NetConfig,
    RouteConfig,
    ServerContext,
)
from newtos_py.net.addr import pack, pack_prefix, unpack
from newtos_py.servers.udp.face import SERVER, UdpServer
from newtos_py.sim import packets
from newtos_py.sim.packets import Ipv4
from newtos_py.sim.world import (
    DESC_BYTES,
    RETURN_BYTES,
    Consumer,
    Desc,
    EngineRunner,
    PoolPlayer,
    Producer,
    Ref,
    Return,
    World,
    neighbour,
)

PACKET, SEGMENT, ICMP_ERROR, FENCE, REQUEST, REPLY = 2, 3, 4, 5, 6, 7
CSUM_PARTIAL, CSUM_VALID, LOOPBACK = 1, 2, 4
OUR, PEER, BROADCAST = "10.0.0.2", "10.0.0.3", "10.0.0.255"
ANY = "0.0.0.0"
SLOTS = 6
# What snapshots keep of each slot's data: tests send no more than that.
KEPT_DATA = 65536
BIND, AREA_DEAD, AREA_NEW, LISTEN = 1, 4, 5, 2
_REQUEST = struct.Struct("=IHHIIIIII16sHHI")
_DGRAM = struct.Struct("=II16sHHI16sBBHIII")
REUSEADDR, REUSEPORT, V6ONLY, BROADCAST_OK = 16, 32, 64, 128
Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """A datagram as IP finds it: addresses from the segment's meta, ports from its header."""

    src: Endpoint
    dst: Endpoint
    payload: bytes
    referenced: bool
    ttl: int
    df: int


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram as a program finds it in its ring."""

    payload: bytes
    peer: Endpoint
    local: str


@dataclass(frozen=True, slots=True)
class Reply:
    """struct nt_request, as UDP answered it."""

    number: int
    kind: int
    area: int
    error: int
    addr: str
    port: int
    slot: int = 0
    generation: int = 0


class Socket:
    """A datagram socket of a played program, by the rules of area.h."""

    def __init__(self, program: "Program", slot: int, *, moved: bool = False) -> None:
        self.program = program
        self.lab = program.lab
        self.slot = slot
        self.own = program.view.slot_program[slot]
        self.server = program.view.slot_server[slot]
        self.generation = int(self.server.generation)
        self.offset = 4096
        self.errors_taken = int(self.server.error)
        if not moved:  # its block is another's
            self._enter()

    def _enter(self) -> None:
        old = int(self.own.generation)
        kernel_ffi.memmove(
            kernel_ffi.addressof(self.own), bytes(kernel_ffi.sizeof("struct nt_slot_program")), 128
        )
        self.own.control = 16
        self.own.request = self.server.reply
        self.own.generation = old
        self.own.generation = self.generation

    def bind(self, addr: str = ANY, port: int = 0, options: int = 0) -> Reply:
        """Ask the syscall server, which asks UDP."""
        self.own.options |= options
        return self.lab.request(
            BIND, self.program.number, slot=self.slot, generation=self.generation,
            options=int(self.own.options), to=(addr, port),
        )  # fmt: skip

    def bound(self, addr: str = ANY, port: int = 0, options: int = 0) -> "Socket":
        """Bind; fails if that does."""
        assert self.bind(addr, port, options).error == 0
        return self

    def send(
        self, payload: bytes, to: Endpoint | None = None, ttl: int = 0, source: str = "::"
    ) -> None:
        """Put a datagram into the ring and tell the server."""
        ring = kernel_ffi.cast("char *", self.program.view.tx_data) + _data_at(self.slot)
        tail = int(self.own.tx_tail)
        assert tail - self.server.tx_head < 64, "the ring is full"
        if tail == self.server.tx_head:
            self.offset = 4096
        kernel_ffi.memmove(ring + self.offset, payload, len(payload))
        addr, port = (pack(to[0]), to[1]) if to else (bytes(16), 0)
        room = max(64, -(-len(payload) // 64) * 64)
        dgram = _DGRAM.pack(
            self.offset, len(payload), addr, port, 0, 0, pack(source), ttl, 0, 0,
            self.offset + room, 0, 0,
        )  # fmt: skip
        kernel_ffi.memmove(ring + 64 * (tail % 64), dgram, 64)
        self.offset += room
        self.own.tx_tail = (tail + 1) & 0xFFFFFFFF
        self.tell()

    def tell(self) -> None:
        """Set the activity bit."""
        kernel.nt_face_set_activity(self.program.view, self.slot)

    def connect(self, to: Endpoint | None) -> int:
        """Set or clear the peer; the errno."""
        self.own.target.addr = pack(to[0]) if to else bytes(16)
        self.own.target.port = to[1] if to else 0
        self.own.request = ((((int(self.own.request) >> 8) + 1) << 8) | 1) & 0xFFFFFFFF
        self.tell()
        self.lab.run()
        assert self.server.reply == self.own.request
        return int(self.server.reply_errno)

    def receive(self) -> list[Received]:
        """Take all datagrams there are."""
        self.lab.run()
        ring = kernel_ffi.cast("char *", self.program.view.rx_data) + _data_at(self.slot)
        found = []
        while self.own.rx_head != self.server.rx_tail:
            at = ring + 64 * (self.own.rx_head % 64)
            offset, size, addr, port, _, _, local, *_ = _DGRAM.unpack(kernel_ffi.buffer(at, 64))
            payload = bytes(kernel_ffi.buffer(ring + offset, size))
            found.append(Received(payload, (unpack(addr), port), unpack(local)))
            self.own.rx_head = (self.own.rx_head + 1) & 0xFFFFFFFF
        return found

    def error(self) -> int:
        """The pending error, once."""
        self.lab.run()
        error = int(self.server.error)
        if error == self.errors_taken:
            return 0
        self.errors_taken = error
        return error & 0xFFFF

    def name(self) -> Endpoint:
        """getsockname()."""
        return unpack(bytes(self.server.local.addr)), int(self.server.local.port)

    def close(self) -> None:
        """Say that nobody will look here again."""
        self.own.control |= 4
        self.tell()


def _data_at(slot: int) -> int:
    """Where a slot's datagrams are, in the data of either side."""
    return kernel.NT_AREA_LARGE_OFFSET + slot * kernel.NT_RING_RESERVE


class Program:
    """A program with an attached area."""

    def __init__(self, lab: "UdpLab", number: int, slots: int = SLOTS) -> None:
        self.slots = slots
        self.lab = lab
        self.number = number
        data = [
            (kernel.NT_AREA_PROGRAM_DATA_OFFSET + _data_at(slot), KEPT_DATA)
            for slot in range(slots)
        ]
        rx_data = [
            (kernel.NT_AREA_SERVER_DATA_OFFSET + _data_at(slot), KEPT_DATA) for slot in range(slots)
        ]
        heads = [(0, 4096), (20480, slots * 128)]
        rx_heads = [(0, 36864 + slots * 128)]
        world = lab.world
        self.program = world.region(kernel.nt_area_program_bytes(slots), heads + data)
        self.server = world.region(kernel.nt_area_server_bytes(slots), rx_heads + rx_data)
        self.hint = world.region(kernel.nt_area_hint_bytes())
        program, server, hint = (
            kernel_ffi.cast("void *", part.address)
            for part in (self.program, self.server, self.hint)
        )
        kernel.nt_area_format(program, server, hint, slots, UDP)
        self.view = kernel_ffi.new("struct nt_area *")
        assert kernel.nt_area_open(self.view, program, server, hint, slots) == 0
        self.mapping = AreaMapping(
            number, UDP, slots, 1000 + number, self.program, self.server, self.hint
        )
        lab.programs[number] = self
        lab.server.map_area(self.mapping)
        assert lab.request(AREA_NEW, number, arg=1000 + number).error == 0

    def socket(self) -> Socket:
        """Take the next granted slot."""
        header = self.view.server
        head = self.view.program.grant_head
        if head == header.grant_tail:
            self.view.hints.activity = 1
            self.lab.run()
        assert head != header.grant_tail, "no slot was granted"
        slot = header.grant[head % 8192]
        self.view.program.grant_head = head + 1
        assert self.view.slot_server[slot].state == 1, "granted, but not in that state"
        return Socket(self, slot)

    def ready(self, queue: int = 0) -> set[int]:
        """Slots whose ready bit was set; clears them."""
        ready = self.view.ready[queue]
        bits = int(ready.bitmap[0])
        ready.bitmap[0] = 0
        return {slot for slot in range(self.slots) if bits >> slot & 1}


class UdpLab:
    """The engine with IP, the syscall server and one driver's pool around it."""

    def __init__(self, drivers: int = 1) -> None:
        self.world = World(2 << 30)
        self.roles = ("wire.lan", "tap")[:drivers]
        self.arena = self.world.region(SERVER.arena_bytes)
        self.status = self.world.status()
        self.ip_pool = self.world.pool(32, 4, 1)
        self.driver_pools = [self.world.pool(32, 4, 2 + i) for i in range(drivers)]
        owners = [(self.ip_pool, 32, 4), *((pool, 32, 4) for pool in self.driver_pools)]
        self.owners = [PoolPlayer(self.world, *owner) for owner in owners]
        self.memory = {
            name: self.world.channel(DESC_BYTES)
            for name in ("from_ip", "to_ip", "from_syscall", "to_syscall")
        }
        self.returns_memory = [self.world.channel(RETURN_BYTES) for _ in range(1 + drivers)]
        self.neighbours = [neighbour(self.world, role) for role in (*self.roles, "ip", "syscall")]
        self.returns = [Consumer(memory, RETURN_BYTES) for memory in self.returns_memory]
        self.ip_in = Producer(self.memory["from_ip"])
        self.ip_out = Consumer(self.memory["to_ip"])
        self.syscall_in = Producer(self.memory["from_syscall"])
        self.syscall_out = Consumer(self.memory["to_syscall"])
        self.programs: dict[int, Program] = {}
        self.requests = 0
        self.fences: list[int] = []
        self.hold_fences = False
        self.runner = EngineRunner(self.world, self._create, self._inject)
        self.runner.boot()

    def program(self, number: int | None = None, slots: int = SLOTS) -> Program:
        """A program attaches."""
        return Program(self, len(self.programs) if number is None else number, slots)

    def run(self, after_ms: float = 0) -> None:
        """Let time pass, then the engine come to rest."""
        self.runner.run(after_ms)
        for owner, returns in zip(self.owners, self.returns, strict=True):
            for ret in returns.pop_returns():
                assert owner.give_back(ret), "a stale return"

    def request(
        self,
        kind: int,
        area: int,
        *,
        slot: int = 0,
        generation: int = 0,
        options: int = 0,
        to: Endpoint = (ANY, 0),
        arg: int = 0,
        number: int | None = None,
    ) -> Reply:
        """What the syscall server asks; the reply."""
        (reply,) = self.post(
            kind, area, slot=slot, generation=generation, options=options, to=to, arg=arg,
            number=number,
        )  # fmt: skip
        return reply

    def post(
        self,
        kind: int,
        area: int,
        *,
        slot: int = 0,
        generation: int = 0,
        options: int = 0,
        to: Endpoint = (ANY, 0),
        arg: int = 0,
        number: int | None = None,
    ) -> list[Reply]:
        """Post a request; whatever replies come now."""
        self.push_request(
            kind, area, slot=slot, generation=generation, options=options, to=to, arg=arg,
            number=number,
        )  # fmt: skip
        return self.replies()

    def push_request(
        self,
        kind: int,
        area: int,
        *,
        slot: int = 0,
        generation: int = 0,
        options: int = 0,
        to: Endpoint = (ANY, 0),
        arg: int = 0,
        number: int | None = None,
    ) -> None:
        """Post a request and leave the engine at rest."""
        if number is None:
            self.requests += 1
            number = self.requests
        data = _REQUEST.pack(
            number, kind, area, slot, generation, arg, options, 0, 0, pack(to[0]), to[1], 0, 0
        )
        assert self.syscall_in.push(Desc(REQUEST, data))

    def replies(self) -> list[Reply]:
        """Replies to the syscall server."""
        self.run()
        found = []
        for desc in self.syscall_out.pop_all():
            assert desc.kind == REPLY
            number, kind, area, slot, generation, _, _, error, _, addr, port, _, _ = (
                _REQUEST.unpack(desc.data)
            )
            reply = Reply(number, kind, area, error, unpack(addr), port, slot, generation)
            found.append(reply)
        return found

    def descriptors(self) -> list[Desc]:
        """What UDP handed to IP; fences are passed unless `hold_fences`."""
        self.run()
        descs = self.ip_out.pop_all()
        for desc in descs:
            if desc.kind == FENCE:
                self.fences.append(desc.arg)
        if not self.hold_fences:
            self.pass_fences()
        return [desc for desc in descs if desc.kind == SEGMENT]

    def pass_fences(self) -> None:
        """Every driver publishes the highest fence so far."""
        if not self.fences:
            return
        for each in self.neighbours[: len(self.roles)]:
            self.world.write(each.status, 192 + 8 * 8, struct.pack("=Q", max(self.fences)))

    def sent(self) -> list[Sent]:
        """The datagrams UDP handed to IP; checks what IP relies on."""
        return [self._datagram(desc) for desc in self.descriptors() if desc.data[32] == packets.UDP]

    def icmp_sent(self) -> list[tuple[Endpoint, bytes]]:
        """The ICMP messages UDP handed to IP: to whom, and their bytes."""
        return [
            ((unpack(desc.data[16:32]), 0), desc.data[36:])
            for desc in self.descriptors()
            if desc.data[32] == packets.ICMP
        ]

    def deliver(
        self, payload: bytes, dst: Endpoint, src: Endpoint = (PEER, 4000), *, flags: int = 0,
        owner: int = 1, corrupt: bool = False, flow_hash: int = 7,
    ) -> None:  # fmt: skip
        """Hand a datagram up, as IP does."""
        datagram = packets.udp(src[0], src[1], dst[0], dst[1], payload)
        if corrupt:
            datagram = datagram[:6] + bytes([datagram[6] ^ 0x55]) + datagram[7:]
        self.deliver_packet(
            Ipv4(src[0], dst[0], packets.UDP, datagram),
            flags=flags,
            owner=owner,
            flow_hash=flow_hash,
        )

    def deliver_packet(
        self, packet: Ipv4, *, kind: int = PACKET, flags: int = 0, owner: int = 1,
        flow_hash: int = 7,
    ) -> Ref:  # fmt: skip
        """Hand a packet up."""
        ref = self.owners[owner].put(packets.ipv4(packet))
        assert self.ip_in.push(
            Desc(kind, refs=(ref,), flags=flags, l4_offset=20, flow_hash=flow_hash)
        )
        return ref

    def deliver_ipv6(self, payload: bytes, dst: Endpoint, src: Endpoint) -> None:
        """Hand up a datagram that the host has sent to itself."""
        header = struct.pack(">HHHH", src[1], dst[1], 8 + len(payload), 0)
        packet = packets.ipv6(src[0], dst[0], packets.UDP, header + payload)
        flags = LOOPBACK | CSUM_VALID
        ref = self.owners[0].put(packet)
        assert self.ip_in.push(Desc(PACKET, refs=(ref,), flags=flags, l4_offset=40))

    def counter(self, name: str) -> int:
        """A counter of the status page."""
        offset = 192 + 8 * 16 + 8 * SERVER.counters.index(name)
        return int(struct.unpack("=Q", self.world.read(self.status, offset, 8))[0])

    def _datagram(self, desc: Desc) -> Sent:
        src, dst = unpack(desc.data[:16]), unpack(desc.data[16:32])
        ttl, _, df = desc.data[33:36]
        header = desc.data[36:44]
        payload = desc.data[44:]
        for ref in desc.refs:
            area = self.programs[ref.region - 16].program
            payload += self.world.read(area, ref.offset, ref.len)
        sport, dport, length, partial = struct.unpack(">HHHH", header)
        assert length == 8 + len(payload)
        assert desc.flags & CSUM_PARTIAL
        pseudo = packets.checksum(packets.pseudo_header(src, dst, packets.UDP, length))
        assert partial == ~pseudo & 0xFFFF, "the pseudo-header's sum"
        return Sent((src, sport), (dst, dport), payload, bool(desc.refs), ttl, df)

    def _inject(self, crash_at: int, crash: int) -> None:
        self.server.inject(crash_at, crash)

    def _create(self, recovered: bool) -> int:
        self.server = UdpServer(self._context(recovered))
        for program in self.programs.values():
            self.server.map_area(program.mapping)
        self.server.start()
        return self.server.engines[0]

    def _context(self, recovered: bool) -> ServerContext:
        channels = [
            Channels("ip", self.memory["to_ip"], self.memory["from_ip"],
                     returns_out=self.returns_memory[0]),
            Channels("syscall", self.memory["to_syscall"], self.memory["from_syscall"]),
            *(
                Channels(role, returns_out=memory)
                for role, memory in zip(self.roles, self.returns_memory[1:], strict=True)
            ),
        ]  # fmt: skip
        pools = [("ip", self.ip_pool), *zip(self.roles, self.driver_pools, strict=True)]
        return ServerContext(
            host="web", role="udp", index=0, generation=1, recovered=recovered, seed=42,
            status=self.status, doorbell=-1, arena=self.arena, own_pool=None, pools=tuple(pools),
            drivers=self.roles, channels=tuple(channels), neighbours=tuple(self.neighbours),
            net=_net(len(self.roles)),
        )  # fmt: skip


def _net(drivers: int) -> NetConfig:
    interfaces = (InterfaceConfig(0, "wire.lan", bytes(6), 1500, 65415, csum_tx=True),)
    addresses = (LocalAddress(*pack_prefix(f"{OUR}/24"), 0),)
    routes = (RouteConfig(pack("10.9.0.0"), 96 + 16, pack("10.0.0.1"), 0),)
    return NetConfig(interfaces, addresses, routes) if drivers else NetConfig((), (), ())


__all__ = ["Ipv4", "Program", "Return", "Socket", "UdpLab", "ipaddress"]
