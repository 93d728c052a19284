"""Several programs accept from one listening socket, and some of them die.

Whatever the listen design and the lane: each connection is accepted once, is served to its end
unless its program is killed, and none waits for a program that does not come.
"""

import errno
import socket as libc

from newtos_py.sim.payload import payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation, SimulationError

PORT = 80
_READ_BYTES = 4096
_BACKLOG = 16
# What a client hears of a program that is killed, or before one listens.
_KILLED = (errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE)


class _Acceptors:
    """The listening socket's programs."""

    def __init__(self, sim: Simulation, host: SimHost) -> None:
        self.sim = sim
        self.host = host
        self.master = host.add_program()
        self.listener: SimSocket | None = None
        self.workers: list[SimProgram] = []
        # Connections that somebody has in hand: the peer, and whose it is.
        self.served: dict[tuple[str, int], SimProgram] = {}
        self.killed = 0
        self.done = False

    def add(self) -> None:
        worker = self.host.add_program()
        self.workers.append(worker)
        worker.start(self._work(worker), "worker")

    def kill_one(self) -> None:
        victim = self.workers.pop(self.sim.random.randrange(len(self.workers)))
        victim.kill()
        self.killed += 1
        for peer in [peer for peer, owner in self.served.items() if owner is victim]:
            del self.served[peer]

    async def _work(self, worker: SimProgram) -> None:
        if self.listener is None:
            raise SimulationError("nobody listens")
        listener = await worker.join_listener(self.listener)
        listener.name = "listener"
        while (found := await listener.accept_unless(lambda: self.done)) is not None:
            sock, peer = found
            if peer in self.served:
                raise SimulationError(f"{peer} was accepted twice")
            self.served[peer] = worker
            worker.start(self._serve(worker, sock, peer), "serve")
            await worker.dawdle(500)
        listener.close()

    async def _serve(self, worker: SimProgram, sock: SimSocket, peer: tuple[str, int]) -> None:
        heard = b""
        while got := await sock.recv(_READ_BYTES):
            heard += got
            await worker.dawdle(500)
        await sock.send_all(heard)
        del self.served[peer]  # before its port can be used again
        sock.close()

    async def listen(self) -> None:
        self.listener = await self.master.socket()
        await self.listener.bind(("0.0.0.0", PORT))
        await self.listener.listen(_BACKLOG)

    async def end(self) -> None:
        self.done = True
        for worker in self.workers:
            worker.wake()
        while any(worker.tasks for worker in self.workers):
            await self.master.sleep(1000)
        if self.listener is not None:
            await self.listener.unlisten()


def tcp_acceptors(sim: Simulation, hosts: list[SimHost]) -> None:
    """A master that never accepts, workers that come and are killed, and clients."""
    acceptors, client = _Acceptors(sim, hosts[0]), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    count = sim.random.randint(5, 40)
    left = set(range(count))

    async def ask(number: int) -> None:
        text = payload(f"{sim.tuning.seed}/{number}", sim.random.randint(1, 5000))
        await client.sleep(sim.random.random() * 20_000)
        while await _ask(client, to, text) != text:
            if not acceptors.killed:
                raise SimulationError(f"client {number} is not served, and nobody was killed")
            await client.sleep(1000)
        left.remove(number)

    async def manage() -> None:
        await acceptors.listen()
        for _ in range(sim.random.randint(1, 4)):
            acceptors.add()
        for number in range(count):
            client.start(ask(number), f"client {number}")
        for _ in range(sim.random.randint(0, 5)):
            await acceptors.master.sleep(sim.random.random() * 10_000)
            acceptors.add()
            if sim.random.random() < 0.7:
                acceptors.kill_one()
        while left:
            await acceptors.master.sleep(1000)
        await acceptors.end()

    acceptors.master.start(manage(), "master")


async def _ask(client: SimProgram, to: tuple[str, int], text: bytes) -> bytes:
    """What is answered; less where the answering program was killed."""
    sock = await client.socket()
    # The reset may be lost that a killed program leaves behind; asked for, it comes again.
    sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
    sock.sock.setsockopt(libc.IPPROTO_TCP, libc.TCP_KEEPIDLE, 20)
    answer = b""
    try:
        await sock.connect(to)
        await sock.send_all(text)
        sock.shutdown(libc.SHUT_WR)
        while got := await sock.recv(_READ_BYTES):
            answer += got
    except OSError as error:
        if error.errno not in _KILLED:
            raise
    sock.close()
    if not text.startswith(answer):
        raise SimulationError("the answer is another's")
    return answer
