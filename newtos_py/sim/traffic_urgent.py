"""Urgent bytes among others (RFC 9293 §3.8.5): each comes once, with its mark where it was sent.

The sender waits for the answer to one before it sends the next, because a later one takes the
earlier one's place. What lies before and behind is ordinary, often more than an urgent pointer can
tell of, or than the window lets through.
"""

import socket as libc
from select import POLLIN, POLLOUT, POLLPRI, POLLRDHUP

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation, SimulationError
from newtos_py.sim.traffic_windows import connect_when_open, listen_for

PORT = 80
_READ_BYTES = 65536


class _Plan:
    """What is sent: pieces, each with an urgent byte after it, and what follows the last."""

    def __init__(self, sim: Simulation) -> None:
        rng = sim.random
        sizes = [0, 1, rng.randrange(3000), rng.randrange(40_000), rng.randrange(300_000)]
        self.inline = rng.random() < 0.5
        self.pieces: list[bytes] = []
        # In the stream as it is read: where each mark is.
        self.marks: list[int] = []
        self.stream = b""
        for i in range(rng.randint(1, 12)):
            self.pieces.append(payload(f"{sim.tuning.seed}/{i}", rng.choice(sizes)))
            self.stream += self.pieces[-1]
            self.marks.append(len(self.stream))
            self.stream += bytes([i]) if self.inline else b""


async def _send(client: SimProgram, sock: SimSocket, plan: _Plan) -> None:
    for i, piece in enumerate(plan.pieces):
        if i != 0 and await sock.recv_exactly(1) != bytes([i - 1]):
            raise SimulationError(f"answer {i - 1} is wrong")
        await sock.send_all(piece)
        await client.dawdle()
        while True:
            try:
                sock.sock.send(bytes([i]), libc.MSG_OOB)
                break
            except BlockingIOError:
                await sock.until(POLLOUT, "send of an urgent byte")
    sock.shutdown(libc.SHUT_WR)
    if await sock.recv_exactly(1) != bytes([len(plan.pieces) - 1]) or await sock.recv(1) != b"":
        raise SimulationError("the last answer is wrong")
    sock.close()


async def _take_urgent(sock: SimSocket, number: int) -> None:
    """Read it apart, wherever the reader is."""
    if (byte := sock.sock.recv(1, libc.MSG_OOB)) != bytes([number]):
        raise SimulationError(f"urgent byte {number} is {byte!r}")
    if sock.sock.poll() & POLLPRI:
        raise SimulationError(f"urgent byte {number} comes twice")


async def _read_to_mark(
    server: SimProgram, sock: SimSocket, number: int, expected: Expected, plan: _Plan
) -> None:
    """Read all before a mark, and stand at it; the urgent byte is taken when it comes."""
    taken = plan.inline
    while expected.at < plan.marks[number]:
        await server.dawdle()
        await sock.until(POLLIN | POLLPRI | POLLRDHUP, "the mark")
        if not taken and sock.sock.poll() & POLLPRI and server.random.random() < 0.5:
            await _take_urgent(sock, number)
            taken = True
        if sock.sock.poll() & POLLIN:
            expected.take(await sock.recv(server.random.choice([1, 1000, _READ_BYTES])))
        if expected.at > plan.marks[number]:
            raise SimulationError(f"mark {number} was passed over")
    if not taken:
        await sock.until(POLLPRI, "an urgent byte")
        await _take_urgent(sock, number)
    if plan.inline:
        await sock.until(POLLPRI, "an urgent byte")
    if not sock.sock.at_mark():
        raise SimulationError(f"mark {number} is not where it was set")


async def _receive(server: SimProgram, sock: SimSocket, plan: _Plan) -> None:
    if plan.inline:
        sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_OOBINLINE, 1)
    expected = Expected("urgent", plan.stream)
    for number in range(len(plan.marks)):
        await _read_to_mark(server, sock, number, expected, plan)
        if plan.inline:
            expected.take(await sock.recv(1))
        await sock.send_all(bytes([number]))
    if await sock.recv(_READ_BYTES) != b"":
        raise SimulationError("more than was sent")
    expected.end()
    sock.close()


def tcp_urgent(sim: Simulation, hosts: list[SimHost]) -> None:
    """One connection, in one direction urgent bytes among others, in the other answers to them."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    plan = _Plan(sim)

    async def serve() -> None:
        (sock,) = await listen_for(server, 1)
        await _receive(server, sock, plan)

    async def speak() -> None:
        await _send(client, await connect_when_open(client, to, "sender"), plan)

    server.start(serve(), "serve")
    client.start(speak(), "speak")
