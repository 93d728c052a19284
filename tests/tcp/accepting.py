"""A listening socket of several programs (Lab), for tests of who gets a connection."""

from collections.abc import Callable
from dataclasses import dataclass

from newtos_py.libc_shim.sockets._sockets import ffi as shim
from newtos_py.libc_shim.sockets._sockets import lib as shim_lib
from newtos_py.libc_shim.sockets.program import Program, Queue, Socket

from newtos_py.sim.tcp_dialogue import Dialogue, Peer, ffi, lib


@dataclass
class Worker:
    """A program that has joined."""

    area: int
    program: Program
    queue: Queue
    listener: Socket

    def is_told(self) -> bool:
        """Whether it was told of its listening socket since it was last asked."""
        return self.listener in self.queue.collect()

    def accept(self) -> Socket:
        sock, _ = self.listener.accept()
        sock.set_queue(lib.NT_SIM_QUEUE)
        return sock

    def accepts(self) -> bool:
        try:
            self.listener.accept()
        except BlockingIOError:
            return False
        return True


class Lab:
    """A master that listens and never accepts, and two workers."""

    def __init__(self, d: Dialogue, backlog: int = 8) -> None:
        self.d = d
        self.master = d.listen(80, backlog)
        self.workers = [self._worker(area) for area in (1, 2)]
        self.ports = iter(range(5000, 6000))

    def _worker(self, area: int) -> Worker:
        program = self.d.other_program(area)
        listener = self.d.join(self.master, program, area)
        worker = Worker(area, program, self.d.queues[area], listener)
        assert not worker.accepts()  # from now on it is an acceptor
        worker.queue.collect()
        return worker

    def connect(self) -> Peer:
        peer = self.d.peer(next(self.ports), to=80)
        peer.shake_hands()
        return peer

    def told(self) -> Worker:
        """The worker that the newest connection is bound to, and that was told of it."""
        told = [worker for worker in self.workers if worker.is_told()]
        listener = self.master.sock.listener
        newest = listener.header.tail - 1 & listener.entries - 1
        bound = next(each for each in self.workers if each.area == listener.entry[newest].area)
        # A restarted server tells everybody of everything, once.
        assert told == [bound] or (bound in told and self.d.crashes)
        return bound

    def other(self, worker: Worker) -> Worker:
        return self.workers[worker is self.workers[0]]

    def dies(self, worker: Worker) -> Callable[[], bool]:
        """Kill a program; the answer says whether its area has drained."""
        request = ffi.new("struct nt_request *")
        request.number, request.area = 7000 + worker.area, worker.area
        request.kind = lib.NT_REQ_AREA_DEAD
        assert lib.nt_sim_host_push_request(self.d.host, request)
        self.d.run()
        replies = [self.d.reply()]

        def drained() -> bool:
            replies.append(self.d.reply())
            return any(reply is not None for reply in replies)

        return drained


def claim(worker: Worker, *, area: int | None = None, slot: int = 0) -> int:
    """Claim an entry without a word to the server; its index."""
    listener = worker.listener.sock.listener
    offer = shim.new("struct nt_accept_offer *")
    assert shim_lib.nt_listener_find(listener, worker.area, offer)
    chosen = worker.area if area is None else area
    assert shim_lib.nt_listener_claim(listener, offer, chosen, slot)
    return int(offer.index)
