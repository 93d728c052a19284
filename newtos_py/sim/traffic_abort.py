"""Sockets that end with bytes under way, whose slot somebody else gets at once.

A driver that is late gathers payload from the slot's memory when that already holds another
socket's bytes, unless the server waits for it (docs/decisions/0004-fences.md). The next socket
talks over loopback, so nothing of it waits behind the late driver.
"""

import errno
import socket as libc
import struct

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import Role, SimHost, Simulation, SimulationError

PORT = 80
_READ_BYTES = 65536
_BYTES = 14_000


def _bytes(sim: Simulation, number: int) -> bytes:
    return struct.pack(">I", number) + payload(f"{sim.tuning.seed}/{number}", _BYTES)


async def _take(program: SimProgram, sock: SimSocket) -> None:
    """Whatever comes must be what its first four bytes promise, as far as it goes."""
    try:
        first = await sock.recv_exactly(4)
        if len(first) == 4:
            (number,) = struct.unpack(">I", first)
            sock.name = f"server {number}"
            expected = Expected(f"connection {number}", _bytes(program.sim, number))
            expected.take(first)
            while data := await sock.recv(_READ_BYTES):
                expected.take(data)
    except OSError as error:
        if error.errno != errno.ECONNRESET:
            raise
    sock.close()


async def _serve(program: SimProgram) -> None:
    listener = await program.socket()
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(64)
    while True:
        sock, _ = await listener.accept()
        sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
        program.start(_take(program, sock), "taker")


async def _connect(program: SimProgram, to: tuple[str, int]) -> SimSocket:
    while True:
        sock = await program.socket()
        try:
            await sock.connect(to)
        except ConnectionRefusedError:  # it does not listen yet
            sock.close()
            await program.sleep(2000)
        else:
            return sock


def tcp_abort(sim: Simulation, hosts: list[SimHost]) -> None:
    """Connections that are reset while a driver is late; their slots go on over loopback."""
    far, near = hosts[0].add_program(), hosts[1].add_program()
    client = hosts[1].add_program(slots=4)
    to = (hosts[0].seen_from(hosts[1]), PORT)
    far.start(_serve(far), "serve")
    near.start(_serve(near), "serve")

    async def abort() -> None:
        for number in range(0, 2 * sim.random.randint(1, 20), 2):
            sock = await _connect(client, to)
            sock.name = f"aborts {number}"
            sim.stall(hosts[1], Role.WIRE, us=sim.random.choice([100, 1000, 5000]))
            await sock.send(_bytes(sim, number))
            await client.sleep(sim.random.choice([20, 100, 1000]))
            sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            again = await _connect(client, ("127.0.0.1", PORT))
            await again.send_all(_bytes(sim, number + 1))
            again.close()
        await client.sleep(200_000_000)
        for program in (far, near):
            program.kill()

    client.start(abort(), "abort")


def udp_abort(sim: Simulation, hosts: list[SimHost]) -> None:
    """Sockets that are closed with datagrams under way; their slots go on over loopback."""
    far, near = hosts[0].add_program(), hosts[1].add_program()
    client = hosts[1].add_program(slots=4)
    to = (hosts[0].seen_from(hosts[1]), PORT)
    sizes = [100, 1400, 8000]

    async def take(program: SimProgram, parity: int) -> None:
        sock = await program.socket(libc.SOCK_DGRAM)
        await sock.bind(("0.0.0.0", PORT))
        while True:
            data, peer = await sock.recvfrom(_READ_BYTES)
            (number,) = struct.unpack(">I", data[:4])
            if number % 2 != parity or data != _bytes(sim, number)[: len(data)]:
                raise SimulationError(f"a datagram of another socket, from port {peer[1]}")

    async def abort() -> None:
        for number in range(0, 2 * sim.random.randint(1, 30), 2):
            sock = await client.socket(libc.SOCK_DGRAM)
            sim.stall(hosts[1], Role.WIRE, us=sim.random.choice([100, 1000, 5000]))
            for _ in range(sim.random.randint(1, 20)):
                await sock.sendto(_bytes(sim, number)[: sim.random.choice(sizes)], to)
            await client.sleep(sim.random.choice([20, 100, 1000]))
            sock.close()
            again = await client.socket(libc.SOCK_DGRAM)
            for _ in range(sim.random.randint(1, 20)):
                data = _bytes(sim, number + 1)[: sim.random.choice(sizes)]
                await again.sendto(data, ("127.0.0.1", PORT))
            again.close()
        await client.sleep(1_000_000)
        for program in (far, near):
            program.kill()

    far.start(take(far, 0), "take")
    near.start(take(near, 1), "take")
    client.start(abort(), "abort")
