"""IP and UDP against the Linux kernel over TAP: pings and datagrams of all sizes, refusals, ARP.

Everything real: a booted host in a namespace of its own, Linux's ping and sockets on the other
side, an unmodified Python program behind the shim.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.apps("ip", "ping")]

TOPOLOGY = """
[host.udp{pid}]
addresses = ["10.215.0.2/24", "10.215.0.9/24"]
tap = {{ device = "ntudp0", peer = "10.215.0.1/24" }}
"""

ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 5300))
print("ready", flush=True)
while True:
    data, peer = sock.recvfrom(65536)
    if data == b"quit":
        break
    sock.sendto(data, peer)
"""

# Datagrams of many sizes to the echo, from whichever side this runs on; then a closed port.
CLIENT = """
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(30)
for address in sys.argv[1:]:
    sock.connect((address, 5300))
    for size in (0, 1, 92, 93, 1000, 1472, 1473, 8000, 30000, 65507):
        data = os.urandom(size)
        sock.send(data)
        back = sock.recv(65536)
        assert back == data, (address, size, len(back))
    sock.connect((address, 5301))
    sock.send(b"anybody?")
    try:
        sock.recv(1)
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("nobody refused")
print("all came back")
"""


class Edge:
    """The booted host; Linux's namespace around it is its only neighbour."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"ntudp{os.getpid()}"
        self.host = f"udp{os.getpid()}"
        self.env = dict(os.environ, NEWTOS_RUNTIME_DIR=str(folder / "run"))
        self.newtos = str(Path(sys.executable).with_name("newtos"))
        boot_file = folder / "edge.toml"
        boot_file.write_text(TOPOLOGY.format(pid=os.getpid()))
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.check(self.newtos, "boot", "--detach", str(boot_file))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *words],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def check(self, *words: str) -> str:
        with self.start(*words) as process:
            output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output

    @contextlib.contextmanager
    def echoing(self, *words: str) -> Iterator[None]:
        """An echo of datagrams runs, on either side."""
        with self.start(*words) as echo:
            try:
                assert echo.stdout is not None
                assert echo.stdout.readline() == "ready\n"
                yield
            finally:
                echo.terminate()

    def program(self, *words: str) -> list[str]:
        return [self.newtos, "run", "--host", self.host, "--", sys.executable, "-Pc", *words]

    def close(self) -> None:
        self.check(self.newtos, "down", self.host)
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    made = Edge(tmp_path_factory.mktemp("edge"))
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("size", [0, 56, 92, 93, 1472, 1473, 8000, 65507])
def test_pings_of_all_sizes(edge: Edge, size: int) -> None:
    output = edge.check("ping", "-c", "3", "-i", "0.05", "-W", "5", "-s", str(size), "10.215.0.2")
    assert ", 0% packet loss" in output


def test_ping_of_the_second_address(edge: Edge) -> None:
    assert ", 0% packet loss" in edge.check("ping", "-c", "1", "-W", "5", "10.215.0.9")


def test_datagrams_from_linux(edge: Edge) -> None:
    # Not to the second address: as on Linux, a wildcard's answers come from the first one.
    with edge.echoing(*edge.program(ECHO)):
        output = edge.check(sys.executable, "-Pc", CLIENT, "10.215.0.2")
    assert output == "all came back\n"


def test_datagrams_to_linux(edge: Edge) -> None:
    with edge.echoing(sys.executable, "-Pc", ECHO):
        output = edge.check(*edge.program(CLIENT, "10.215.0.1"))
    assert output == "all came back\n"


def test_datagrams_to_oneself(edge: Edge) -> None:
    with edge.echoing(*edge.program(ECHO)):
        output = edge.check(*edge.program(CLIENT, "127.0.0.1", "10.215.0.2", "10.215.0.9"))
    assert output == "all came back\n"


def test_linux_knows_the_host_as_a_neighbour(edge: Edge) -> None:
    edge.check("ping", "-c", "1", "-W", "5", "10.215.0.2")
    assert "lladdr" in edge.check("ip", "neigh", "show", "10.215.0.2")
