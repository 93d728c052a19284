"""Readers that are slow, closed windows, and ends that do not wait for each other."""

import errno
import socket as libc

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation, SimulationError

PORT = 80
_READ_BYTES = 65536


async def listen_for(program: SimProgram, count: int) -> list[SimSocket]:
    """Accept so many connections, then listen no more."""
    listener = await program.socket()
    listener.name = "listener"
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(count)
    accepted = []
    for i in range(count):
        sock, _ = await listener.accept()
        sock.name = f"server {i}"
        accepted.append(sock)
    await listener.unlisten()
    return accepted


async def connect_when_open(program: SimProgram, to: tuple[str, int], name: str) -> SimSocket:
    """A connection, as soon as somebody listens there."""
    while True:
        sock = await program.socket()
        sock.name = name
        try:
            await sock.connect(to)
        except ConnectionRefusedError:  # it does not listen yet
            sock.close()
            await program.sleep(2000)
        else:
            return sock


def tcp_slow_reader(sim: Simulation, hosts: list[SimHost]) -> None:
    """The reader stops for seconds, again and again, until the window is closed."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    data = payload(str(sim.tuning.seed), sim.random.randrange(2_000_000))
    rcvbuf = sim.random.choice([0, 2048, 30000])

    async def read() -> None:
        (sock,) = await listen_for(server, 1)
        if rcvbuf:
            sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_RCVBUF, rcvbuf)
        expected = Expected("slow", data)
        while got := await sock.recv(sim.random.randint(1, _READ_BYTES)):
            expected.take(got)
            if sim.random.random() < 0.1:
                await server.sleep(sim.random.random() * 3_000_000)
        expected.end()
        sock.close()

    async def write() -> None:
        sock = await connect_when_open(client, to, "writer")
        await sock.send_all(data)
        sock.close()

    server.start(read(), "reader")
    client.start(write(), "writer")


def tcp_unread(sim: Simulation, hosts: list[SimHost]) -> None:
    """The server closes without reading: clients hear of a reset, never of an end."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    count = sim.random.randint(1, 5)

    async def close_early() -> None:
        for sock in await listen_for(server, count):
            await sock.until(1, "something to leave unread")
            await server.dawdle()
            sock.close()

    async def write(number: int) -> None:
        sock = await connect_when_open(client, to, f"writer {number}")
        try:
            while True:
                await sock.send(bytes(1000))
                await client.sleep(10_000)
        except OSError as error:
            if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
        sock.close()

    server.start(close_early(), "closer")
    for number in range(count):
        client.start(write(number), f"writer {number}")


def tcp_both_open(sim: Simulation, hosts: list[SimHost]) -> None:
    """Both ends connect to each other at once (RFC 9293 §3.5): one connection, or both refused."""
    ends = [host.add_program() for host in hosts[:2]]
    names = [(host.addresses[0], 4000 + i) for i, host in enumerate(hosts[:2])]
    opened: list[str] = []

    async def open_and_talk(me: int) -> None:
        program, text = ends[me], payload(f"{sim.tuning.seed}/{me}", 5000)
        expected = Expected(f"end {me}", payload(f"{sim.tuning.seed}/{1 - me}", 5000))
        await program.sleep(2000 + sim.random.random() * 20)
        while True:
            sock = await program.socket()
            sock.name = f"end {me}"
            await sock.bind(names[me])
            try:
                await sock.connect(names[1 - me])
                break
            except ConnectionRefusedError:  # the other was not there yet
                sock.close()
                await program.sleep(sim.random.random() * 100)
        opened.append(sock.name)
        await sock.send_all(text)
        sock.shutdown(libc.SHUT_WR)
        while got := await sock.recv(_READ_BYTES):
            expected.take(got)
        expected.end()
        sock.close()

    for me in range(2):
        ends[me].start(open_and_talk(me), f"end {me}")


def tcp_nobody(sim: Simulation, hosts: list[SimHost]) -> None:
    """Connecting to an address that no host has fails as it does on Linux."""
    client = hosts[1].add_program()
    missing = hosts[0].seen_from(hosts[1]).rsplit(".", 1)[0] + ".77"

    async def knock() -> None:
        sock = await client.socket()
        sock.name = "knock"
        try:
            await sock.connect((missing, PORT))
        except OSError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.ETIMEDOUT):
                raise
            sim.note(f"fails: {error.strerror}")
        else:
            raise SimulationError("nobody answers")
        sock.close()

    for i in range(sim.random.randint(1, 5)):
        client.start(knock(), f"knock {i}")
