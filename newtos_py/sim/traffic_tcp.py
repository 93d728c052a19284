"""Programs that talk over TCP: each function fills a simulation with programs and tasks.

Sizes, pauses and the ways connections end are drawn from the simulation's seed. Every stream is
compared byte for byte, every result with what Linux would say.
"""

import contextlib
import errno
import socket as libc
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.simulation import SimHost, Simulation, SimulationError

PORT = 80
READ_BYTES = 65536
_RESETS = {errno.ECONNRESET, errno.EPIPE}


class Style(Enum):
    """How a connection's two directions follow each other, and who ends it."""

    REQUEST = "the client sends and half-closes; the server answers and closes"
    PUSH = "the server sends and half-closes; the client answers and closes"
    BOTH = "both send at once, half-close, and read to the end"
    CLOSE = "both send at once, and close without a half-close when they have all"
    RESET = "the client resets in the middle"


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection: what goes up (to the server) and what comes down."""

    number: int
    style: Style
    up: bytes
    down: bytes


def make_flow(sim: Simulation, number: int, most: int, resets: int = 1) -> Flow:
    """A flow of at most so many bytes a direction; `resets` of 11 or so end in a reset."""
    rng = sim.random
    style = rng.choices(list(Style), weights=[3, 2, 3, 3, resets])[0]

    def size() -> int:
        return rng.choice([0, 1, rng.randrange(2000), rng.randrange(20000), rng.randrange(most)])

    seed = f"{sim.tuning.seed}/{number}"
    up = struct.pack(">I", number) + payload(f"{seed}/up", size())
    return Flow(number, style, up, payload(f"{seed}/down", size()))


async def _send(program: SimProgram, sock: SimSocket, data: bytes) -> None:
    at = 0
    while at < len(data):
        await program.dawdle()
        most = program.random.choice([1, 100, 1460, 10000, 100000])
        at += await sock.send(data[at : at + most])


async def _read_until(
    program: SimProgram, sock: SimSocket, expected: Expected, *, to_end: bool
) -> None:
    """Read until all has come; `to_end`: until the peer's FIN after it."""
    while to_end or not expected.complete:
        await program.dawdle()
        data = await sock.recv(program.random.choice([1, 500, 1460, READ_BYTES, READ_BYTES]))
        if not data:
            expected.end()
            return
        expected.take(data)


async def _both(
    program: SimProgram, sock: SimSocket, data: bytes, expected: Expected, *, half_close: bool
) -> None:
    """Send and receive at the same time, in two tasks."""

    async def send() -> None:
        await _send(program, sock, data)
        if half_close:
            sock.shutdown(libc.SHUT_WR)

    sender = program.start(send(), f"{sock.name} sends")
    await _read_until(program, sock, expected, to_end=half_close)
    await program.join(sender)


async def run_client(program: SimProgram, flow: Flow, to: tuple[str, int]) -> None:
    """The client's part of a flow."""
    await program.sleep(program.random.random() * 3000)
    sock = await program.socket()
    sock.name = f"client {flow.number}"
    await sock.connect(to)
    expected = Expected(f"down {flow.number}", flow.down)
    match flow.style:
        case Style.REQUEST:
            await _send(program, sock, flow.up)
            sock.shutdown(libc.SHUT_WR)
            await _read_until(program, sock, expected, to_end=True)
        case Style.PUSH:
            await _send(program, sock, flow.up[:4])
            await _read_until(program, sock, expected, to_end=True)
            await _send(program, sock, flow.up[4:])
        case Style.BOTH | Style.CLOSE:
            half = flow.style is Style.BOTH
            await _both(program, sock, flow.up, expected, half_close=half)
        case Style.RESET:
            await _send(program, sock, flow.up)
            sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_LINGER, struct.pack("ii", 1, 0))
    await program.dawdle()
    sock.close()


