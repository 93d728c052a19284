"""The IP engine between neighbours that a test plays, on plain memory, in virtual time.

Two drivers ("wire.lan" with 10.0.0.2 and 10.0.0.9, "tap" with 10.1.0.2 and the default route), one
TCP server and UDP. `lab.wire.deliver_ip(...)`, `lab.udp.send(...)`; then `lab.wire.packets()` and
`lab.udp.received()` let the engine run and answer what came out.
"""

import itertools
import struct
from dataclasses import dataclass, replace

from newtos_py.kernel.server import (
    AreaMapping,
    Channels,
    InterfaceConfig,
    LocalAddress,
    Memory,
    NetConfig,
    RouteConfig,
    ServerContext,
    SteeringConfig,
)
from newtos_py.net.addr import pack, pack_prefix
from newtos_py.servers.ip import SERVER
from newtos_py.servers.ip._engine import lib
from newtos_py.servers.ip.face import IpServer
from newtos_py.sim import packets
from newtos_py.sim.packets import Arp, Ipv4
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
    pool_buffer,
    with_payload,
)

FRAME, PACKET, SEGMENT, ICMP_ERROR, FENCE, STEER, NOT_MINE = 1, 2, 3, 4, 5, 8, 9
STOLEN, GROUP, GROUPS = 10, 11, 12
IF_YOURS = 256
CSUM_PARTIAL, CSUM_VALID, LOOPBACK = 1, 2, 4

MAC = [bytes.fromhex("020000000001"), bytes.fromhex("020000000002")]
PEER_MAC = bytes.fromhex("0200000000fe")
OUR, PEER = "10.0.0.2", "10.0.0.3"
ADDRESSES = (("10.0.0.2/24", 0), ("10.0.0.9/24", 0), ("10.1.0.2/24", 1))
GATEWAY = "10.1.0.1"
SMALL, LARGE = 48, 12
AREA_BYTES = 1 << 20


class Driver:
    """A driver, played by the test: it delivers frames and sees those that go out."""

    def __init__(self, lab: "IpLab", index: int) -> None:
        self.lab = lab
        self.index = index
        self.pool = lab.world.pool(64, 16, lib.NT_REGION_DRIVER_POOL + index)
        self.owner = PoolPlayer(lab.world, self.pool, 64, 16)
        self.memory = {name: lab.world.channel(DESC_BYTES) for name in ("into", "out")}
        self.returns_memory = lab.world.channel(RETURN_BYTES)
        self.neighbour = neighbour(lab.world, ("wire.lan", "tap")[index])
        self.open()

    def open(self) -> None:
        """Open its ends of the channels."""
        self.to_ip = Producer(self.memory["into"])
        self.from_ip = Consumer(self.memory["out"])
        self.returns = Consumer(self.returns_memory, RETURN_BYTES)

    def deliver(
        self, frame: bytes, flags: int = 0, gso_size: int = 0, nic: tuple[int, int] = (0, 0)
    ) -> Ref:
        """Hand a received frame up; `nic` is its hash and queue (+ 1), as the card says."""
        ref = self.owner.put(frame)
        desc = Desc(
            FRAME, refs=(ref,), flags=flags, gso_size=gso_size, flow_hash=nic[0], arg=nic[1]
        )
        assert self.to_ip.push(desc)
        return ref

    def deliver_ip(
        self,
        packet: bytes,
        dst: bytes | None = None,
        flags: int = 0,
        nic: tuple[int, int] = (0, 0),
    ) -> Ref:
        """Hand a received IP packet up."""
        dst = MAC[self.index] if dst is None else dst
        frame = packets.ethernet(dst, PEER_MAC, packets.ETHERTYPE_IPV4, packet)
        return self.deliver(frame, flags, nic=nic)

    def deliver_arp(self, message: Arp, dst: bytes = packets.BROADCAST_MAC) -> None:
        """Hand a received ARP message up."""
        self.deliver(
            packets.ethernet(dst, message.sender_mac, packets.ETHERTYPE_ARP, packets.arp(message))
        )

    def take_back(self) -> None:
        """Take the buffers that IP returned."""
        for ret in self.returns.pop_returns():
            assert self.owner.give_back(ret), "a stale return"

    def frames(self) -> list[Desc]:
        """What IP has sent down; fences are passed."""
        self.lab.run()
        return self.pass_fences(self.from_ip.pop_all())

    def pass_fences(self, descs: list[Desc]) -> list[Desc]:
        """Note and publish the fences among them; the rest."""
        for desc in descs:
            if desc.kind == FENCE:
                self.lab.fences.append((self.index, desc.tag, desc.arg))
                self.set_fence(desc.tag, desc.arg)
        return [desc for desc in descs if desc.kind == FRAME]

    def set_fence(self, source: int, number: int) -> None:
        """Publish a fence on the status page."""
        status = self.neighbour.status
        offset = 192 + 8 * source
        old = struct.unpack("=Q", self.lab.world.read(status, offset, 8))[0]
        self.lab.world.write(status, offset, struct.pack("=Q", max(old, number)))

    def packets(self) -> list[Ipv4]:
        """The IP packets that went out, in order; ARP is answered or passed over by the test."""
        return [
            packets.parse_ipv4(self.lab.gather(desc)[14:])
            for desc in self.frames()
            if desc.data[12:14] == b"\x08\x00"
        ]

    def arps(self) -> list[Arp]:
        """The ARP messages that went out, in order."""
        return [
            packets.parse_arp(self.lab.gather(desc)[14:])
            for desc in self.frames()
            if desc.data[12:14] == b"\x08\x06"
        ]


