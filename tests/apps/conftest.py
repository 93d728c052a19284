"""Two hosts and a wire, booted once a test file, and programs on them.

The servers are real, the wire is real, the programs are the distribution's own. Host names carry
the pid, so that two runs on one machine don't meet.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from newtos_py.kernel.server import UDP
from newtos_py.kernel.sockets import SocketInfo, SocketState
from newtos_py.observe.sockets import host_sockets
from newtos_py.rs.runtime import open_runtime_dir

SERVER_ADDRESS, CLIENT_ADDRESS = "10.0.0.2", "10.0.0.3"
DEADLINE_S = 30

# Connects until somebody answers: run on a host, so that one process makes all the attempts.
AWAIT = """
import socket, sys, time
deadline = time.monotonic() + float(sys.argv[3])
while time.monotonic() < deadline:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
else:
    sys.exit(1)
"""


def newtos() -> str:
    return str(Path(sys.executable).parent / "newtos")


@dataclass
class Hosts:
    """A running pair; `web` serves, `client` asks."""

    directory: Path
    web: str
    client: str
    wire: str = ""
    # Further keys of both hosts.
    keys: str = ""
    log: list[Path] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        path = f"{Path(sys.executable).parent}:{plain.get('PATH', '')}:/usr/sbin:/sbin"
        return plain | {"NEWTOS_RUNTIME_DIR": str(self.directory / "run"), "PATH": path}

    def command(self, *words: str, timeout: float = DEADLINE_S) -> CompletedProcess[str]:
        return subprocess.run(
            [newtos(), *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def boot(self, wire: str = "") -> None:
        topology = self.directory / "two.toml"
        topology.write_text(
            f'[host.{self.web}]\naddress = "{SERVER_ADDRESS}/24"\n{self.keys}'
            f'[host.{self.client}]\naddress = "{CLIENT_ADDRESS}/24"\n{self.keys}'
            f'[wire.lan]\nhosts = ["{self.web}", "{self.client}"]\n{wire}\n'
        )
        (self.directory / "run").mkdir(mode=0o700)
        done = self.command("boot", str(topology), "--detach")
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> None:
        done = self.command("down", "--all")
        assert done.returncode == 0, done.stdout + done.stderr

    def servers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.command("ps", "--json").stdout)
        return listed

    def run(
        self,
        host: str,
        *command: str,
        timeout: float = DEADLINE_S,
        check: bool = True,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> CompletedProcess[str]:
        done = subprocess.run(
            [newtos(), "run", "--host", host, "--", *command],
            env=self.env | (env or {}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def ask(self, *command: str, **options: Any) -> str:
        """Runs a program on the client; what it printed."""
        return self.run(self.client, *command, **options).stdout

    def sockets(self, host: str) -> list[SocketInfo]:
        """All sockets of a host, listening ones too: what `newtos ss -a` reads."""
        return list(host_sockets(open_runtime_dir(self.directory / "run").find_host(host)))

    def counter(self, host: str, server: str, name: str) -> int:
        """A counter of a server, as `newtos counters` shows it."""
        done = self.command("counters", "--host", host, "--server", server, "--all", "--json")
        assert done.returncode == 0, done.stderr
        listed: list[dict[str, Any]] = json.loads(done.stdout)
        return sum(row["value"] for row in listed if row["counter"] == name)

    def await_sockets(self, host: str, wanted: Callable[[list[SocketInfo]], bool]) -> None:
        """Waits until the sockets of a host are as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while not wanted(listed := self.sockets(host)):
            assert time.monotonic() < deadline, f"never on {host}, but: {listed}"
            os.sched_yield()

    def await_port(self, host: str, port: int) -> None:
        """Waits until somebody has the port; connects to nobody, so a server of one sees none."""
        waiting = (SocketState.LISTEN, SocketState.CLOSED, SocketState.ESTABLISHED)

        def serves(one: SocketInfo) -> bool:
            states = waiting if one.protocol == UDP else waiting[:1]
            return one.local.port == port and one.state in states

        self.await_sockets(host, lambda listed: any(map(serves, listed)))

    def await_nothing_left(self, ports: Collection[int] = ()) -> None:
        """Waits until no program has a socket of these ports, or any, on either host.

        What is in TIME-WAIT is nobody's.
        """

        def is_left(one: SocketInfo) -> bool:
            chosen = not ports or one.local.port in ports or one.peer.port in ports
            return chosen and one.state is not SocketState.TIME_WAIT

        for host in (self.web, self.client):
            self.await_sockets(host, lambda listed: not any(map(is_left, listed)))

    def start(self, host: str, *command: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a program on a host; it is the caller's to talk to and to end."""
        options = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
            "cwd": self.directory,
        } | options
        env = self.env | options.pop("env", {})
        words = [newtos(), "run", "--host", host, "--", *command]
        return subprocess.Popen(words, env=env, **options)

    @contextmanager
    def serve(
        self,
        port: int,
        *command: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        host: str | None = None,
        once: bool = False,
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Runs a server, on `web` by default, for as long as the block lasts.

        It accepts when this yields. One that serves once is not tried out, and may have ended.
        """
        host = host or self.web
        log = self.directory / f"{Path(command[0]).name}-{port}.log"
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [newtos(), "run", "--host", host, "--", *command],
                env=self.env | (env or {}),
                stdout=output,
                stderr=output,
                cwd=cwd or self.directory,
                process_group=0,  # lighttpd's master passes SIGTERM on to all of its group
            ) as process,
        ):
            try:
                if once:
                    self.await_port(host, port)
                    yield process
                    return
                waited = self.run(
                    host, sys.executable, "-c", AWAIT, "127.0.0.1", str(port), "20", check=False
                )
                assert process.poll() is None, log.read_text()
                assert waited.returncode == 0, f"nobody accepts: {waited.stderr}{log.read_text()}"
                yield process
                assert process.poll() is None, f"it died: {log.read_text()}"
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    pytest.fail(f"it does not end at SIGTERM: {log.read_text()}")
        assert "AddressSanitizer" not in log.read_text()


@contextmanager
def running_hosts(wire: str, keys: str = "", *, may_restart: bool = False) -> Iterator[Hosts]:
    directory = Path(tempfile.mkdtemp(prefix="newtos-apps-"))
    hosts = Hosts(directory, f"web{os.getpid()}", f"client{os.getpid()}", keys=keys)
    hosts.boot(wire)
    try:
        yield hosts
        if may_restart:
            return
        restarts = {server["server"]: server["restarts"] for server in hosts.servers()}
        assert not any(restarts.values()), f"a server died under a test: {restarts}"
    finally:
        hosts.down()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """A clean wire."""
    with running_hosts("") as pair:
        yield pair


@pytest.fixture(scope="module")
def lossy_hosts() -> Iterator[Hosts]:
    """A wire that loses 2 % and reorders."""
    with running_hosts('loss = "2%"\nreorder = "2%"\nseed = 7\n') as pair:
        yield pair


@pytest.fixture(scope="module")
def wire_hosts() -> Iterator[Hosts]:
    """The wire on which the programs of docs/programs.md do their work: it loses 0.5 %.

    They leave no socket behind, whoever of them ended first, and however.
    """
    with running_hosts('loss = "0.5%"\nseed = 11\n') as pair:
        yield pair
        pair.await_nothing_left()


@pytest.fixture(scope="session")
def make_hosts() -> Callable[..., AbstractContextManager[Hosts]]:
    """Boots hosts of one's own."""
    return running_hosts


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of random bytes, named by their sizes: those that the issue names."""
    directory = tmp_path_factory.mktemp("pages")
    for size in (20, 11_000, 512_000, 100_000_000):
        with (directory / str(size)).open("wb") as file:
            left = size
            while left > 0:
                piece = os.urandom(min(left, 1 << 20))
                file.write(piece)
                left -= len(piece)
    return directory


@pytest.fixture
def until() -> Callable[[Callable[[], bool], str], None]:
    """Waits until something holds, up to the deadline."""

    def wait(holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not holds():
            assert time.monotonic() < deadline, f"never: {what}"

    return wait
