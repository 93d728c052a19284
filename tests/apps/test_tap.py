"""Real programs on a host, asked by real programs of Linux, over TAP.

The host is booted in a network namespace, whose Linux is on the other side of the device.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.apps("ip", "ping")]

LINUX, EDGE = "10.215.0.1", "10.215.0.2"
DEADLINE_S = 60

# Takes all that one connection sends, and answers with its length and checksum.
SINK = """
import hashlib, socket
with socket.create_server(("0.0.0.0", 9)) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            digest, size = hashlib.sha256(), 0
            while data := connection.recv(1 << 18):
                digest.update(data)
                size += len(data)
            connection.sendall(f"{size} {digest.hexdigest()}".encode())
"""

# Sends a file to the sink; prints the answer.
UPLOAD = """
import socket, sys
with socket.create_connection((sys.argv[1], 9), 20) as s, open(sys.argv[2], "rb") as file:
    s.settimeout(60)
    s.sendfile(file)
    s.shutdown(socket.SHUT_WR)
    print(s.recv(1000).decode())
"""


class Edge:
    """A host behind a TAP device, and the namespace that has the device."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="newtos-tap-"))
        self.name = f"edge{os.getpid()}"
        self.namespace = f"nttap{os.getpid()}"
        plain = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
        path = f"{Path(sys.executable).parent}:{plain.get('PATH', '')}:/usr/sbin:/sbin"
        self.env = plain | {"NEWTOS_RUNTIME_DIR": str(self.directory / "run"), "PATH": path}
        (self.directory / "run").mkdir(mode=0o700)
        boot_file = self.directory / "edge.toml"
        boot_file.write_text(
            f'[host.{self.name}]\naddress = "{EDGE}/24"\n'
            f'tap = {{ device = "newtos0", peer = "{LINUX}/24" }}\n'
        )
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.linux(self.newtos(), "boot", "--detach", str(boot_file))

    def newtos(self) -> str:
        return str(Path(sys.executable).parent / "newtos")

    def linux(self, *command: str) -> str:
        """Run a program on the Linux side of the device; what it printed."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def serve(self, port: int, *command: str) -> Iterator[None]:
        """Run a program on the host for as long as the block lasts; it accepts when this yields."""
        log = self.directory / f"{port}.log"
        words = [self.newtos(), "run", "--host", self.name, "--", *command]
        with (
            log.open("wb") as output,
            subprocess.Popen(words, env=self.env, stdout=output, stderr=output) as process,
        ):
            try:
                self.wait_for(port, process, log)
                yield
                assert process.poll() is None, f"it died: {log.read_text()}"
            finally:
                process.terminate()
                process.wait(DEADLINE_S)

    def wait_for(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
        deadline = time.monotonic() + DEADLINE_S
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", probe, EDGE]
        while subprocess.run([*command, str(port)], check=False, capture_output=True).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"nobody accepts: {log.read_text()}"

    def restarts(self) -> dict[str, int]:
        done = subprocess.run(
            [self.newtos(), "ps", "--json"], env=self.env, check=True, capture_output=True
        )
        return {row["server"]: row["restarts"] for row in json.loads(done.stdout)}

    def close(self) -> None:
        subprocess.run([self.newtos(), "down", "--all"], env=self.env, check=True)
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    made = Edge()
    try:
        yield made
        restarts = made.restarts()
        assert not any(restarts.values()), f"a server died under a test: {restarts}"
    finally:
        made.close()


@pytest.fixture(scope="module")
def lighttpd(edge: Edge, pages: Path) -> Iterator[None]:
    config = edge.directory / "lighttpd.conf"
    config.write_text(f'server.document-root = "{pages}"\nserver.port = 80\n')
    with edge.serve(80, "lighttpd", "-D", "-f", str(config)):
        yield


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", ["56", "1472", "8000"])
def test_ping(edge: Edge, size: str) -> None:
    """The last in fragments, both ways."""
    said = edge.linux("ping", "-c", "10", "-i", "0.01", "-W", "5", "-s", size, EDGE)
    assert " 0% packet loss" in said


@pytest.mark.apps("lighttpd", "curl")
@pytest.mark.usefixtures("lighttpd")
@pytest.mark.parametrize("size", [20, 11_000, 512_000, 100_000_000])
def test_curl_gets_every_byte(edge: Edge, pages: Path, size: int) -> None:
    got = edge.directory / "got"
    edge.linux("curl", "-sS", "--fail", "-o", str(got), f"http://{EDGE}/{size}")
    assert digest(got) == digest(pages / str(size))


@pytest.mark.apps("lighttpd", "wrk")
@pytest.mark.usefixtures("lighttpd")
@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
def test_wrk(edge: Edge, header: str) -> None:
    said = edge.linux("wrk", "-t", "1", "-c", "64", "-d", "1s", "-H", header, f"http://{EDGE}/20")
    assert "Socket errors" not in said
    assert "Non-2xx" not in said


def test_linux_sends_a_lot(edge: Edge, pages: Path) -> None:
    """The other way: large segments that Linux has made."""
    path = pages / "100000000"
    with edge.serve(9, sys.executable, "-Pc", SINK):
        said = edge.linux(sys.executable, "-Pc", UPLOAD, EDGE, str(path))
    assert said.split() == [str(path.stat().st_size), digest(path)]


@pytest.mark.apps("memcached", "memccapable")
def test_memccapable(edge: Edge) -> None:
    with edge.serve(11211, "memcached", "-u", "root", "-p", "11211", "-U", "0"):
        assert "All tests passed" in edge.linux("memccapable", "-h", EDGE)


@pytest.mark.apps("redis-server", "redis-benchmark")
def test_redis_benchmark(edge: Edge) -> None:
    quiet = ["--save", "", "--bind", "0.0.0.0", "--protected-mode", "no"]
    with edge.serve(6379, "redis-server", *quiet):
        said = edge.linux("redis-benchmark", "-h", EDGE, "--csv", "-n", "2000")
    # A line each of its twenty tests, and a heading.
    assert len(said.splitlines()) >= 20
