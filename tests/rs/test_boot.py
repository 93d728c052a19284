"""rs with fake servers (fake_servers.py): boot order, failures, restarts, nothing left behind."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rs_world import (
    DEADLINE_S,
    FAKES,
    TWO_HOSTS,
    World,
    everything,
    leftovers,
    make_world,
    regions_named,
    until,
)

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.region import all_of, map_memory, open_region, unmap_memory
from newtos_py.rs import front
from newtos_py.rs.boot import BootError, stop_hosts
from newtos_py.rs.clean import clean
from newtos_py.rs.process_id import send_signal, wait_for_exit
from newtos_py.rs.records import ServerState
from newtos_py.rs.runtime import region_name
from newtos_py.rs.server import FREE_RESTARTS, LAST_DELAY_S, MAX_QUICK_DEATHS, restart_delay_s

DESC_BYTES = 192


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with make_world(FAKES) as world:
        monkeypatch.setenv("NEWTOS_FAKES", str(world.root))
        yield world


def command(world: World, word: bytes) -> None:
    """Have the fake syscall server keep or drop one of everything."""
    path = world.runtime.control_path(world.host().token, "web")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(path))
        connection.send(word)
        assert connection.recv(100) == b"done"


class Asker:
    """The syscall server's end of its channels with a server: what the fake one leaves alone."""

    def __init__(self, world: World, role: str) -> None:
        self._producer = ffi.new("struct nt_producer *")
        self._consumer = ffi.new("struct nt_consumer *")
        self._mapped = []
        ends = (
            (lib.nt_producer_open, self._producer, f"ch.syscall.{role}"),
            (lib.nt_consumer_open, self._consumer, f"ch.{role}.syscall"),
        )
        for open_end, end, name in ends:
            region = open_region(region_name(world.host().token, "web", name), writable=True)
            memory = map_memory(region.descriptor, region.bytes, all_of(region.bytes))
            os.close(region.descriptor)
            self._mapped.append(memory)
            base = ffi.cast("void *", memory.address)
            assert open_end(end, base, memory.bytes, DESC_BYTES) == 0

    def close(self) -> None:
        """Unmap: clean would take who has a dead host's channel writable for one of its servers."""
        for memory in self._mapped:
            unmap_memory(memory)

    def ask(self) -> tuple[int, int]:
        """Send a descriptor; the answering process and how often it has answered."""
        slot = ffi.new("struct nt_desc *")
        assert lib.nt_producer_push(self._producer, slot)
        until(lambda: lib.nt_consumer_pop(self._consumer, slot))
        return slot.tag, slot.arg


# -- Up ----------------------------------------------------------------------------------------


def test_servers_start_after_those_they_need(world: World) -> None:
    planned, *ready = world.start(TWO_HOSTS).events()
    assert isinstance(planned, front.Planned)
    order = [(each.host, each.role) for each in planned.servers]
    assert len(order) == 10
    came = [(each.host, each.role) for each in ready if isinstance(each, front.ServerReady)]
    assert sorted(came) == sorted(order)
    for host in ("web", "client"):
        roles = [role for name, role in came if name == host]
        assert roles[:2] == ["wire.lan", "ip"]
        assert roles[-1] == "syscall"


def test_the_record_says_what_runs(world: World) -> None:
    rs = world.boot()
    record = world.host()
    assert record.rs.pid == rs.process.pid
    assert [server.role for server in record.servers] == ["ip", "udp", "tcp0", "syscall"]
    for server in record.servers:
        assert (server.state, server.generation, server.restarts) == (ServerState.RUNNING, 1, 0)
        assert server.process is not None
        name = Path(f"/proc/{server.process.pid}/cmdline").read_bytes().rstrip(b"\0")
        assert name.decode() == f"newtos:web:{server.role}"
        assert os.sched_getaffinity(server.process.pid) == {server.core}


