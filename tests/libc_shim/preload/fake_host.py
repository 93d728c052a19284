"""A host without a network: the syscall, TCP and UDP servers' ends, played by one Python process.

    python -m fake_host SOCKET

speaks control.h on SOCKET and area.h with every program that attaches. Connections go from one
socket area to another by copying bytes; there are no segments, no losses and no timers. So the
shim can be tested alone, and what it does to a wrong answer can be tried.

Every doorbell is always rung (`sleeping` stays 1), and every turn looks at every slot in use.
"""

import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass, field

from fake_areas import (
    ACCEPTABLE,
    BROKEN,
    CONNECTED,
    LISTENING,
    SLOTS,
    Area,
    Program,
    Slot,
    map_whole,
    memfd,
    read_only,
)
from fake_shares import LARGE, LEAVE, RESERVE, RING_LOG2, STATE, TAKE, TOKEN, Asked, Shares, ring_at
from newtos_py.libc_shim.sockets._sockets import ffi, lib

RX_FIN, TX_DONE, BOUND, PEER_SET = 1, 2, 4, 8
SHUT_RD, SHUT_WR, CLOSE, RESET, TAKEN = 1, 2, 4, 8, 16
REUSEADDR, REUSEPORT, V6ONLY = 16, 32, 64
HELLO, ATTACH, QUEUE, BIND, LISTEN, RESOLVE, IFADDRS, UNLISTEN = range(1, 9)
TCP, UDP = 6, 17
MESSAGE = struct.Struct("=IHHIIIIIIII16sHHIIIII48s3968s")
MAPPED = bytes(10) + b"\xff\xff"
HOST = "10.0.0.2"
NAMES = {"web": HOST, "client": "10.0.0.3"}


def is_any(address: bytes) -> bool:
    return address in (bytes(16), MAPPED + bytes(4))


def is_ours(address: bytes) -> bool:
    if address == bytes(15) + b"\x01":
        return True
    if not address.startswith(MAPPED):
        return False
    ipv4 = address[12:]
    return ipv4[0] == 127 or socket.inet_ntoa(ipv4) == HOST


@dataclass
class Reply:
    """What goes back over the control connection."""

    address: bytes
    port: int
    error: int = 0
    area: int = 0
    slot: int = 0
    generation: int = 0
    arg: int = 0
    text: bytes = b""
    fds: list[int] = field(default_factory=list)


