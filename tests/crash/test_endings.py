"""However hosts end, nothing of them is left: no process, no shared memory, no file."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_hosts import ADDRESS, CLIENT, DEADLINE_S, HOSTS, TOPOLOGY, WEB, until

from newtos_py.cli.demo_programs import probe
from newtos_py.rs.process_id import ProcessId, is_alive
from newtos_py.rs.runtime import RuntimeDir, open_runtime_dir
from newtos_py.rs.scratch import find_newtos


class Instance:
    """Hosts booted from the command line, with programs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "NEWTOS_RUNTIME_DIR": str(folder / "run")}
        self.runtime: RuntimeDir = open_runtime_dir(folder / "run")
        self.boot_file = folder / "lan.toml"
        self.boot_file.write_text(TOPOLOGY)

    def newtos(self, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [find_newtos(), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )

    def do(self, *words: str) -> str:
        with self.newtos(*words) as process:
            said = process.communicate(timeout=DEADLINE_S)[0].decode()
        assert process.returncode == 0, said
        return said

    def processes(self) -> list[ProcessId]:
        records = [self.runtime.find_host(host) for host in HOSTS]
        return [process for each in records for process in (each.rs, *each.processes)]

    def token(self) -> str:
        return self.runtime.find_host(WEB).token


@pytest.fixture
def instance() -> Iterator[Instance]:
    folder = Path(tempfile.mkdtemp(prefix="newtos-end-"))
    instance = Instance(folder)
    yield instance
    instance.do("down", "--all")
    instance.do("clean")
    shutil.rmtree(folder)


def traces(instance: Instance, token: str, processes: list[ProcessId]) -> list[str]:
    memory = [path.name for path in Path("/dev/shm").iterdir() if token in path.name]
    files = [str(path) for path in instance.runtime.path.iterdir()]
    return memory + files + [str(each) for each in processes if is_alive(each)]


def use(instance: Instance) -> None:
    """Have a connection, so that there are areas, listeners and TIME-WAIT."""
    serve = ["python3", "-m", "http.server", "80", "--directory", str(instance.folder)]
    with instance.newtos("run", "--host", WEB, "--", *serve) as server:
        instance.do("run", "--host", CLIENT, "--", *probe(ADDRESS, 80))
        fetch = ["curl", "-sSf", f"http://{ADDRESS}/lan.toml"]
        assert "[wire.lan]" in instance.do("run", "--host", CLIENT, "--", *fetch)
        server.terminate()
        server.communicate(timeout=DEADLINE_S)


@pytest.mark.apps("curl")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_attached_boot(instance: Instance, number: signal.Signals) -> None:
    with instance.newtos("boot", str(instance.boot_file)) as boot:
        until(lambda: len(instance.runtime.running_hosts()) == 2 and is_up(instance), "it is up")
        token, processes = instance.token(), instance.processes()
        use(instance)
        if number == signal.SIGINT:  # Ctrl-C reaches the whole group of a terminal
            os.killpg(boot.pid, number)
        else:
            boot.send_signal(number)
        boot.communicate(timeout=DEADLINE_S)
    assert traces(instance, token, processes) == []


def is_up(instance: Instance) -> bool:
    records = [instance.runtime.find_host(host) for host in HOSTS]
    return all(server.state == "running" for each in records for server in each.servers)


@pytest.mark.apps("curl")
def test_down_ends_everything(instance: Instance) -> None:
    instance.do("boot", "--detach", str(instance.boot_file))
    token, processes = instance.token(), instance.processes()
    use(instance)
    instance.do("down", "--all")
    assert traces(instance, token, processes) == []


@pytest.mark.apps("curl")
def test_clean_removes_what_a_killed_rs_leaves(instance: Instance) -> None:
    instance.do("boot", "--detach", str(instance.boot_file))
    token, processes = instance.token(), instance.processes()
    use(instance)
    os.kill(instance.runtime.find_host(WEB).rs.pid, signal.SIGKILL)
    instance.do("clean")
    assert traces(instance, token, processes) == []