def test_a_server_that_fails_is_named_and_nothing_is_left(world: World) -> None:
    world.tell("fail.ip")
    with pytest.raises(BootError, match=r"(?s)server ip did not start: told to fail.*Traceback"):
        world.boot(TWO_HOSTS)
    assert list(world.runtime.path.iterdir()) == []


def test_a_server_that_ends_at_once_is_named(world: World) -> None:
    world.tell("die.udp")
    with pytest.raises(BootError, match="server udp did not start: it ended"):
        world.boot()
    assert list(world.runtime.path.iterdir()) == []


def test_a_bad_topology_is_explained(world: World) -> None:
    with pytest.raises(BootError, match=r"net\.toml:2: .*hots"):
        world.boot("\n[hots.web]\n")


def test_a_running_host_is_not_booted_again(world: World) -> None:
    world.boot(TWO_HOSTS)
    with pytest.raises(BootError, match="host web is running already"):
        world.boot()
    assert len(world.runtime.running_hosts()) == 2


# -- Restarts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["udp", "tcp0"])
def test_a_killed_server_goes_on_from_its_arena(world: World, role: str) -> None:
    world.boot()
    asker = Asker(world, role)
    first = world.process(role)
    assert [asker.ask(), asker.ask()] == [(first.pid, 1), (first.pid, 2)]
    world.kill(role)
    second = world.process(role)
    assert asker.ask() == (second.pid, 3)
    server = world.server(role)
    assert (server.generation, server.restarts) == (2, 1)


def test_every_server_can_be_killed_and_the_others_stay(world: World) -> None:
    world.boot(TWO_HOSTS)
    for role in ("wire.lan", "ip", "udp", "tcp0", "syscall"):
        world.kill(role)
    assert [server.restarts for server in world.host().servers] == [1] * 5
    assert [server.restarts for server in world.host("client").servers] == [0] * 5


def test_an_arena_that_cannot_be_recovered_means_a_cold_start(world: World) -> None:
    world.boot()
    asker = Asker(world, "tcp0")
    assert asker.ask()[1] == 1
    region = open_region(region_name(world.host().token, "web", "arena.tcp0"), writable=True)
    os.pwrite(region.descriptor, b"junk", 0)
    os.close(region.descriptor)
    world.kill("tcp0")
    assert asker.ask() == (world.process("tcp0").pid, 1)


def test_a_server_that_keeps_dying_is_left_down(world: World) -> None:
    world.boot()
    world.tell("die.udp")
    world.kill("udp")
    assert world.server("udp").state is ServerState.FAILED
    assert world.server("udp").process is None
    assert Asker(world, "tcp0").ask()[1] == 1
    log = world.runtime.log_path(world.host().token, "web").read_text()
    assert f"udp died {MAX_QUICK_DEATHS} times in a row; it is left down" in log
    # What it would have to follow does not wait for it.
    command(world, b"keep")


@pytest.mark.parametrize("misfortune", ["spins", "is stopped"])
def test_a_server_that_hangs_is_restarted(world: World, misfortune: str) -> None:
    world.boot()
    if misfortune == "spins":
        world.tell("spin.udp")
    else:
        assert send_signal(world.process("udp"), signal.SIGSTOP)
    until(lambda: world.server("udp").generation == 2)
    assert world.server("tcp0").generation == 1


def test_who_is_killed_from_outside_is_never_left_down(world: World) -> None:
    world.boot()
    for _ in range(2 * MAX_QUICK_DEATHS):
        world.kill("udp")
        assert world.server("udp").state is ServerState.RUNNING


def test_delays_grow_and_end() -> None:
    delays = [restart_delay_s(deaths) for deaths in range(MAX_QUICK_DEATHS)]
    assert delays[: FREE_RESTARTS + 1] == [0.0] * (FREE_RESTARTS + 1)
    growing = [delay for delay in delays[FREE_RESTARTS + 1 :] if delay is not None]
    assert growing == sorted(set(growing))
    assert growing[-1] <= LAST_DELAY_S
    assert restart_delay_s(MAX_QUICK_DEATHS) is None