class Upper:
    """TCP or UDP, played by the test."""

    def __init__(self, lab: "IpLab", role: str) -> None:
        self.lab = lab
        self.role = role
        self.memory = {name: lab.world.channel(DESC_BYTES) for name in ("into", "out")}
        self.returns_memory = lab.world.channel(RETURN_BYTES)
        self.neighbour = neighbour(lab.world, role)
        # What IP said of flow groups: (group, word), or of a GROUPS message (first, bits).
        self.words: list[tuple[int, int]] = []
        self.whole: dict[int, bytes] = {}
        self.open()

    def open(self) -> None:
        """Open its ends of the channels."""
        self.to_ip = Producer(self.memory["into"])
        self.from_ip = Consumer(self.memory["out"])
        self.returns = Producer(self.returns_memory, RETURN_BYTES)

    def send(
        self,
        dst: str,
        header: bytes,
        payload: bytes = b"",
        *,
        src: str = OUR,
        protocol: int = packets.UDP,
        df: bool = False,
        flags: int = 0,
        gso_size: int = 0,
        split: int | None = None,
    ) -> None:
        """Send a segment; its payload is in a program's area, in two pieces if `split`."""
        meta = struct.pack("=16s16sBBBB", pack(src), pack(dst), protocol, 0, 0, df)
        refs = self.lab.in_area(payload, split)
        desc = Desc(SEGMENT, meta + header, refs, flags, gso_size, l4_offset=36, flow_hash=77)
        assert self.to_ip.push(desc)

    def fence(self, number: int) -> None:
        """Send a fence down."""
        source = lib.NT_FENCE_UDP if self.role == "udp" else lib.NT_FENCE_TCP
        assert self.to_ip.push(Desc(FENCE, tag=source, arg=number))

    def steer(self, peer: str, peer_port: int, port: int, *, here: bool) -> None:
        """Say that a connection of ours is in this lane, or no longer."""
        data = struct.pack("=16s16sHHI", pack(OUR), pack(peer), port, peer_port, here)
        assert self.to_ip.push(Desc(STEER, data))

    def not_mine(self, desc: Desc) -> None:
        """Hand a packet back that came with IF_YOURS, and that no connection here has."""
        assert self.to_ip.push(replace(desc, kind=NOT_MINE))

    def received(self, *, keep: bool = False) -> list[Desc]:
        """What IP has handed up; the buffers go back unless `keep`."""
        self.lab.run()
        descs = self._without_words(self.from_ip.pop_all())
        self.payload = [self.lab.gather(desc) for desc in descs]
        if not keep:
            for desc in descs:
                self.give_back(desc)
        return descs

    def say(self, group: int, word: int) -> None:
        """Say something of a flow group."""
        assert self.to_ip.push(Desc(GROUP, tag=group, arg=word))

    def stolen(self, *by_lane: int) -> None:
        """Say how many connections other lanes took."""
        assert self.to_ip.push(
            Desc(STOLEN, struct.pack("=8I", *by_lane, *[0] * (8 - len(by_lane))))
        )

    def take_words(self) -> list[tuple[int, int]]:
        """What IP has said of flow groups since this was asked: (group, word)."""
        assert self.received() == []
        words, self.words = self.words, []
        return words

    def _without_words(self, descs: list[Desc]) -> list[Desc]:
        for desc in descs:
            if desc.kind == GROUP:
                self.words.append((desc.tag, desc.arg))
            elif desc.kind == GROUPS:
                self.whole[desc.tag] = desc.data
        return [desc for desc in descs if desc.kind not in (GROUP, GROUPS)]

    def give_back(self, desc: Desc) -> None:
        """Return the buffer of a descriptor to its owner."""
        (ref,) = desc.refs
        if ref.region == lib.NT_REGION_IP_POOL:
            buffer = pool_buffer(self.lab.pool, ref)
            assert self.returns.push_return(Return(buffer, ref.use, ref.region))
        else:
            driver = self.lab.drivers[ref.region - lib.NT_REGION_DRIVER_POOL]
            assert driver.owner.give_back(Return(driver.owner.buffer_of(ref), ref.use, ref.region))

    def packets(self) -> list[Ipv4]:
        """The packets that IP has handed up; their buffers go back."""
        self.received()
        return [packets.parse_ipv4(data) for data in self.payload]