class Host:
    """All of it."""

    def __init__(self, path: str) -> None:
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server.bind(path)
        self.server.listen(64)
        self.doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.status = memfd(4096)
        self.status_map = mmap.mmap(self.status, 0)
        struct.pack_into("=I", self.status_map, 128, 1)  # sleeping, always
        self.programs: dict[int, Program] = {}
        self.shares = Shares(self)
        self.areas = 0
        self.next_port = 40000
        self.poll = select.poll()
        for fd in (self.server.fileno(), self.doorbell):
            self.poll.register(fd, select.POLLIN)

    # -- Names --

    def slots(self, protocol: int) -> list[Slot]:
        return [
            slot
            for program in self.programs.values()
            if protocol in program.areas
            for slot in list(program.areas[protocol].used.values())
        ]

    def port(self) -> int:
        self.next_port = self.next_port + 1 if self.next_port < 60000 else 40000
        return self.next_port

    def bound(self, protocol: int, address: bytes, port: int) -> Slot | None:
        """The listener or datagram socket at that name."""
        for slot in self.slots(protocol):
            wanted = slot.ring is not None if protocol == TCP else slot.valid and not slot.closed
            if not wanted or slot.port != port:
                continue
            exact = slot.address == address
            wild = slot.address == MAPPED + bytes(4) and address.startswith(MAPPED)
            if exact or wild or (slot.address == bytes(16) and not slot.options & V6ONLY):
                return slot
        return None

    def conflicts(self, slot: Slot) -> bool:
        def overlap(one: Slot, two: Slot) -> bool:
            if one.options & V6ONLY and two.address.startswith(MAPPED):
                return False
            return one.address == two.address or is_any(one.address)

        for other in self.slots(slot.area.protocol):
            if other is slot or other.port != slot.port or other.peer or other.closed:
                continue
            reuse = slot.options & other.options
            allowed = reuse & REUSEPORT or (reuse & REUSEADDR and other.ring is None)
            if not allowed and (overlap(slot, other) or overlap(other, slot)):
                return True
        return False

    # -- Control --

    def request(self, program: Program) -> None:  # noqa: PLR0912 (a branch a kind)
        assert program.control is not None
        # Tokens' messages come with who sent them; the room is for both.
        data, fds, _, _ = socket.recv_fds(program.control, 4096, 72)
        if not data:
            self.leave(program)
            return
        (magic, version, kind, sent_number, _, protocol, _, slot_number, generation, arg, options,
         address, port, _, _, text_bytes, _, nth, _, _, text) = MESSAGE.unpack(data)  # fmt: skip
        area = program.areas.get(protocol)
        slot = area.used.get(slot_number) if area is not None else None
        reply = Reply(address=address, port=port, slot=slot_number, generation=generation)
        if kind in (TOKEN, LEAVE, STATE, TAKE):
            self.shares.request(program, Asked(kind, arg, options, text[:text_bytes], fds), reply)
        elif kind == ATTACH:
            if nth == 0:
                self.attach(program, protocol, reply)
            else:
                reply.error = errno.ENFILE
        elif kind == QUEUE:
            program.queues[arg] = fds[0]
        elif kind == RESOLVE:
            name = text[:text_bytes].decode()
            reply.text = NAMES.get(name, "").encode()
            reply.error = 0 if name in NAMES else errno.ENOENT
        elif kind == IFADDRS:
            reply.text = f"lo 127.0.0.1/8 0x49 65536\nlan {HOST}/24 0x1043 1500".encode()
        elif kind == HELLO:
            reply.text = b"fake"
        elif slot is None:
            reply.error = errno.EBADF
        elif kind == BIND:
            self.bind(slot, address, port, options, reply)
        elif kind == LISTEN:
            self.listen(slot, arg, reply)
        elif kind == UNLISTEN:
            self.unlisten(slot)
        if sent_number == 0:
            return
        answer = reply.text
        packed = MESSAGE.pack(
            magic, version, kind, sent_number, reply.error, protocol, reply.area, reply.slot,
            reply.generation, reply.arg, options, reply.address, reply.port, 0, 0, len(answer),
            0, 0, 1, b"", answer,
        )  # fmt: skip
        if reply.fds:
            socket.send_fds(program.control, [packed], reply.fds)
        else:
            program.control.send(packed)

    def admit(self, control: socket.socket) -> Program:
        program = self.programs[control.fileno()] = Program(control)
        self.poll.register(control.fileno(), select.POLLIN)
        return program

    def make_parking(self, protocol: int) -> Area:
        """An area of nobody's, for sockets whose program is gone."""
        nobody = self.programs[-protocol] = Program(None)
        nobody.areas[protocol] = Area(nobody, protocol, self.areas)
        self.areas += 1
        return nobody.areas[protocol]

    def attach(self, program: Program, protocol: int, reply: "Reply") -> None:
        made = Area(program, protocol, self.areas)
        self.areas += 1
        program.areas[protocol] = made
        reply.area, reply.arg = made.number, SLOTS
        rw, ro, hint = made.fds
        reply.fds = [rw, read_only(ro), hint, self.doorbell, self.status]

    def bind(self, slot: Slot, address: bytes, port: int, options: int, reply: "Reply") -> None:
        if not is_any(address) and not is_ours(address):
            reply.error = errno.EADDRNOTAVAIL
            return
        slot.address, slot.port, slot.options = address, port or self.port(), options
        if self.conflicts(slot):
            slot.port = 0
            reply.error = errno.EADDRINUSE
            return
        slot.ours.local.addr = address
        slot.ours.local.port = slot.port
        slot.ours.flags |= BOUND
        reply.port = slot.port
        slot.tell()

    def listen(self, slot: Slot, backlog: int, reply: "Reply") -> None:
        if slot.ring is not None:
            return
        entries = 256
        fds = [
            memfd(lib.nt_listener_ring_bytes(entries)),
            memfd(lib.nt_listener_claims_bytes()),
        ]
        slot.memory = [map_whole(fd) for fd in fds]
        raw = [pair[1] for pair in slot.memory]
        lib.nt_listener_format(*raw, entries, backlog)
        ring = ffi.new("struct nt_listener *")
        assert lib.nt_listener_open(ring, *raw, entries) == 0
        slot.ring = ring
        slot.ours.state = LISTENING
        slot.tell()
        reply.arg = entries
        reply.fds = [read_only(fds[0]), fds[1]]

    def unlisten(self, slot: Slot) -> None:
        if slot.ring is None:
            return
        slot.ring.header.closed = 1
        slot.ring = None
        slot.port = 0
        for waiting in slot.waiting:
            self.reset(waiting.peer)
            waiting.area.release(waiting)

    def leave(self, program: Program) -> None:
        self.turn()  # what it did last
        self.shares.bury(program)
        assert program.control is not None
        self.poll.unregister(program.control.fileno())
        del self.programs[program.control.fileno()]
        for slot in list(program.areas[TCP].used.values()) if TCP in program.areas else ():
            if slot.peer is None or slot.peer.dead:
                continue
            if not self.push(slot):
                self.shares.park_unsent(slot)
                continue
            self.finish(slot)
            slot.peer.peer = None
        program.control.close()

    # -- TCP --

    def reset(self, slot: Slot | None, error: int = errno.ECONNRESET) -> None:
        if slot is None or slot.dead or slot.ours.state == BROKEN:
            return
        slot.ours.error = error
        slot.ours.state = BROKEN
        slot.tell()

    def connect(self, slot: Slot) -> None:
        mail, block = slot.theirs, slot.ours
        address, port = bytes(mail.target.addr), mail.target.port
        listener = self.bound(TCP, address, port)
        error = 0 if is_ours(address) else errno.ENETUNREACH
        block.reply_errno = error
        block.reply = mail.request
        made = None
        if error == 0 and listener is not None:
            made = listener.area.hand_out(ACCEPTABLE)
        if made is None:
            block.error = error or errno.ECONNREFUSED
            block.state = BROKEN
            slot.tell()
            return
        slot.peer, made.peer = made, slot
        slot.port = slot.port or self.port()
        local = slot.address if slot.address and not is_any(slot.address) else address
        slot.address = local
        for end, mine, other in ((block, slot.port, port), (made.ours, port, slot.port)):
            end.local.addr, end.local.port = address, mine
            end.remote.addr, end.remote.port = address, other
            end.flags |= BOUND | PEER_SET
        assert listener is not None
        entry = ffi.new("struct nt_accept_entry *")
        entry.area, entry.slot, entry.generation = made.area.number, made.number, made.generation
        entry.offered_to = made.area.number
        entry.peer, entry.local = made.ours.remote, made.ours.local
        header = listener.ring.header
        index = header.tail
        lib.nt_listener_fill(listener.ring, index, entry)
        lib.nt_listener_publish(listener.ring, index + 1)
        listener.tell()
        block.state = CONNECTED
        slot.tell()

    def push(self, slot: Slot) -> bool:
        """Moves what fits from a slot to its peer; True if all is moved."""
        mail, block = slot.theirs, slot.ours
        if not slot.valid:
            return True
        waiting = (mail.tx_tail - block.tx_head) & 0xFFFFFFFF
        if waiting == 0:
            return True
        peer = slot.peer
        if peer is None or peer.dead or peer.closed or peer.ours.state == BROKEN:
            block.tx_head = mail.tx_tail
            slot.tell()
            if peer is not None and not slot.closed:
                self.reset(slot)
            return True
        head = peer.theirs.rx_head if peer.valid else 0
        size = 1 << RING_LOG2
        room = size - ((peer.ours.rx_tail - head) & 0xFFFFFFFF)
        count = min(waiting, room)
        if count == 0:
            return False
        geometry = mail.tx_geometry
        tx_size, base = 1 << (geometry & 0xFF), geometry >> 8
        source = slot.area.view.tx_data + ring_at(slot.number, geometry & 0xFF)
        target = peer.area.view.rx_data + ring_at(peer.number, RING_LOG2)
        done = 0
        while done < count:
            at = (block.tx_head + done - base) % tx_size
            to = (peer.ours.rx_tail + done) % size
            run = min(count - done, tx_size - at, size - to)
            ffi.memmove(target + to, source + at, run)
            done += run
        block.tx_head = (block.tx_head + count) & 0xFFFFFFFF
        peer.ours.rx_tail = (peer.ours.rx_tail + count) & 0xFFFFFFFF
        slot.tell()
        peer.tell()
        return count == waiting

    def finish(self, slot: Slot) -> None:
        if slot.fin_sent:
            return
        slot.fin_sent = True
        slot.ours.flags |= TX_DONE
        slot.tell()
        peer = slot.peer
        if peer is not None and not peer.dead and peer.ours.state != BROKEN:
            peer.ours.flags |= RX_FIN
            peer.tell()

    def tcp_slot(self, slot: Slot) -> None:
        mail, block = slot.theirs, slot.ours
        if not slot.valid:
            return
        if mail.request != block.reply:
            self.connect(slot)
        control = mail.control
        if slot.peer is not None:
            if control & CLOSE and control & RESET:
                self.reset(slot.peer)
                slot.closed = True
            if control & CLOSE and block.rx_tail != mail.rx_head and not slot.closed:
                self.reset(slot.peer)
            done = self.push(slot)
            if done and control & (SHUT_WR | CLOSE):
                self.finish(slot)
            if not control & CLOSE:
                return
            slot.closed = True
            if done:
                slot.area.release(slot)
        elif control & CLOSE:
            if slot.ring is not None:
                self.unlisten(slot)
            slot.closed = True
            slot.area.release(slot)

    # -- UDP --

    def udp_slot(self, slot: Slot) -> None:
        mail, block = slot.theirs, slot.ours
        if not slot.valid:
            return
        if mail.request != block.reply:
            block.remote = mail.target
            slot.datagram_peer = None
            block.flags &= ~PEER_SET
            if mail.target.port:
                slot.datagram_peer = (bytes(mail.target.addr), mail.target.port)
                block.flags |= PEER_SET
                self.name_datagram(slot, bytes(mail.target.addr))
            block.reply_errno = 0
            block.reply = mail.request
            slot.tell()
        moved = False
        while block.tx_head != mail.tx_tail:
            self.send_datagram(slot, block.tx_head)
            block.tx_head = (block.tx_head + 1) & 0xFFFFFFFF
            moved = True
        if moved:
            slot.tell()
        if mail.control & CLOSE:
            slot.closed = True
            slot.area.release(slot)

    def name_datagram(self, slot: Slot, towards: bytes) -> None:
        slot.port = slot.port or self.port()
        slot.address = slot.address or MAPPED + bytes(4)
        slot.ours.local.addr = towards if is_any(slot.address) else slot.address
        slot.ours.local.port = slot.port
        slot.ours.flags |= BOUND

    def send_datagram(self, slot: Slot, cursor: int) -> None:
        dgrams = ffi.cast(
            "struct nt_dgram *", slot.area.view.tx_data + LARGE + slot.number * RESERVE
        )
        dgram = dgrams[cursor % 64]
        address, port = bytes(dgram.peer.addr), dgram.peer.port
        if port == 0 and slot.datagram_peer is not None:
            address, port = slot.datagram_peer
        if not slot.port:
            self.name_datagram(slot, address)
            slot.ours.local.addr = slot.address
        target = self.bound(UDP, address, port) if is_ours(address) else None
        if target is None:
            if slot.datagram_peer is not None:
                slot.ours.error = ((slot.ours.error >> 16) + 1) << 16 | errno.ECONNREFUSED
            return
        block, mail = target.ours, target.theirs
        if (block.rx_tail - mail.rx_head) & 0xFFFFFFFF >= 16:
            return
        base = target.area.view.rx_data + LARGE + target.number * RESERVE
        out = ffi.cast("struct nt_dgram *", base)[block.rx_tail % 64]
        offset = 4096 + (block.rx_tail % 16) * 65536
        source = slot.area.view.tx_data + LARGE + slot.number * RESERVE + dgram.offset
        ffi.memmove(base + offset, source, dgram.len)
        out.offset, out.len = offset, dgram.len
        out.ttl, out.tos = dgram.ttl or 64, dgram.tos
        sender = slot.address if not is_any(slot.address) else address
        out.peer.addr, out.peer.port = sender, slot.port
        out.local_addr = address
        out.next_offset = offset + dgram.len
        block.rx_tail = (block.rx_tail + 1) & 0xFFFFFFFF
        target.tell()

    # -- Running --

    def turn(self) -> None:
        for program in list(self.programs.values()):
            for area in program.areas.values():
                area.view.hints.activity = 0
                step = self.tcp_slot if area.protocol == TCP else self.udp_slot
                for slot in list(area.used.values()):
                    step(slot)
                area.grant()

    def run(self) -> None:
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.doorbell:
                    os.eventfd_read(self.doorbell)
                elif fd == self.server.fileno():
                    self.admit(self.server.accept()[0])
                else:
                    self.request(self.programs[fd])
            self.turn()
            self.turn()


if __name__ == "__main__":
    # Ends with the test that started it.
    ctypes.CDLL(None).prctl(1, 15)
    host = Host(sys.argv[1])
    print("ready", flush=True)
    host.run()
