"""Many connections over loopback that all speak in the same moment.

Each segment on its way through loopback holds a buffer of IP's pool, of which there are far fewer
than connections. None may be lost for that: what TCP has not sent yet can wait, and a lost segment
is a connection that waits for its timer.
"""

from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import Role, SimHost, Simulation, SimulationError
from newtos_py.sim.traffic_windows import connect_when_open

PORT = 80
COUNT = 100
_NO_BUFFER = 20  # NT_IP_COUNT_NO_BUFFER


async def _accept_all(program: SimProgram) -> list[SimSocket]:
    listener = await program.socket()
    listener.name = "listener"
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(COUNT)
    accepted = [(await listener.accept())[0] for _ in range(COUNT)]
    await listener.unlisten()
    return accepted


def tcp_crowd(sim: Simulation, hosts: list[SimHost]) -> None:
    """All connect; then both ends of each send a byte, while first IP is late and then TCP."""
    host = hosts[0]
    server, client = host.add_program(slots=256), host.add_program(slots=256)
    accepted: list[SimSocket] = []

    async def hear(sock: SimSocket) -> None:
        if await sock.recv_exactly(1) != b"!":
            raise SimulationError("another byte than was sent")
        sock.close()

    async def serve() -> None:
        accepted.extend(await _accept_all(server))
        await server.join(*[server.start(hear(sock), "hear") for sock in accepted])

    async def speak() -> None:
        to = ("127.0.0.1", PORT)
        socks = [await connect_when_open(client, to, f"client {n}") for n in range(COUNT)]
        while len(accepted) < COUNT:
            await client.sleep(1000)
        sim.stall(host, Role.IP, us=2000)
        for sock in (*socks, *accepted):
            sock.sock.send(b"!")
        await client.sleep(sim.random.choice([1000, 1900]))
        sim.stall(host, Role.TCP, us=sim.random.choice([100, 1000, 5000]))
        began_ns = sim.now_ns
        await client.join(*[client.start(hear(sock), "hear") for sock in socks])
        took_ms = (sim.now_ns - began_ns) // 1_000_000
        dropped = sim.counter(host, Role.IP, _NO_BUFFER)
        if sim.deaths == 0 and (dropped != 0 or took_ms >= 100):
            raise SimulationError(f"loopback dropped {dropped}, the last byte took {took_ms} ms")

    server.start(serve(), "serve")
    client.start(speak(), "speak")
