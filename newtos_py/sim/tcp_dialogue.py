"""The TCP engine alone, in virtual time, spoken to by a test: `send(SYN); expect(SYN | ACK)`.

A `Dialogue` is a host of one TCP engine, with a program that uses the shim's socket layer on one
side and the test, as the network and the syscall server, on the other. A `Peer` is one remote
endpoint; its sequence numbers and the engine's are told and shown relative to either's initial
one, so that the SYN is 0 and the first byte of data is 1.

The engine is audited after each step. With `crash_at=n` it dies at the n-th crash point of
whatever each event makes it do, and is restarted: nothing else may be seen to change, because what
happens inside a host happens exactly once.
"""

import errno
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import InterfaceConfig, LocalAddress, NetConfig, SteeringConfig
from newtos_py.libc_shim.sockets._sockets import ffi as shim
from newtos_py.libc_shim.sockets.program import Area, Program, Queue, Socket
from newtos_py.net import netconf
from newtos_py.net.addr import pack_prefix
from newtos_py.sim import packets
from newtos_py.sim._sim import ffi, lib

# A cffi object.
_C = Any

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
OURS, THEIRS = "10.0.0.2", "10.0.0.3"
MTU = 1500
SHAPE = {"tcbs": 64, "time_waits": 8, "listeners": 8, "binding_pages": 4}
_MASK = (1 << 32) - 1
_MS = 1_000_000
_MSS, _WSCALE, _TIMESTAMPS = 2, 3, 8
_STEPS_MAX = 10_000
# The number of the first program, by which the server knows which areas are of one.
_OWNER = 100


class DialogueError(NewtosError, AssertionError):
    """The engine did not say what the test expected."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment; sequence numbers as the one who made it means them."""

    src_port: int
    dst_port: int
    seq: int
    ack: int
    flags: int
    window: int
    data: bytes = b""
    mss: int | None = None
    wscale: int | None = None
    timestamps: tuple[int, int] | None = None
    gso_size: int = 0
    urgent: int = 0

    def pack(self, src: str, dst: str) -> bytes:
        """The IPv4 packet, checksums included."""
        options = b""
        if self.mss is not None:
            options += struct.pack(">BBH", _MSS, 4, self.mss)
        if self.wscale is not None:
            options += struct.pack(">BBBB", 1, _WSCALE, 3, self.wscale)
        if self.timestamps is not None:
            options += struct.pack(">BBBBII", 1, 1, _TIMESTAMPS, 10, *self.timestamps)
        header = struct.pack(
            ">HHIIBBHHH", self.src_port, self.dst_port, self.seq, self.ack,
            (20 + len(options)) // 4 << 4, self.flags, self.window, 0, self.urgent,
        )  # fmt: skip
        whole = header + options + self.data
        pseudo = packets.pseudo_header(src, dst, packets.TCP, len(whole))
        total = packets.checksum(pseudo + whole)
        whole = whole[:16] + struct.pack(">H", total) + whole[18:]
        return packets.ipv4(packets.Ipv4(src, dst, packets.TCP, whole))

    @classmethod
    def unpack(cls, packet: packets.Ipv4, gso_size: int = 0) -> "Segment":
        """Read a segment; its checksum must be right."""
        whole = packet.payload
        pseudo = packets.pseudo_header(packet.src, packet.dst, packets.TCP, len(whole))
        assert packets.checksum(pseudo + whole) == 0, "TCP checksum"
        src, dst, seq, ack, offset, flags, window, _, urgent = struct.unpack(
            ">HHIIBBHHH", whole[:20]
        )
        header_len = (offset >> 4) * 4
        found = dict(_options(whole[20:header_len]))
        stamps = found.get(_TIMESTAMPS)
        return cls(
            src, dst, seq, ack, flags, window, whole[header_len:],
            int.from_bytes(found[_MSS]) if _MSS in found else None,
            found[_WSCALE][0] if _WSCALE in found else None,
            (int.from_bytes(stamps[:4]), int.from_bytes(stamps[4:])) if stamps else None,
            gso_size, urgent,
        )  # fmt: skip


def _options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    while raw and raw[0] != 0:
        if raw[0] == 1:
            raw = raw[1:]
            continue
        yield raw[0], raw[2 : raw[1]]
        raw = raw[raw[1] :]