@dataclass
class Limits:
    """What both interfaces can do, and whether there is a way to everywhere."""

    mtu: int = 1500
    gso_max: int = 65415
    csum_tx: bool = True
    gateway: bool = True
    lanes: int = 1
    steering: str = "rss"


class IpLab:
    """The engine with two drivers, a TCP server and UDP around it."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.world = World()
        self.pool = self.world.pool(SMALL, LARGE, lib.NT_REGION_IP_POOL)
        self.arena = self.world.region(SERVER.arena_bytes)
        self.status = self.world.status()
        self.area = self.world.region(AREA_BYTES)
        self.area_used = 0
        self.fences: list[tuple[int, int, int]] = []
        self.drivers = [Driver(self, 0), Driver(self, 1)]
        self.lanes = [Upper(self, f"tcp{lane}") for lane in range(self.limits.lanes)]
        self.tcp, self.udp = self.lanes[0], Upper(self, "udp")
        self.runner = EngineRunner(self.world, self._create, self._inject)
        self.runner.boot()

    @property
    def wire(self) -> Driver:
        """The driver of the wire."""
        return self.drivers[0]

    @property
    def tap(self) -> Driver:
        """The driver of the TAP device."""
        return self.drivers[1]

    def run(self, after_ms: float = 0) -> None:
        """Let time pass, then the engine come to rest; drivers take their buffers back."""
        self.runner.run(after_ms)
        for driver in self.drivers:
            driver.take_back()

    def counter(self, name: str) -> int:
        """A counter of the status page."""
        offset = 192 + 8 * 16 + 8 * SERVER.counters.index(name)
        return int(struct.unpack("=Q", self.world.read(self.status, offset, 8))[0])

    def counters(self) -> dict[str, int]:
        """All counters that are not 0."""
        named = {name: self.counter(name) for name in SERVER.counters}
        return {name: value for name, value in named.items() if value}

    def in_area(self, payload: bytes, split: int | None = None) -> tuple[Ref, ...]:
        """References to payload in the program side of area 0."""
        if not payload:
            return ()
        start = self.area_used
        self.area_used = (start + len(payload)) % (AREA_BYTES // 2)
        self.world.write(self.area, start, payload)
        cuts = [0, len(payload)] if split is None else [0, split, len(payload)]
        region = lib.NT_REGION_AREA
        return tuple(Ref(start + a, b - a, region) for a, b in itertools.pairwise(cuts))

    def gather(self, desc: Desc) -> bytes:
        """All bytes of a descriptor."""
        regions = {lib.NT_REGION_IP_POOL: self.pool.memory, lib.NT_REGION_AREA: self.area}
        for driver in self.drivers:
            regions[driver.pool.region] = driver.pool.memory
        return with_payload(desc, self.world, regions)

    def learn(self, mac: bytes = PEER_MAC, ip: str = PEER, driver: int = 0) -> None:
        """Let IP know a neighbour: it asked for us."""
        ours = OUR if driver == 0 else "10.1.0.2"
        self.drivers[driver].deliver_arp(Arp(1, mac, ip, bytes(6), ours))
        self.drivers[driver].frames()

    def buffers_free(self) -> tuple[int, int]:
        """Free small and large buffers of the IP pool, by their use counts."""
        self.run()
        use = struct.unpack(f"={SMALL + LARGE}H", self.world.read(
            self.pool.memory, 4096, 2 * (SMALL + LARGE)
        ))  # fmt: skip
        free = [count % 2 == 0 for count in use]
        return sum(free[:SMALL]), sum(free[SMALL:])

    def _inject(self, crash_at: int, crash: int) -> None:
        self.server.inject(crash_at, crash)

    def _create(self, recovered: bool) -> int:
        self.server = IpServer(self._context(recovered))
        program = Memory(self.area.address, self.area.bytes)
        self.server.map_area(AreaMapping(0, packets.UDP, 8, 1, program, None, None))
        self.server.start()
        return self.server.engines[0]

    def _context(self, recovered: bool) -> ServerContext:
        channels = [
            Channels(driver.neighbour.role, driver.memory["out"], driver.memory["into"],
                     returns_out=driver.returns_memory)
            for driver in self.drivers
        ] + [
            Channels(upper.role, upper.memory["out"], upper.memory["into"],
                     returns_in=upper.returns_memory)
            for upper in (*self.lanes, self.udp)
        ]  # fmt: skip
        neighbours = [each.neighbour for each in self.drivers]
        neighbours += [each.neighbour for each in (self.udp, *self.lanes)]
        return ServerContext(
            host="web", role="ip", index=0, generation=1, recovered=recovered, seed=42,
            status=self.status, doorbell=-1, arena=self.arena, own_pool=self.pool,
            pools=(("ip", self.pool), ("wire.lan", self.drivers[0].pool),
                   ("tap", self.drivers[1].pool)),
            drivers=("wire.lan", "tap"), channels=tuple(channels),
            neighbours=tuple(neighbours), net=self._net(),
        )  # fmt: skip

    def _net(self) -> NetConfig:
        limits = self.limits
        interfaces = tuple(
            InterfaceConfig(i, name, MAC[i], limits.mtu, limits.gso_max, limits.csum_tx)
            for i, name in enumerate(("wire.lan", "tap"))
        )
        addresses = tuple(LocalAddress(*pack_prefix(text), i) for text, i in ADDRESSES)
        default = RouteConfig(pack("0.0.0.0"), 96, pack(GATEWAY), 1)
        steering = SteeringConfig(limits.steering, limits.lanes, bytes(range(40)))
        return NetConfig(interfaces, addresses, (default,) if limits.gateway else (), steering)
