"""`clean` removes all of the dead and nothing of the living."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from newtos_py.rs.clean import Leftover, LeftoverKind, clean
from newtos_py.rs.process_id import ProcessId, boot_id, is_alive, own_id
from newtos_py.rs.records import HostRecord, ServerRecord, ServerState
from newtos_py.rs.runtime import RuntimeDir, new_token, open_runtime_dir, region_name

Start = Callable[..., ProcessId]
# As identify() finds no one with it: the rs of a dead host.
GONE = ProcessId(2**22 + 1, 1)


class Machine:
    """A runtime directory and a /dev/shm of its own."""

    def __init__(self, path: Path) -> None:
        self.runtime: RuntimeDir = open_runtime_dir(path / "newtos")
        self.shm = path / "shm"
        self.shm.mkdir()

    def region(self, token: str, host: str, role: str) -> Path:
        path = self.shm / region_name(token, host, role).lstrip("/")
        path.write_bytes(bytes(4096))
        return path

    def host(
        self,
        name: str,
        token: str,
        rs: ProcessId,
        servers: tuple[ProcessId, ...] = (),
        helpers: tuple[ProcessId, ...] = (),
    ) -> HostRecord:
        record = HostRecord(
            host=name,
            token=token,
            boot_file="net.toml",
            boot_id=boot_id(),
            rs=rs,
            programs_core=0,
            slice_us=100,
            helpers=helpers,
            servers=tuple(
                ServerRecord(f"tcp{i}", 0, ServerState.RUNNING, 1, 0, process)
                for i, process in enumerate(servers)
            ),
        )
        self.runtime.register([record])
        self.runtime.control_path(token, name).touch()
        return record

    def clean(self) -> list[Leftover]:
        return clean(self.runtime, self.shm)

    def everything(self) -> list[Path]:
        return [*self.runtime.path.rglob("*"), *self.shm.iterdir()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_to_clean(machine: Machine) -> None:
    assert machine.clean() == []


def test_all_of_a_dead_host_goes(machine: Machine, start: Start) -> None:
    token = new_token()
    region = machine.region(token, "web", "tcp0.arena")
    server, zygote = start("map", region), start()
    machine.host("web", token, GONE, servers=(server,), helpers=(zygote,))
    removed = machine.clean()
    assert not is_alive(server)
    assert not is_alive(zygote)
    assert machine.everything() == []
    assert sorted(removed, key=lambda leftover: (leftover.kind, leftover.name)) == sorted(
        [
            Leftover(LeftoverKind.PROCESS, str(server.pid)),
            Leftover(LeftoverKind.PROCESS, str(zygote.pid)),
            Leftover(LeftoverKind.REGION, f"/newtos.{token}.web.tcp0.arena"),
            Leftover(LeftoverKind.FILE, str(machine.runtime.record_path(token, "web"))),
            Leftover(LeftoverKind.FILE, str(machine.runtime.control_path(token, "web"))),
        ],
        key=lambda leftover: (leftover.kind, leftover.name),
    )
    assert machine.clean() == []


def test_a_living_host_is_left_alone(machine: Machine, start: Start) -> None:
    token = new_token()
    region = machine.region(token, "web", "ip")
    server = start("map", region)
    machine.host("web", token, own_id(), servers=(server,))
    before = machine.everything()
    assert machine.clean() == []
    assert is_alive(server)
    assert machine.everything() == before


def test_a_living_host_keeps_what_is_its_own_beside_a_dead_one(
    machine: Machine, start: Start
) -> None:
    """Their drivers have the wire's regions mapped on both sides."""
    token = new_token()
    lost, kept = machine.region(token, "web", "wire.lan"), machine.region(token, "client", "ip")
    server = start("map", lost, "map", kept)
    machine.host("web", token, GONE)
    client = machine.host("client", token, own_id(), servers=(server,))
    machine.clean()
    assert is_alive(server)
    assert list(machine.shm.iterdir()) == [kept]
    assert machine.runtime.all_hosts() == [client]


def test_one_hosts_name_may_begin_like_anothers(machine: Machine) -> None:
    token = new_token()
    machine.region(token, "web", "ip")
    kept = machine.region(token, "web2", "ip")
    machine.host("web", token, GONE)
    machine.host("web2", token, own_id())
    machine.clean()
    assert list(machine.shm.iterdir()) == [kept]


def test_a_reused_pid_is_not_killed(machine: Machine, start: Start) -> None:
    stranger = start()
    earlier = replace(stranger, start_ticks=stranger.start_ticks - 1)
    machine.host("web", new_token(), earlier, servers=(earlier,))
    machine.clean()
    assert is_alive(stranger)
    assert machine.everything() == []


def test_a_server_that_rs_had_no_time_to_record_is_killed(machine: Machine, start: Start) -> None:
    token = new_token()
    server = start("map", machine.region(token, "web", "ip"))
    machine.host("web", token, GONE)
    machine.clean()
    assert not is_alive(server)
    assert machine.everything() == []


def test_an_observer_is_not_killed(machine: Machine, start: Start) -> None:
    token = new_token()
    observer = start("observe", machine.region(token, "web", "ip"))
    machine.host("web", token, GONE)
    machine.clean()
    assert is_alive(observer)
    assert machine.everything() == []


@pytest.mark.parametrize("way", ["map", "observe", "open"])
def test_regions_of_another_runtime_directory_stay_while_used(
    machine: Machine, start: Start, way: str
) -> None:
    token = new_token()
    used, sibling = machine.region(token, "web", "ip"), machine.region(token, "web", "tcp0")
    user = start(way, used)
    assert machine.clean() == []
    assert is_alive(user)
    assert {used, sibling} == set(machine.shm.iterdir())


def test_regions_that_nobody_knows_or_uses_go(machine: Machine) -> None:
    token = new_token()
    machine.region(token, "web", "ip")
    assert machine.clean() == [Leftover(LeftoverKind.REGION, f"/newtos.{token}.web.ip")]
    assert machine.everything() == []


def test_other_programs_shared_memory_is_left_alone(machine: Machine) -> None:
    names = ["newtos", "newtos.txt", "sem.newtos", "newtos.UPPERCASE123.web.ip", "newtos.0a.web.ip"]
    for name in names:
        (machine.shm / name).touch()
    assert machine.clean() == []
    assert {path.name for path in machine.shm.iterdir()} == set(names)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_regions_are_left_alone(machine: Machine) -> None:
    region = machine.region(new_token(), "web", "ip")
    os.chown(region, 12345, -1)
    assert machine.clean() == []
    assert region.exists()


def test_a_folder_of_another_version_goes_once_nobody_uses_it(
    machine: Machine, start: Start
) -> None:
    token = new_token()
    machine.runtime.folder(token).mkdir()
    machine.runtime.record_path(token, "web").write_text('{"version": 99}')
    user = start("observe", machine.region(token, "web", "ip"))
    assert machine.clean() == []
    os.kill(user.pid, 9)
    os.waitid(os.P_PID, user.pid, os.WEXITED | os.WNOWAIT)
    machine.clean()
    assert machine.everything() == []