def flag_names(flags: int) -> str:
    """For messages: SYN|ACK."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return "|".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"


class Dialogue:
    """One host: engine, program, and the network that a test plays."""

    def __init__(
        self, crash_at: int = 0, gso_max: int = 0, mtu: int = MTU, seed: int = 1,
        *, csum_valid: bool = False, lanes: int = 1, design: int = lib.NT_LISTEN_FINE,
        steering: str = "rss",
    ) -> None:  # fmt: skip
        self.crash_at = crash_at
        # Peers' segments come as from a driver that vouches for their checksums.
        self.arrival_flags = lib.NT_DESC_CSUM_VALID if csum_valid else 0
        # A millisecond count that wraps during the test finds what compares it wrongly.
        self.now_ns = ((1 << 32) - 300) * _MS
        self.crashes = 0
        self._batching = False
        self._step = lib.nt_sim_host_step
        address, bits = pack_prefix(f"{OURS}/24")
        interface = InterfaceConfig(0, "wire", bytes(6), mtu, gso_max, csum_tx=True)
        # This engine is lane 0's.
        self.steering = SteeringConfig(steering, lanes, bytes(range(40)))
        net = NetConfig((interface,), (LocalAddress(address, bits, 0),), (), self.steering)
        conf = ffi.from_buffer(netconf.to_bytes(net))
        config = {"netconf": conf, "netconf_bytes": len(conf), "seed": seed, "shape": SHAPE}
        self.host = ffi.gc(
            lib.nt_sim_host_new(ffi.new("struct nt_sim_host_config *", config)),
            lib.nt_sim_host_free,
        )
        lib.nt_sim_host_set_design(self.host, design)
        self._packet = ffi.new("struct nt_sim_packet *")
        self._heard: dict[tuple[str, int], deque[Segment]] = {}
        self._stray: deque[Segment] = deque()
        self._numbers = iter(range(1, 1 << 30))
        self._listeners = iter(range(4))
        self._regions: dict[Socket, tuple[int, _C]] = {}
        self._late: deque[_C] = deque()
        self._awake = shim.new("uint32_t *")
        self.program = self._attach(0)
        self.queue = Queue(self.program, lib.NT_SIM_QUEUE)
        self.queues = {0: self.queue}
        assert self.request(lib.NT_REQ_AREA_NEW, slot=_OWNER, arg=77).error == 0

    # -- Time and steps --

    def run(self) -> None:
        """Step until the engine has nothing to do now; what it sends is kept for expect()."""
        if self.crash_at:
            lib.nt_sim_host_crash_at(self.host, self.crash_at)
        for _ in range(_STEPS_MAX):
            done = self._step(self.host, self.now_ns, 16)
            if done < 0:
                self.crashes += 1
                self._check(lib.nt_sim_host_restart(self.host, False))
            self._check(lib.nt_sim_host_audit(self.host))
            self._collect()
            if done == 0 and not lib.nt_sim_host_has_work(self.host):
                break
        else:
            raise DialogueError("the engine never comes to rest")
        lib.nt_sim_host_crash_at(self.host, 0)

    def after(self, ms: float) -> None:
        """Let time pass; the engine runs at each of its deadlines on the way."""
        end = self.now_ns + int(ms * _MS)
        self.run()
        while (due := lib.nt_sim_host_deadline(self.host)) <= end:
            self.now_ns = max(due, self.now_ns + 1)
            self.run()
        self.now_ns = end
        self.run()

    @contextmanager
    def counted_steps(self) -> Iterator[None]:
        """The steps taken within go through nt_sim_host_step_counted()."""
        self._step = lib.nt_sim_host_step_counted
        yield
        self._step = lib.nt_sim_host_step

    def restart(self, *, cold: bool = False) -> None:
        """Kill the engine between two steps; `cold`: and take its arena away."""
        self._check(lib.nt_sim_host_restart(self.host, cold))
        self._check(lib.nt_sim_host_audit(self.host))

    def counter(self, name: str) -> int:
        """A counter of the engine, by its name in servers/tcp/engine.h."""
        index = ffi.typeof("enum nt_tcp_counter").relements[f"NT_TCP_{name.upper()}"]
        return lib.nt_sim_host_counter(self.host, index)

    def counted(self, name: str, times: int) -> bool:
        """Whether a counter says so; counters alone may count a batch twice after a crash."""
        found = self.counter(name)
        return found == times or (self.crashes > 0 and found > times)

    # -- The network's side --

    def deliver(self, packet: bytes, kind: int = 0, flags: int = 0) -> None:
        """Hand the engine a packet, and run."""
        kind = kind or lib.NT_DESC_PACKET
        assert lib.nt_sim_host_deliver(self.host, packet, len(packet), flags, kind)
        if self._batching:
            return
        self.run()
        assert lib.nt_sim_host_buffers_out(self.host) == 0, "a buffer was not given back"

    @contextmanager
    def one_batch(self) -> Iterator[None]:
        """What is delivered within reaches the engine in one step."""
        self._batching = True
        yield
        self._batching = False
        self.run()

    def heard(self, src: str, port: int) -> deque[Segment]:
        """What came for a remote port."""
        return self._heard.setdefault((src, port), deque())

    def expect_nothing(self) -> None:
        """Fail if the engine has said anything that no expect() asked for."""
        self.run()
        left = [segment for queue in self._heard.values() for segment in queue]
        if left:
            raise DialogueError(f"nothing was expected, but {left} came")

    def _collect(self) -> None:
        while lib.nt_sim_host_collect(self.host, self._packet):
            raw = bytes(ffi.buffer(self._packet.data, self._packet.len))
            packet = packets.parse_ipv4(raw)
            segment = Segment.unpack(packet, self._packet.gso_size)
            self.heard(packet.dst, segment.dst_port).append(segment)

    def steered(self) -> list[tuple[int, str, int, bool]]:
        """What IP was told of connections since the last look: port, peer, its port, here."""
        self.run()
        steer = ffi.new("struct nt_steer *")
        found = []
        while lib.nt_sim_host_take_steer(self.host, steer):
            peer = str(ip_address(bytes(steer.remote)[12:]))
            found.append((steer.local_port, peer, steer.remote_port, bool(steer.here)))
        return found

    # -- The syscall server's side --

    def request(self, kind: int, number: int = 0, **fields: object) -> _C:
        """Ask the engine as the syscall server does; the answer (struct nt_request)."""
        asked = {"number": number or next(self._numbers), "kind": kind, **fields}
        assert lib.nt_sim_host_push_request(self.host, ffi.new("struct nt_request *", asked))
        self.run()
        reply = ffi.new("struct nt_request *")
        while lib.nt_sim_host_pop_reply(self.host, reply):
            if reply.number == asked["number"]:
                return reply
            self._late.append(ffi.new("struct nt_request *", reply[0]))
        raise DialogueError(f"request {asked} was not answered")

    def reply(self) -> _C:
        """A late answer, or None."""
        if self._late:
            return self._late.popleft()
        reply = ffi.new("struct nt_request *")
        return reply if lib.nt_sim_host_pop_reply(self.host, reply) else None

    # -- The program's side --

    def memory(self, area: int, part: int) -> _C:
        """A writable buffer over a part of an area: 0 program side, 1 server side, 2 hints."""
        size = ffi.new("uint64_t *")
        base = lib.nt_sim_host_area_part(self.host, area, part, size)
        return ffi.buffer(base, size[0])

    def _attach(self, number: int) -> Program:
        return self._attach_to(Program(), number)

    def _attach_to(self, program: Program, number: int) -> Program:
        ours, theirs, hint = (self.memory(number, part) for part in range(3))
        area = Area(ours, theirs, hint, lib.NT_SIM_SLOTS, number)
        program.attach(area, 6, self._awake, -1)
        return program

    def socket(self) -> Socket:
        """A socket of the program."""
        try:
            new = self.program.socket()
        except BlockingIOError:  # the last grant was just taken: the server was told
            self.run()
            new = self.program.socket()
        new.set_queue(lib.NT_SIM_QUEUE)
        return new

    def bind(self, sock: Socket, port: int, address: str = "0.0.0.0") -> int:
        """Bind a socket, through the syscall server; an errno."""
        local = sock.bind_check((address, port))
        ident = sock.identity()
        reply = self.request(
            lib.NT_REQ_BIND, area=ident.area, slot=ident.slot, generation=ident.generation,
            options=ident.options, endpoint={"addr": local.addr, "port": local.port},
        )  # fmt: skip
        if not reply.error:
            sock.bound(type(local)(bytes(reply.endpoint.addr), reply.endpoint.port))
        return int(reply.error)

    def listen(self, port: int, backlog: int = 8) -> Socket:
        """A listening socket of the program."""
        sock = self.socket()
        assert self.bind(sock, port) == 0
        assert self.start_listening(sock, backlog) == 0
        return sock

    def start_listening(self, sock: Socket, backlog: int) -> int:
        """Make a socket listen, through the syscall server; an errno."""
        number = next(self._listeners)
        region = lib.nt_sim_host_listener(self.host, number, backlog)
        ident = sock.identity()
        reply = self.request(
            lib.NT_REQ_LISTEN, area=ident.area, slot=ident.slot, generation=ident.generation,
            options=ident.options, arg=number,
        )  # fmt: skip
        if not reply.error:
            self._regions[sock] = number, region
            self._open_region(sock, region)
        return int(reply.error)

    @staticmethod
    def _open_region(sock: Socket, region: _C) -> None:
        entries = region.entries
        ring = ffi.buffer(ffi.cast("char *", region.header), 4096 + entries * 64)
        claims = ffi.buffer(
            ffi.cast("char *", region.claims), ffi.sizeof("struct nt_listener_claims")
        )
        sock.listening(ring, claims, entries)

    def other_program(self, area: int) -> Program:
        """Another program, with an area of its own."""
        program = self._attach(area)
        self.queues[area] = Queue(program, lib.NT_SIM_QUEUE)
        reply = self.request(lib.NT_REQ_AREA_NEW, area=area, slot=_OWNER + area, arg=77 + area)
        assert reply.error == 0
        return program

    def further_area(self, area: int, of: int = 0) -> None:
        """One more area for the program of area `of`: what the server knows of it."""
        reply = self.request(lib.NT_REQ_AREA_NEW, area=area, slot=_OWNER + of, arg=77 + of)
        assert reply.error == 0

    def map_area(self, program: Program, area: int) -> None:
        """A program maps an area that it was given."""
        self._attach_to(program, area)

    def join(self, sock: Socket, program: Program, area: int) -> Socket:
        """Let another program accept from a listening socket, too."""
        return self.join_region(self.region_number(sock), program, area)

    def join_region(self, number: int, program: Program, area: int) -> Socket:
        """The same, for a listener that is known by its number only."""
        region = next(region for known, region in self._regions.values() if known == number)
        reply = self.request(lib.NT_REQ_JOIN, area=area, arg=number)
        assert reply.error == 0
        joined = program.joined(area, reply.slot, reply.generation)
        joined.set_queue(lib.NT_SIM_QUEUE)
        self._open_region(joined, region)
        self._regions[joined] = number, region
        return joined

    def regions(self) -> list[_C]:
        """The listener regions (struct nt_listener) there have been."""
        return [region for _, region in self._regions.values()]

    def region_number(self, sock: Socket) -> int:
        """The number of a listening socket's region."""
        return self._regions[sock][0]

    def connect(self, sock: Socket, port: int, address: str = THEIRS) -> None:
        """Begin to connect; the SYN is on its way when this returns."""
        try:
            sock.connect((address, port))
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                raise
        self.run()

    def peer(self, port: int, to: int, **settings: _C) -> "Peer":
        """A remote endpoint that speaks with our port `to`."""
        return Peer(self, port, to, **settings)

    def _check(self, why: _C) -> None:
        if why != ffi.NULL:
            raise DialogueError(ffi.string(why).decode())


