"""TCP and long times: idle connections, peers that are gone, ports that are used again at once."""

import errno
import socket as libc

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import Role, SimHost, Simulation, SimulationError

PORT = 80
_DAY_US = 86_400_000_000
_READ_BYTES = 65536


async def _connect(program: SimProgram, to: tuple[str, int], name: str) -> SimSocket:
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


async def _listen(program: SimProgram) -> SimSocket:
    listener = await program.socket()
    listener.name = "listener"
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(16)
    return listener


def tcp_idle(sim: Simulation, hosts: list[SimHost]) -> None:
    """Connections that nobody uses for a second, or for months, and that work then.

    Milliseconds in 32 bits wrap after 49 days; half of that is where comparisons turn round.
    """
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    pauses = [1e6, 30e6, 600e6, _DAY_US, 25 * _DAY_US, 50 * _DAY_US, 100 * _DAY_US]

    async def echo() -> None:
        listener = await _listen(server)
        sock, _ = await listener.accept()
        await listener.unlisten()
        while data := await sock.recv(_READ_BYTES):
            await sock.send_all(data)
        sock.close()

    async def ask() -> None:
        sock = await _connect(client, to, "client")
        for i in range(sim.random.randint(1, 4)):
            text = payload(f"{sim.tuning.seed}/{i}", sim.random.randrange(1, 20000))
            await sock.send_all(text)
            expected = Expected(f"echo {i}", text)
            while not expected.complete:
                expected.take(await sock.recv(_READ_BYTES))
            await client.sleep(sim.random.choice(pauses) * (0.5 + sim.random.random()))
        sock.close()

    server.start(echo(), "echo")
    client.start(ask(), "client")


def tcp_gone(sim: Simulation, hosts: list[SimHost]) -> None:
    """The wire breaks: whoever has something to say hears of a timeout in the end."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    timeout_ms = sim.random.choice([0, 1000, 30_000])
    ended: list[str] = []

    async def talk(program: SimProgram, sock: SimSocket) -> None:
        if timeout_ms:
            sock.sock.setsockopt(libc.IPPROTO_TCP, libc.TCP_USER_TIMEOUT, timeout_ms)
        began = sim.now_ns
        try:
            while True:
                await sock.send(bytes(100))
                await program.sleep(100_000)
                if sim.now_ns - began > 2_000_000_000_000:
                    raise SimulationError("no timeout in 2000 s")
        except OSError as error:
            if error.errno not in (errno.ETIMEDOUT, errno.EHOSTUNREACH):
                raise
        sock.close()
        ended.append(program.name)
        if len(ended) == 2:  # what was aborted waits for the drivers to let go of it
            for host in hosts[:2]:
                sim.bring_back(host, Role.WIRE)

    async def serve() -> None:
        listener = await _listen(server)
        sock, _ = await listener.accept()
        sock.name = "server"
        await listener.unlisten()
        await talk(server, sock)

    async def connect() -> None:
        sock = await _connect(client, to, "client")
        # Until the other end has it, too: no accept waits for ever for a lost last ACK.
        await sock.send(b"x")
        await client.sleep(1_000_000 + sim.random.random() * 1_000_000)
        for host in hosts[:2]:
            sim.take_down(host, Role.WIRE)
        await talk(client, sock)

    server.start(serve(), "server")
    client.start(connect(), "client")


def tcp_port_again(sim: Simulation, hosts: list[SimHost]) -> None:
    """One client port, again and again, whoever closes first (RFC 6191, RFC 9293 §3.6.1)."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    rounds = sim.random.randint(2, 12)
    who_closes = [sim.random.choice(["server", "client"]) for _ in range(rounds)]

    async def serve() -> None:
        listener = await _listen(server)
        for i in range(rounds):
            sock, _ = await listener.accept()
            sock.name = f"server {i}"
            await sock.send_all(bytes([i]))
            if who_closes[i] == "server":
                sock.shutdown(libc.SHUT_WR)
            if await sock.recv(1) != b"":
                raise SimulationError("bytes that nobody sent")
            sock.close()
        await listener.unlisten()

    async def connect(i: int) -> None:
        while True:
            sock = await client.socket()
            sock.name = f"client {i}"
            sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_REUSEADDR, 1)
            try:
                await sock.bind(("0.0.0.0", 5000))
                await sock.connect(to)
            except OSError as error:
                # Not listening yet; our own TIME-WAIT is too young (no timestamp has passed).
                early = (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EADDRINUSE)
                if error.errno not in early:
                    raise
                sock.close()
                await client.sleep(200_000)
                continue
            if await sock.recv(10) != bytes([i]):
                raise SimulationError(f"connection {i} says something else")
            if who_closes[i] == "server" and await sock.recv(1) != b"":
                raise SimulationError("bytes that nobody sent")
            sock.close()
            return

    async def clients() -> None:
        for i in range(rounds):
            await connect(i)
            await client.dawdle(20_000)

    server.start(serve(), "server")
    client.start(clients(), "client")
