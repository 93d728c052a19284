"""The simulator itself: the same seed is the same run, and what is wrong is noticed."""

import os
import subprocess
import sys

import pytest

from newtos_py.sim.__main__ import main
from newtos_py.sim.payload import Expected, payload
from newtos_py.sim.program import SimProgram, SimSocket
from newtos_py.sim.scenario import run
from newtos_py.sim.simulation import Link, Role, SimHost, Simulation, SimulationError, Tuning
from newtos_py.sim.simulation import TraceLevel as Level

NAME = "tcp-streams/lossy/all"


def two_hosts(seed: int = 1, link: Link | None = None) -> tuple[Simulation, list[SimHost]]:
    sim = Simulation(Tuning(seed))
    hosts = [sim.add_host("a"), sim.add_host("b")]
    sim.add_wire(hosts[0], hosts[1], link or Link())
    sim.boot()
    return sim, hosts


def test_one_seed_is_one_run() -> None:
    first = run(NAME, 3, Level.STEPS)
    assert len(first.trace) > 10000
    assert run(NAME, 3, Level.STEPS) == first
    assert run(NAME, 4, Level.STEPS).trace != first.trace


def test_tracing_changes_nothing() -> None:
    silent, traced = run(NAME, 5), run(NAME, 5, Level.EVENTS)
    assert (silent.steps, silent.past_s, silent.deaths) == (
        traced.steps, traced.past_s, traced.deaths,
    )  # fmt: skip


def test_another_process_repeats_it_byte_by_byte() -> None:
    """Addresses and hashes differ there; the trace must not."""
    command = [sys.executable, "-m", "newtos_py.sim", "--scenario", NAME, "--seed", "3",
               "--steps", "--trace", "-"]  # fmt: skip
    env = dict(os.environ, PYTHONHASHSEED="12345", PYTHONSAFEPATH="1")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.startswith(run(NAME, 3, Level.STEPS).trace)


def test_command_tells_of_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sim", "--scenario", "tcp-refused/clean/none", "--seeds", "2"])
        assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "tcp-refused/clean/none seed 0", "tcp-refused/clean/none seed 1",
    ]  # fmt: skip


def test_a_failure_says_how_to_repeat_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Expected, "take", lambda _self, _data: _wrong())
    monkeypatch.setattr(sys, "argv", ["sim", "--scenario", "tcp-streams/clean/none", "--seed", "6"])
    assert main() == 1
    error = capsys.readouterr().err
    assert "python -m newtos_py.sim --scenario tcp-streams/clean/none --seed 6" in error


def _wrong() -> None:
    raise SimulationError("a byte is wrong")


def test_a_program_that_waits_in_vain_is_a_failure() -> None:
    sim, hosts = two_hosts()
    program = hosts[0].add_program()

    async def wait() -> None:
        sock = await program.socket()
        await sock.bind(("0.0.0.0", 80))
        await sock.listen(5)
        await sock.accept()

    program.start(wait(), "waiter")
    with pytest.raises(SimulationError, match=r"everybody sleeps.*waiter for accept"):
        sim.run(10)


def test_a_program_that_never_ends_is_a_failure() -> None:
    sim, hosts = two_hosts()
    program = hosts[0].add_program()

    async def forever() -> None:
        while True:
            await program.sleep(1000)

    program.start(forever())
    with pytest.raises(SimulationError, match="not done after 2 s"):
        sim.run(2)


def test_a_socket_left_open_is_a_leak() -> None:
    sim, hosts = two_hosts()
    program = hosts[0].add_program()

    async def leave() -> None:
        sock = await program.socket()
        await sock.bind(("0.0.0.0", 80))

    program.start(leave())
    sim.run(10)
    with pytest.raises(SimulationError, match="1 TCBs are in use"):
        sim.drain()


def test_a_wrong_byte_a_missing_byte_and_one_too_many_are_noticed() -> None:
    data = payload("x", 100)
    stream = Expected("s", data)
    stream.take(data[:50])
    with pytest.raises(SimulationError, match="byte 60 of 100 is wrong"):
        stream.take(data[50:60] + bytes([data[60] ^ 1]) + data[61:])
    with pytest.raises(SimulationError, match="ends after 50 of 100"):
        stream.end()
    stream.take(data[50:])
    stream.end()
    with pytest.raises(SimulationError, match="more than the 100 bytes"):
        stream.take(b"y")


async def _exchange(program: SimProgram, sock: SimSocket, rounds: int) -> None:
    for i in range(rounds):
        await sock.send_all(bytes([i]) * 1000)
        assert await sock.recv_exactly(1000) == bytes([i]) * 1000
        await program.sleep(1000)
    sock.close()


async def _echo(listener: SimSocket) -> None:
    sock, _ = await listener.accept()
    while data := await sock.recv(4096):
        await sock.send_all(data)
    sock.close()
    await listener.unlisten()