class Peer:
    """A remote endpoint, played by the test; numbers are relative to the initial ones."""

    def __init__(
        self, dialogue: Dialogue, port: int, to: int, *, isn: int = _MASK - 100,
        address: str = THEIRS,
        mss: int | None = 1460, wscale: int | None = 7, timestamps: bool = True,
    ) -> None:  # fmt: skip
        self.dialogue = dialogue
        self.port = port
        self.to = to
        self.address = address
        self.isn = isn
        # The engine's initial sequence number, once it was seen.
        self.their_isn = 0
        self.mss = mss
        self.wscale = wscale
        self.stamps = timestamps
        # Our clock of timestamps, and the last one heard.
        self.ts_value = 1000
        self.ts_recent = 0
        # The next byte to send, the next expected, the window we offer.
        self.seq = 0
        self.ack = 0
        self.window = 65535

    def send(
        self, flags: int = ACK, data: bytes = b"", *, seq: int | None = None,
        ack: int | None = None, window: int | None = None, ts: int | None = None,
        urgent: int = 0,
    ) -> None:  # fmt: skip
        """Send a segment and let the engine run. In order unless `seq` says otherwise."""
        syn = bool(flags & SYN)
        if seq is None:
            seq = self.seq
            self.seq += len(data) + syn + bool(flags & FIN)
        stamps = None
        if self.stamps:
            stamps = (self.ts_value if ts is None else ts, self.ts_recent)
        acked = self.ack if ack is None else ack
        segment = Segment(
            self.port, self.to, (self.isn + seq) & _MASK,
            (self.their_isn + acked) & _MASK if flags & ACK else 0, flags,
            self.window if window is None else window, data,
            self.mss if syn else None, self.wscale if syn else None, stamps, urgent=urgent,
        )  # fmt: skip
        self.dialogue.deliver(segment.pack(self.address, OURS), flags=self.dialogue.arrival_flags)

    def expect(
        self, flags: int = ACK, data: bytes | int | None = None, *, seq: int | None = None,
        ack: int | None = None, window: int | None = None,
    ) -> Segment:  # fmt: skip
        """The engine's next segment; PSH counts only if it is asked for. Relative numbers.

        `data`: the bytes, or how many; None: none. Moves `self.ack` over what was new.
        """
        self.dialogue.run()
        queue = self.dialogue.heard(self.address, self.port)
        if not queue:
            raise DialogueError(f"{flag_names(flags)} was expected, but nothing came")
        raw = queue.popleft()
        if raw.flags & SYN:
            self.their_isn = raw.seq
        got_seq = (raw.seq - self.their_isn) & _MASK
        got_ack = (raw.ack - self.isn) & _MASK if raw.flags & ACK else 0
        if raw.timestamps is not None:
            self.ts_recent = raw.timestamps[0]
        said = Segment(
            raw.src_port, raw.dst_port, got_seq, got_ack, raw.flags, raw.window, raw.data, raw.mss,
            raw.wscale, raw.timestamps, raw.gso_size, raw.urgent,
        )  # fmt: skip
        ignored = 0 if flags & PSH else PSH
        length = len(raw.data)
        wanted = data if isinstance(data, int) else len(data or b"")
        problems = [
            raw.flags & ~ignored != flags and f"flags {flag_names(flags)}",
            length != wanted and f"{wanted} bytes",
            isinstance(data, bytes) and raw.data != data and "other bytes",
            seq is not None and got_seq != seq and f"seq {seq}",
            ack is not None and got_ack != ack and f"ack {ack}",
            window is not None and raw.window != window and f"window {window}",
        ]
        wrong = [problem for problem in problems if problem]
        if wrong:
            raise DialogueError(f"{', '.join(wrong)} expected, but {_show(said)} came")
        end = got_seq + length + bool(raw.flags & SYN) + bool(raw.flags & FIN)
        if got_seq <= self.ack:
            self.ack = max(self.ack, end)
        return said

    def expect_nothing(self) -> None:
        """Fail if the engine has said anything to this endpoint."""
        self.dialogue.run()
        queue = self.dialogue.heard(self.address, self.port)
        if queue:
            raise DialogueError(f"nothing was expected, but {_show(queue[0])} came")

    def shake_hands(self) -> None:
        """Open a connection to the engine's listening port."""
        self.send(SYN)
        self.expect(SYN | ACK, seq=0, ack=1)
        self.send(ACK)

    def answer_syn(self) -> None:
        """Take part in an opening that the engine began."""
        self.expect(SYN, seq=0)
        self.send(SYN | ACK)
        self.dialogue.after(ms=1.1)
        self.expect(ACK, seq=1, ack=1)


def _show(segment: Segment) -> str:
    data = f" {len(segment.data)} bytes" if segment.data else ""
    return (
        f"{flag_names(segment.flags)} seq {segment.seq} ack {segment.ack} "
        f"window {segment.window}{data}"
    )
