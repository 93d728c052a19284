"""The syscall server's part in moving a socket (request.h: MOVE), played by a test."""

from newtos_py.libc_shim.sockets._sockets import ffi as shim
from newtos_py.libc_shim.sockets._sockets import lib as shim_lib
from newtos_py.libc_shim.sockets.program import Program, Socket

from newtos_py.sim.tcp_dialogue import Dialogue, lib

RESERVE = 4 << 20
LARGE = 8192 << 14
FROZEN = 32


class Mover:
    """Two programs, and the syscall server's part of a move."""

    def __init__(self, d: Dialogue, other: Program | None = None, area: int = 1) -> None:
        self.d = d
        self.other = other or d.other_program(area)
        self.area = area
        # Where begun moves go: by old socket.
        self.targets: dict[Socket, tuple[int, int]] = {}

    def ask(self, sock: Socket, area: int = 1) -> object:
        name = sock.identity()
        return self.d.request(
            lib.NT_REQ_MOVE, area=name.area, slot=name.slot, generation=name.generation, arg=area
        )

    def begin(self, sock: Socket) -> None:
        reply = self.ask(sock)
        assert (reply.error, reply.area) == (0, 1)
        self.targets[sock] = reply.slot, reply.generation

    def copy(self, sock: Socket) -> None:
        """What only the syscall server can do: the program's side."""
        slot, generation = self.targets[sock]
        old, new = sock.sock.area.view, self.other.context.area[0].view
        source, block = old.slot_program[sock.sock.slot], new.slot_program[slot]
        cursors = shim.new("struct nt_slot_cursors *")
        server = old.slot_server[sock.sock.slot]
        shim_lib.nt_slot_freeze(shim.addressof(source), shim.addressof(server), cursors)
        shim.memmove(shim.addressof(block), shim.addressof(source), shim.sizeof(source))
        block.tx_tail, block.rx_head = cursors.tx_tail, cursors.rx_head
        block.control &= ~FROZEN
        block.generation = 0
        block.queue = 0
        size = 1 << (block.tx_geometry & 0xFF)
        shim.memmove(
            new.tx_data + LARGE + slot * RESERVE,
            old.tx_data + LARGE + sock.sock.slot * RESERVE,
            size,
        )
        first = 1 << 14
        shim.memmove(new.tx_data + slot * first, old.tx_data + sock.sock.slot * first, first)
        block.generation = generation

    def finish(self, sock: Socket) -> Socket:
        slot, generation = self.targets[sock]
        reply = self.d.request(lib.NT_REQ_MOVED, area=self.area, slot=slot, generation=generation)
        assert reply.error == 0
        moved = self.other.resumed(sock, self.area, slot, generation)
        moved.set_queue(lib.NT_SIM_QUEUE)
        return moved

    def move(self, sock: Socket) -> Socket:
        self.begin(sock)
        self.copy(sock)
        moved = self.finish(sock)
        self.d.program.abandon(sock)
        self.d.run()
        return moved