async def _read_to_reset(program: SimProgram, sock: SimSocket, expected: Expected) -> None:
    """Send and read until the peer's reset shows; what comes before it must be right."""
    try:
        while True:
            # Neither may wait: the client reads nothing.
            with contextlib.suppress(BlockingIOError):
                sock.sock.send(b"x" * 100)
            await program.sleep(10000)
            try:
                data = sock.sock.recv(READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise SimulationError(f"{expected.name}: a reset connection ends like a closed one")
            expected.take(data)
    except OSError as error:
        if error.errno not in _RESETS:
            raise


async def _serve_one(program: SimProgram, sock: SimSocket, flows: dict[int, Flow]) -> None:
    try:
        first = await sock.recv_exactly(4)
    except ConnectionResetError:
        sock.close()  # a client that resets may do so before anything of it was read
        return
    (number,) = struct.unpack(">I", first)
    flow = flows[number]
    sock.name = f"server {number}"
    expected = Expected(f"up {number}", flow.up)
    expected.take(first)
    match flow.style:
        case Style.REQUEST:
            await _read_until(program, sock, expected, to_end=True)
            await _send(program, sock, flow.down)
        case Style.PUSH:
            await _send(program, sock, flow.down)
            sock.shutdown(libc.SHUT_WR)
            await _read_until(program, sock, expected, to_end=True)
        case Style.BOTH | Style.CLOSE:
            half = flow.style is Style.BOTH
            await _both(program, sock, flow.down, expected, half_close=half)
        case Style.RESET:
            await _read_to_reset(program, sock, expected)
    await program.dawdle()
    sock.close()


def _keep_alive(sock: SimSocket) -> None:
    """A client's reset may be lost: then only a probe finds out."""
    sock.sock.setsockopt(libc.SOL_SOCKET, libc.SO_KEEPALIVE, 1)
    for option in (libc.TCP_KEEPIDLE, libc.TCP_KEEPINTVL, libc.TCP_KEEPCNT):
        sock.sock.setsockopt(libc.IPPROTO_TCP, option, 9)


async def serve(
    program: SimProgram, flows: dict[int, Flow], backlog: int, over: Callable[[], bool]
) -> None:
    """Accept what comes until it is over; then listen no more."""
    listener = await program.socket()
    listener.name = "listener"
    await listener.bind(("0.0.0.0", PORT))
    await listener.listen(backlog)
    program.sim.note("listening")
    # A connection that is reset before it was accepted never shows: they cannot be counted.
    while found := await listener.accept_unless(over):
        sock, peer = found
        sock.name = f"accepted from port {peer[1]}"
        _keep_alive(sock)
        program.start(_serve_one(program, sock, flows), sock.name)
        await program.dawdle(5000)
    await listener.unlisten()


async def connect_when_listening(program: SimProgram, to: tuple[str, int]) -> None:
    """Wait for the server: connect until it is not refused."""
    while True:
        sock = await program.socket()
        sock.name = "knock"
        try:
            await sock.connect(to)
        except ConnectionRefusedError:
            sock.close()
            await program.sleep(2000)
            continue
        await sock.send_all(struct.pack(">I", 0))
        sock.shutdown(libc.SHUT_WR)
        if await sock.recv(1) != b"":
            raise SimulationError("an answer to nothing")
        sock.close()
        return


@dataclass(frozen=True, slots=True)
class Plan:
    """How a client's connections come about."""

    # At most so many bytes a direction.
    most: int = 300_000
    # At most so many connections.
    connections: int = 20
    # So many tasks make them one after another; 0: all at once.
    workers: int = 0
    backlog: int = 128
    resets: int = 1
    slots: int = 64


def tcp_plan(sim: Simulation, server_host: SimHost, client_host: SimHost, plan: Plan) -> None:
    """A server and a client program, and flows between them."""
    to = (server_host.seen_from(client_host), PORT)
    count = sim.random.randint(1, plan.connections)
    flows = {n: make_flow(sim, n, plan.most, plan.resets) for n in range(1, count + 1)}
    # Flow 0 is the knock that finds out whether the server listens.
    flows[0] = Flow(0, Style.REQUEST, struct.pack(">I", 0), b"")
    server = server_host.add_program(slots=plan.slots)
    client = client_host.add_program(slots=plan.slots)
    over = False
    server.start(serve(server, flows, plan.backlog, lambda: over), "serve")
    left = list(range(count, 0, -1))

    async def work() -> None:
        while left:
            await run_client(client, flows[left.pop()], to)

    async def go() -> None:
        nonlocal over
        await connect_when_listening(client, to)
        workers = [client.start(work(), f"client {n}") for n in range(plan.workers or count)]
        await client.join(*workers)
        over = True
        server.wake()

    client.start(go(), "clients")


def tcp_streams(sim: Simulation, hosts: list[SimHost]) -> None:
    """Connections of random sizes and styles between two hosts, all at once."""
    tcp_plan(sim, hosts[0], hosts[1], Plan())


def tcp_backlog(sim: Simulation, hosts: list[SimHost]) -> None:
    """More clients at once than the backlog holds: all are served in the end."""
    backlog = sim.random.randint(1, 3)
    tcp_plan(sim, hosts[0], hosts[1], Plan(most=3000, connections=30, backlog=backlog))


def tcp_loopback(sim: Simulation, hosts: list[SimHost]) -> None:
    """Both programs on one host."""
    tcp_plan(sim, hosts[0], hosts[0], Plan(connections=10))


def tcp_churn(sim: Simulation, hosts: list[SimHost]) -> None:
    """Many short connections, a third of them reset, over few slots that are used again at once."""
    plan = Plan(most=60_000, connections=120, workers=sim.random.randint(1, 6), resets=5, slots=12)
    tcp_plan(sim, hosts[0], hosts[1], plan)


def tcp_bulk(sim: Simulation, hosts: list[SimHost]) -> None:
    """A few large transfers: rings grow."""
    tcp_plan(sim, hosts[0], hosts[1], Plan(most=6_000_000, connections=3))


def tcp_refused(sim: Simulation, hosts: list[SimHost]) -> None:
    """Connections to ports where nobody listens."""
    client = hosts[1].add_program()

    async def knock(port: int) -> None:
        await client.sleep(sim.random.random() * 3000)
        sock = await client.socket()
        sock.name = f"knock at {port}"
        try:
            await sock.connect((hosts[0].seen_from(hosts[1]), port))
        except ConnectionRefusedError:
            sock.close()
        else:
            raise SimulationError(f"port {port} answers, where nobody listens")

    for port in range(1, sim.random.randint(2, 12)):
        client.start(knock(port), f"knock at {port}")
