"""Programs that talk over UDP."""

import contextlib
import socket as libc

from newtos_py.sim.payload import payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation, SimulationError

PORT = 80
_READ_BYTES = 65536


def udp_echo(sim: Simulation, hosts: list[SimHost]) -> None:
    """Datagrams of all sizes there and back; asked again where the wire may lose them."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    rounds = sim.random.randint(1, 30)
    clients = sim.random.randint(1, 5)
    left = [clients]

    async def echo() -> None:
        sock = await server.socket(libc.SOCK_DGRAM)
        sock.name = "echo"
        await sock.bind(("0.0.0.0", PORT))
        while left[0]:
            try:
                data, peer = await sock.recvfrom(_READ_BYTES, timeout_us=50_000)
            except TimeoutError:
                continue
            await sock.sendto(data, peer)
        sock.close()

    async def ask(number: int) -> None:
        sock = await client.socket(libc.SOCK_DGRAM)
        sock.name = f"client {number}"
        for i in range(rounds):
            await _ask_once(client, sock, to, f"{sim.tuning.seed}/{number}/{i}")
        sock.close()
        left[0] -= 1

    server.start(echo(), "echo")
    for number in range(clients):
        client.start(ask(number), f"client {number}")


async def _ask_once(program: SimProgram, sock: SimSocket, to: tuple[str, int], seed: str) -> None:
    """Send a datagram until it comes back; answers to earlier ones are passed over."""
    rng = program.random
    size = rng.choice([0, 1, rng.randrange(100), rng.randrange(1472), 1472, rng.randrange(9000)])
    data = payload(seed, size)
    for attempt in range(200):
        await sock.sendto(data, to)
        try:
            while (await sock.recvfrom(_READ_BYTES, timeout_us=20_000))[0] != data:
                pass
        except TimeoutError:
            program.sim.note(f"{sock.name} asks again, {attempt}")
        except ConnectionRefusedError:
            await program.sleep(1000)  # the server has not bound yet
        else:
            return
    raise SimulationError(f"{sock.name}: no answer to a datagram of {size} bytes")


def udp_flood(sim: Simulation, hosts: list[SimHost]) -> None:
    """Senders that never wait: datagrams may be lost, none may come wrong or be made up."""
    receiver, sender = hosts[0].add_program(), sim.random.choice(hosts[:2]).add_program()
    to = (hosts[0].seen_from(sender.host), PORT)
    senders = sim.random.randint(1, 4)
    count = sim.random.randint(1, 400)
    most = sim.random.choice([100, 1472, 5000, 40000, 65507])
    left = [senders]
    seen: dict[bytes, int] = {}

    def datagram(number: int, i: int) -> bytes:
        size = min(8 + (number * 7919 + i * 104729) % most, most)
        return payload(f"{sim.tuning.seed}/{number}/{i}", size)

    sent: set[bytes] = set()

    async def receive() -> None:
        sock = await receiver.socket(libc.SOCK_DGRAM)
        sock.name = "receiver"
        await sock.bind(("0.0.0.0", PORT))
        while True:
            try:
                data, _ = await sock.recvfrom(_READ_BYTES, timeout_us=500_000)
            except TimeoutError:
                if left[0] == 0:
                    break
                continue
            if data not in sent:
                raise SimulationError(f"a datagram of {len(data)} bytes that nobody sent")
            seen[data] = seen.get(data, 0) + 1
            await receiver.dawdle(1000)
        sock.close()

    async def send(number: int) -> None:
        sock = await sender.socket(libc.SOCK_DGRAM)
        sock.name = f"sender {number}"
        for i in range(count):
            data = datagram(number, i)
            sent.add(data)
            with contextlib.suppress(ConnectionRefusedError):  # it has not bound yet
                await sock.sendto(data, to)
        sock.close()
        left[0] -= 1

    receiver.start(receive(), "receiver")
    for number in range(senders):
        sender.start(send(number), f"sender {number}")
