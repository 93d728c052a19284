"""A program that is killed while it talks over TCP."""

import errno

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation

PORT = 80
_READ_BYTES = 65536
_BYTES = 200_000
_RESETS = {errno.ECONNRESET, errno.EPIPE}
# Longer than any retransmission timer, so that a peer that does not answer shows.
_PATIENCE_US = 300_000_000


def tcp_killed(sim: Simulation, hosts: list[SimHost]) -> None:
    """A program is killed in the middle: its peers see a reset or an end, and nothing stays."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    to = (hosts[0].seen_from(hosts[1]), PORT)
    data = payload(str(sim.tuning.seed), _BYTES)
    server.start(_serve(server, data), "serve")
    for number in range(sim.random.randint(1, 8)):
        client.start(_connect(client, number, to, data), f"client {number}")
    killer = hosts[0].add_program()
    killer.start(_kill(killer, sim.random.choice([server, client]), [server, client]), "killer")


async def _kill(killer: SimProgram, victim: SimProgram, all_: list[SimProgram]) -> None:
    await killer.sleep(3000 + killer.random.random() * 30000)
    victim.kill()
    await killer.sleep(_PATIENCE_US)
    for program in all_:
        if program.alive:
            program.kill()


async def _serve(program: SimProgram, data: bytes) -> None:
    listener = await program.socket()
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(16)
    while True:
        sock, _ = await listener.accept()
        sock.name = "server"
        program.start(_talk(program, sock, data), "server")


async def _connect(program: SimProgram, number: int, to: tuple[str, int], data: bytes) -> None:
    while True:
        sock = await program.socket()
        sock.name = f"client {number}"
        try:
            await sock.connect(to)
        except ConnectionRefusedError:  # it does not listen yet
            sock.close()
            await program.sleep(2000)
        else:
            await _talk(program, sock, data)
            return


async def _talk(program: SimProgram, sock: SimSocket, data: bytes) -> None:
    """Send and read, until all is sent or the peer's death ends it."""
    expected = Expected(sock.name, data)
    at = 0
    try:
        while at < len(data):
            await program.dawdle()
            at += await sock.send(data[at : at + program.random.randint(1, 3000)])
            got = await sock.recv(_READ_BYTES)
            if not got:
                break
            expected.take(got)
    except OSError as error:
        if error.errno not in _RESETS:
            raise
    sock.close()


def programs(sim: Simulation, hosts: list[SimHost]) -> None:
    """Programs come, talk, and go without a word; the next one gets their numbers and ports."""
    server = hosts[0].add_program()
    rounds = sim.random.randint(2, 10)
    data = payload(str(sim.tuning.seed), _BYTES)
    server.start(_serve(server, data), "serve")
    boss = hosts[1].add_program()

    async def manage() -> None:
        for i in range(rounds):
            guest = sim.random.choice(hosts).add_program(slots=16)
            where = (hosts[0].seen_from(guest.host), PORT)
            for number in range(sim.random.randint(1, 6)):
                guest.start(_connect(guest, number, where, data), f"guest {i}, {number}")
            await boss.sleep(sim.random.random() * 50_000)
            guest.kill()
            await boss.dawdle(500_000)
        await boss.sleep(_PATIENCE_US)
        server.kill()

    boss.start(manage(), "boss")