def test_a_dead_zygote_takes_nobody_along(world: World) -> None:
    world.boot()
    (zygote,) = world.host().helpers
    servers = [server.process for server in world.host().servers]
    assert send_signal(zygote, signal.SIGKILL)
    until(lambda: world.host().helpers not in ((), (zygote,)))
    assert [server.process for server in world.host().servers] == servers
    world.kill("tcp0")
    assert world.server("tcp0").generation == 2


# -- What programs share with servers ----------------------------------------------------------


def test_what_programs_share_is_handed_out_and_again_after_a_restart(world: World) -> None:
    world.boot(TWO_HOSTS)
    mapped, as_server, unmapped, queues, listeners, gone = range(6)
    command(world, b"keep")
    for role in ("wire.lan", "ip", "tcp0"):
        assert world.counter(role, mapped) == 1
        assert world.counter(role, as_server) == (role == "tcp0")
    assert world.counter("udp", mapped) == 0
    assert world.counter("tcp0", queues) == world.counter("tcp0", listeners) == 1
    # The status page outlives the server, and so do its counters.
    for role in ("wire.lan", "tcp0"):
        world.kill(role)
        assert world.counter(role, mapped) == 2
    assert world.counter("tcp0", queues) == world.counter("tcp0", listeners) == 2
    world.kill("syscall")
    assert world.counter("syscall", 0) == len(("program", "area", "queue", "listener", "note"))
    command(world, b"drop")
    assert world.counter("tcp0", gone) == 1
    assert [world.counter(role, unmapped) for role in ("wire.lan", "ip", "tcp0")] == [1] * 3
    world.kill("syscall")
    assert world.counter("syscall", 0) == 0


# -- Down --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_rs_leaves_nothing(world: World, number: signal.Signals) -> None:
    rs = world.boot(TWO_HOSTS)
    token, processes = everything(world)
    rs.process.send_signal(number)
    assert rs.wait() == 0
    assert leftovers(world, token, processes) == []


def test_the_end_of_whoever_booted_leaves_nothing(world: World) -> None:
    rs = world.boot(TWO_HOSTS)
    token, processes = everything(world)
    rs.stop()
    assert leftovers(world, token, processes) == []


def test_one_host_of_two_can_be_stopped(world: World) -> None:
    rs = world.boot(TWO_HOSTS)
    token = world.host().token
    client = everything(world)[1]
    assert stop_hosts(world.runtime, token, ["web"], DEADLINE_S)
    assert [record.host for record in world.runtime.running_hosts()] == ["client"]
    assert regions_named(f".{token}.web.") == []
    assert all(server.state is ServerState.RUNNING for server in world.host("client").servers)
    assert stop_hosts(world.runtime, token, ["client"], DEADLINE_S)
    assert rs.wait() == 0
    assert leftovers(world, token, client) == []


def test_a_killed_rs_leaves_servers_that_clean_removes(world: World) -> None:
    rs = world.boot(TWO_HOSTS)
    token, processes = everything(world)
    asker = Asker(world, "tcp0")
    rs.process.kill()
    rs.wait()
    assert asker.ask()[1] == 1
    asker.close()
    clean(world.runtime)
    assert all(wait_for_exit(process, DEADLINE_S) for process in processes)
    assert leftovers(world, token, processes) == []


def test_a_boot_that_is_stopped_half_way_leaves_nothing(world: World) -> None:
    rs = world.start(TWO_HOSTS)
    events = rs.events()
    assert isinstance(next(events), front.Planned)
    assert isinstance(next(events), front.ServerReady)
    rs.process.terminate()
    with pytest.raises(BootError, match="stopped before all servers were ready"):
        list(events)
    assert list(world.runtime.path.iterdir()) == []