def _start_echo(hosts: list[SimHost], rounds: int) -> None:
    server, client = hosts[0].add_program(), hosts[1].add_program()

    async def serve() -> None:
        listener = await server.socket()
        await listener.bind(("0.0.0.0", 7))
        await listener.listen(1)

        async def connect() -> None:
            sock = await client.socket()
            await sock.connect((hosts[0].addresses[0], 7))
            await _exchange(client, sock, rounds)

        client.start(connect(), "client")
        await _echo(listener)

    server.start(serve(), "server")


@pytest.mark.parametrize("role", [Role.WIRE, Role.IP, Role.UDP, Role.TCP])
def test_a_connection_outlives_each_server(role: Role) -> None:
    sim, hosts = two_hosts()
    _start_echo(hosts, 20)
    killer = hosts[0].add_program()

    async def kill() -> None:
        for host in hosts * 3:
            await killer.sleep(5000)
            sim.kill(host, role)

    killer.start(kill(), "killer")
    sim.run(100)
    assert sim.deaths == 6
    sim.drain()


ESTABLISHED = 6  # NT_TCP_ESTABLISHED_TOTAL


def _start_many(hosts: list[SimHost], count: int) -> None:
    """Echo over `count` connections at once."""
    server, client = hosts[0].add_program(), hosts[1].add_program()
    ended: list[int] = []

    async def echo(sock: SimSocket) -> None:
        while data := await sock.recv(4096):
            await sock.send_all(data)
        sock.close()

    async def serve() -> None:
        listener = await server.socket()
        await listener.bind(("0.0.0.0", 7))
        await listener.listen(count)
        for number in range(count):
            client.start(connect(number), "client")
        for _ in range(count):
            server.start(echo((await listener.accept())[0]), "echo")
        while len(ended) < count:
            await server.sleep(10_000)
        await listener.unlisten()

    async def connect(number: int) -> None:
        sock = await client.socket()
        await sock.connect((hosts[0].addresses[0], 7))
        await _exchange(client, sock, 20)
        ended.append(number)

    server.start(serve(), "server")


@pytest.mark.parametrize("steering", ["rss", "flow-groups", "rfd"])
@pytest.mark.parametrize("lane", [0, 1, 2])
def test_connections_outlive_each_lane(steering: str, lane: int) -> None:
    sim = Simulation(Tuning(lane))
    hosts = [sim.add_host("a", 3, steering), sim.add_host("b", 3, steering)]
    sim.add_wire(hosts[0], hosts[1], Link())
    sim.boot()
    _start_many(hosts, 24)
    killer = hosts[0].add_program()

    async def kill() -> None:
        for host in hosts * 3:
            await killer.sleep(5000)
            sim.kill(host, Role.TCP, lane)

    killer.start(kill(), "killer")
    sim.run(100)
    assert sim.deaths == 6
    for host in hosts:  # counters count a batch twice that was half done
        used = [sim.counter(host, Role.TCP, ESTABLISHED, number) for number in range(3)]
        assert min(used) > 0, "every lane has some"
        assert sum(used) >= 24
    sim.drain()


def test_lanes_are_repeated_too() -> None:
    name = "tcp-churn@3-flow-groups/lossy/tcp"
    assert run(name, 3, Level.STEPS) == run(name, 3, Level.STEPS)


@pytest.mark.parametrize("role", [Role.WIRE, Role.IP])
def test_a_connection_outlives_the_loss_of_a_server_with_its_memory(role: Role) -> None:
    sim, hosts = two_hosts()
    _start_echo(hosts, 20)
    killer = hosts[0].add_program()

    async def kill() -> None:
        for host in hosts * 2:
            await killer.sleep(5000)
            sim.kill(host, role, cold=True)

    killer.start(kill(), "killer")
    sim.run(1000)
    assert sim.deaths == 4
    sim.drain()


def test_tcp_without_its_memory_resets_its_connections() -> None:
    sim, hosts = two_hosts()
    server, client = hosts[0].add_program(), hosts[1].add_program()
    ends: list[str] = []

    async def serve() -> None:
        listener = await server.socket()
        await listener.bind(("0.0.0.0", 7))
        await listener.listen(1)
        client.start(connect(), "client")
        sock, _ = await listener.accept()
        with pytest.raises(ConnectionResetError):
            await sock.recv(1)
        ends.append("server")
        sock.close()
        listener.close()

    async def connect() -> None:
        sock = await client.socket()
        await sock.connect((hosts[0].addresses[0], 7))
        await client.sleep(20000)
        sim.kill(hosts[0], Role.TCP, cold=True)
        await client.sleep(20000)
        await sock.send_all(b"are you there?")
        with pytest.raises(ConnectionResetError):
            await sock.recv(1)
        ends.append("client")
        sock.close()

    server.start(serve(), "server")
    sim.run(100)
    assert sorted(ends) == ["client", "server"]
    sim.drain()


def test_whoever_reads_the_list_may_stop() -> None:
    """As `--list | head` does."""
    command = [sys.executable, "-P", "-m", "newtos_py.sim", "--list"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""
