"""A host of two lanes, their engines' listen design, and processes that accept from both."""

from typing import Self

from newtos_py.libc_shim.sockets._sockets import ffi as shim
from newtos_py.libc_shim.sockets.program import Area, Identity, Program, Queue, Socket

from newtos_py.sim.tcp_dialogue import Dialogue, Peer, ffi, lib

TCP = 6
PORT = 80
NOWHERE = 2**32 - 1


class Lanes:
    """Lane 0 runs on core 0, lane 1 on core 1; a master listens in each, and never accepts."""

    def __init__(self, design: int, *, backlog: int = 8, crash_at: int = 0, seed: int = 1) -> None:
        self.lane = [Dialogue(crash_at, seed=seed + i, design=design) for i in range(2)]
        for core, d in enumerate(self.lane):
            lib.nt_sim_host_set_core(d.host, core)
        self.master = [d.listen(PORT, backlog) for d in self.lane]
        self.ports = iter(range(5000, 60000))
        self._numbers = iter(range(100_000, 200_000))
        # By the number of the request that told a lane: areas of the dead that are not free yet.
        self._dying: dict[int, tuple[int, int]] = {}

    def connect(self, lane: int) -> Peer:
        """A client whose connection is that lane's."""
        peer = self.lane[lane].peer(next(self.ports), to=PORT)
        peer.shake_hands()
        return peer

    def after(self, ms: float) -> None:
        for d in self.lane:
            d.after(ms=ms)

    def counter(self, name: str) -> int:
        return sum(d.counter(name) for d in self.lane)

    def waiting(self, lane: int) -> int:
        """Connections that nobody has taken there yet."""
        d = self.lane[lane]
        region = lib.nt_sim_host_listener_view(d.host, 0)
        return sum(
            lib.nt_listener_is_open(region, index)
            for index in range(max(0, region.header.tail - region.entries), region.header.tail)
        )

    def kill(self, worker: "Worker") -> None:
        """A process is gone; its lanes hear of it."""
        for lane, (d, area) in enumerate(zip(self.lane, worker.areas, strict=True)):
            number = next(self._numbers)
            request = ffi.new("struct nt_request *")
            request.kind, request.number, request.area = lib.NT_REQ_AREA_DEAD, number, area
            assert lib.nt_sim_host_push_request(d.host, request)
            self._dying[number] = lane, area
            d.run()

    def is_free(self, areas: tuple[int, int]) -> bool:
        """Whether nothing is left in areas of the dead, so that others may have them."""
        for d in self.lane:
            while (reply := d.reply()) is not None:
                self._dying.pop(reply.number, None)
        return not any(each in self._dying.values() for each in enumerate(areas))


class Worker:
    """A process that accepts, on a core of its choice; areas are its numbers in the lanes."""

    def __init__(
        self, lanes: Lanes, areas: tuple[int, int], core: int, *, looks: bool = True
    ) -> None:
        self.lanes, self.areas, self.core = lanes, areas, core
        self.program = Program()
        self._sleeping = shim.new("uint32_t *")
        self._where = shim.callback("uint32_t(void)", lambda: self.core)
        self.program.context.core = self._where
        for lane, (d, number) in enumerate(zip(lanes.lane, areas, strict=True)):
            parts = [d.memory(number, part) for part in range(3)]
            area = Area(parts[0], parts[1], parts[2], lib.NT_SIM_SLOTS, number)
            area.view.lane = lane
            # As in new memory, if a process had it before.
            area.view.program.grant_head = area.view.server.grant_tail
            self.program.attach(area, TCP, self._sleeping, -1)
            reply = d.request(lib.NT_REQ_AREA_NEW, area=number, slot=50 + number, arg=500 + number)
            assert reply.error == 0
        self.queue = Queue(self.program, lib.NT_SIM_QUEUE)
        self.listener = self._join()
        if looks:
            assert not self.accepts()  # from now on it is an acceptor
            self.queue.collect()

    @classmethod
    def joining(cls, lanes: Lanes, areas: tuple[int, int], core: int) -> Self:
        """One that finds what has been there before it."""
        return cls(lanes, areas, core, looks=False)

    def _join(self) -> Socket:
        joined = [
            d.request(lib.NT_REQ_JOIN, area=area, arg=lanes_number(d))
            for d, area in zip(self.lanes.lane, self.areas, strict=True)
        ]
        memory = [listener_memory(d) for d in self.lanes.lane]
        home, beside = joined
        assert (home.error, beside.error) == (0, 0)
        listener = self.program.joined(self.areas[0], home.slot, home.generation)
        listener.set_queue(lib.NT_SIM_QUEUE)
        listener.listening(*memory[0])
        where = Identity(TCP, self.areas[1], beside.slot, beside.generation, 0)
        listener.beside(Socket(self.program), where, *memory[1])
        listener.set_queue(lib.NT_SIM_QUEUE)  # as epoll_ctl() does: it accepts from now on
        return listener

    def accept(self) -> int:
        """The port of a connection's peer; BlockingIOError if there is none for it."""
        sock, (_, port) = self.listener.accept()
        sock.set_queue(lib.NT_SIM_QUEUE)
        for d in self.lanes.lane:
            d.run()
        return port

    def accepts(self) -> bool:
        try:
            self.accept()
        except BlockingIOError:
            return False
        return True

    def accepts_port(self, ports: set[int]) -> bool:
        """Accept into a set, if there is something."""
        try:
            ports.add(self.accept())
        except BlockingIOError:
            return False
        return True

    def is_told(self) -> bool:
        """Whether it was told of its listening socket since it was last asked."""
        return self.listener in self.queue.collect()

    def sees(self) -> bool:
        """Whether poll() says that there is a connection."""
        return bool(self.listener.poll() & 1)


def lanes_number(d: Dialogue) -> int:
    """The listener's number in a lane."""
    return int(lib.nt_sim_host_listener_view(d.host, 0).header.number)


def listener_memory(d: Dialogue) -> tuple[object, object, int]:
    """Ring, claims and entries of a lane's listener, for a program."""
    region = lib.nt_sim_host_listener_view(d.host, 0)
    ring_bytes = 4096 + region.entries * ffi.sizeof("struct nt_accept_entry")
    ring = ffi.buffer(ffi.cast("char *", region.header), ring_bytes)
    claims_bytes = ffi.sizeof("struct nt_listener_claims")
    claims = ffi.buffer(ffi.cast("char *", region.claims), claims_bytes)
    return ring, claims, int(region.entries)
