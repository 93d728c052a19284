"""Sockets that several programs hold, in the fake host: tokens, references, moves (control.h).

Everything is done at once and in one process, so a move has one step here instead of request.h's
two. What a program sees is the same.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from newtos_py.libc_shim.sockets._sockets import ffi, lib

if TYPE_CHECKING:
    from fake_areas import Area, Program, Slot
    from fake_host import Host, Reply

TOKEN, LEAVE, STATE, TAKE = 9, 10, 11, 12
MORE, ONLY = 1, 2
LOOK, RECEIVED = 1, 2
SENT = 1
TAKEN_SLOT, TAKEN_LISTENER, TAKEN_PUMPED = 1, 2, 3
ENTRY = struct.Struct("=QIIII")
CLOSE = 4
FROZEN = 32
RESERVE = 4 << 20
LARGE = 8192 << 14
RING_LOG2 = 16


def ring_at(slot: int, log2: int) -> int:
    """Where a byte ring is, in the data of either side."""
    return slot << 14 if log2 <= 14 else LARGE + slot * RESERVE


@dataclass(frozen=True, slots=True)
class Asked:
    """A message."""

    kind: int
    arg: int
    options: int
    text: bytes
    fds: list[int]


@dataclass(eq=False)
class Shared:
    """A socket, and who holds it."""

    slot: "Slot"
    holders: list["Program"] = field(default_factory=list)
    # Who has used it.
    users: list["Program"] = field(default_factory=list)
    # What the shim wants to have kept.
    state: bytes = b""
    # How many of them carry it.
    messages: int = 0


class Shares:
    """All sockets that were ever told of by a TOKEN."""

    def __init__(self, host: "Host") -> None:
        self.host = host
        self.by_inode: dict[int, Shared] = {}
        self.parking: Any = None

    def request(self, program: "Program", asked: Asked, reply: "Reply") -> None:
        if asked.kind == TOKEN:
            self.token(program, asked.arg, asked)
        elif asked.kind == LEAVE:
            (inode, *_) = ENTRY.unpack(asked.text)
            reply.arg = int(self.leave(program, inode))
        elif asked.kind == STATE:
            (inode, *_) = ENTRY.unpack(asked.text[: ENTRY.size])
            self.by_inode[inode].state = asked.text[ENTRY.size :]
            self.by_inode[inode].messages += asked.arg == SENT
        elif asked.kind == TAKE:
            inode = os.fstat(asked.fds[0]).st_ino
            os.close(asked.fds[0])
            if asked.arg in (LOOK, RECEIVED) and inode in self.by_inode:
                self.by_inode[inode].messages -= asked.arg == RECEIVED
                reply.text = self.by_inode[inode].state
                self.hold(program, self.by_inode[inode])
            else:
                self.take(program, inode, reply)

    def token(self, program: "Program", flags: int, asked: Asked) -> None:
        text, fds = asked.text, asked.fds[asked.options :]
        named = [ENTRY.unpack_from(text, at) for at in range(0, len(text), ENTRY.size)]
        for shown, (inode, protocol, _, number, _) in zip(
            asked.fds, named[: asked.options], strict=False
        ):
            assert os.fstat(shown).st_ino == inode
            os.close(shown)
            if inode not in self.by_inode:
                slot = program.areas[protocol].used[number]
                self.by_inode[inode] = Shared(slot, [program], [program])
        if not fds:
            assert flags & MORE
            return
        child = self.host.admit(socket.socket(fileno=fds[0]))
        if len(fds) == 2:
            more = os.pread(fds[1], ENTRY.size << 16, 0)
            named += [ENTRY.unpack_from(more, at) for at in range(0, len(more), ENTRY.size)]
            os.close(fds[1])
        only = {inode for inode, *_ in named}
        for inode, shared in self.by_inode.items():
            if program in shared.holders and (inode in only or not flags & ONLY):
                shared.holders.append(child)

    def hold(self, program: "Program", shared: Shared) -> None:
        if program not in shared.holders:
            shared.holders.append(program)

    def leave(self, program: "Program", inode: int) -> bool:
        """True: the program has it and nobody else holds it."""
        shared = self.by_inode[inode]
        if program in shared.holders:
            shared.holders.remove(program)
        if shared.holders or shared.messages:
            return False
        del self.by_inode[inode]
        if shared.slot.area.program is program:
            return True
        shared.slot.theirs.control |= CLOSE
        return False

    def take(self, program: "Program", inode: int, reply: "Reply") -> None:
        shared = self.by_inode.get(inode)
        if shared is None or program not in shared.holders:
            reply.error = errno.EBADF
            return
        protocol = shared.slot.area.protocol
        self.move(shared, program.areas[protocol])
        if program not in shared.users:
            shared.users.append(program)
        reply.arg = TAKEN_SLOT
        reply.area, reply.slot = shared.slot.area.number, shared.slot.number
        reply.generation = shared.slot.generation

    def bury(self, program: "Program") -> None:
        """A program ends: what others hold lives on."""
        for inode, shared in list(self.by_inode.items()):
            if program not in shared.holders and shared.slot.area.program is not program:
                continue
            self.leave(program, inode)
            if (shared.holders or shared.messages) and shared.slot.area.program is program:
                self.park(shared)

    def park(self, shared: Shared) -> None:
        if self.parking is None:
            self.parking = self.host.make_parking(shared.slot.area.protocol)
        self.move(shared, self.parking)

    def park_unsent(self, slot: "Slot") -> None:
        """A program ends while its last bytes wait."""
        shared = Shared(slot)
        self.park(shared)
        shared.slot.theirs.control |= CLOSE

    def move(self, shared: Shared, area: "Area") -> None:
        old = shared.slot
        if old.area is area:
            return
        new = area.hand_out(old.ours.state)
        assert new is not None
        for name in ("rx_tail", "tx_head", "rx_geometry", "flags", "error", "local", "remote",
                     "reply_errno"):  # fmt: skip
            setattr(new.ours, name, getattr(old.ours, name))
        new.ours.reply = old.theirs.request
        cursors = ffi.new("struct nt_slot_cursors *")
        lib.nt_slot_freeze(ffi.addressof(old.theirs), ffi.addressof(old.ours), cursors)
        ffi.memmove(ffi.addressof(new.theirs), ffi.addressof(old.theirs), 128)
        new.theirs.tx_tail, new.theirs.rx_head = cursors.tx_tail, cursors.rx_head
        new.theirs.control &= ~FROZEN
        new.theirs.queue = 0
        new.theirs.generation = new.generation
        self.copy_rings(old, new)
        new.peer, old.peer = old.peer, None
        if new.peer is not None:
            new.peer.peer = new
        for name in ("address", "port", "options", "fin_sent", "datagram_peer"):
            setattr(new, name, getattr(old, name))
        old.port = 0
        shared.slot = new
        old.area.generation += 1
        old.ours.generation = old.area.generation
        old.tell()
        if old.area.program not in shared.holders:
            old.area.release(old)

    def copy_rings(self, old: "Slot", new: "Slot") -> None:
        is_stream = old.area.protocol == socket.IPPROTO_TCP
        tx_log2 = old.theirs.tx_geometry & 0xFF if is_stream else RING_LOG2
        sizes = {"rx_data": RING_LOG2, "tx_data": tx_log2}
        for name, log2 in sizes.items():
            source = getattr(old.area.view, name) + ring_at(old.number, log2)
            target = getattr(new.area.view, name) + ring_at(new.number, log2)
            ffi.memmove(target, source, 1 << log2)
