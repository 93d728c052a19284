"""haproxy between a client and two lighttpds, over the wire that loses 0.5 %.

One process with several threads; HTTP and TCP mode, health checks, the stats socket.
"""

import csv
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
HTTP, TCP, ONE, TWO = 8000, 8001, 8081, 8082

pytestmark = pytest.mark.apps("haproxy", "lighttpd", "curl")

CONFIG = f"""
global
  nbthread 2
  stats socket unix@stats mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  option redispatch
  retries 3
frontend web
  bind :{HTTP}
  default_backend two
backend two
  balance roundrobin
  option httpchk GET /20
  http-response set-header X-From %s
  server one 127.0.0.1:{ONE} check inter 100ms
  server two 127.0.0.1:{TWO} check inter 100ms
listen raw
  mode tcp
  bind :{TCP}
  server one 127.0.0.1:{ONE}
"""


class Haproxy:
    """A running one, with the two behind it."""

    def __init__(self, hosts: Any, pages: Path) -> None:
        self.hosts, self.pages = hosts, pages
        self.backends = {name: ExitStack() for name in ("one", "two")}

    def start(self, name: str) -> None:
        """Starts a lighttpd."""
        port = {"one": ONE, "two": TWO}[name]
        config = self.hosts.directory / f"{name}.conf"
        config.write_text(f'server.document-root = "{self.pages}"\nserver.port = {port}\n')
        serving = self.hosts.serve(port, "lighttpd", "-D", "-f", str(config))
        self.backends[name].enter_context(serving)

    def stop(self, name: str) -> None:
        """Ends it."""
        self.backends[name].close()

    def say(self, command: str) -> str:
        """What the stats socket, a UNIX socket of Linux's, says to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.hosts.directory / "stats"))
            connection.sendall(command.encode() + b"\n")
            said = b""
            while piece := connection.recv(65536):
                said += piece
        return said.decode()

    def stat(self, proxy: str, server: str) -> dict[str, str]:
        """A line of its statistics."""
        rows = csv.DictReader(self.say("show stat").removeprefix("# ").splitlines())
        return next(row for row in rows if (row["pxname"], row["svname"]) == (proxy, server))

    def is_up(self, name: str) -> bool:
        """Whether its health check says so."""
        return self.stat("two", name)["status"] == "UP"


@pytest.fixture(scope="module")
def haproxy(wire_hosts: Any, pages: Path) -> Iterator[Haproxy]:
    (wire_hosts.directory / "haproxy.cfg").write_text(CONFIG)
    running = Haproxy(wire_hosts, pages)
    with ExitStack() as stack:
        for name, backend in running.backends.items():
            stack.enter_context(backend)
            running.start(name)
        stack.enter_context(wire_hosts.serve(HTTP, "haproxy", "-db", "-f", "haproxy.cfg"))
        yield running


@pytest.mark.parametrize("port", [HTTP, TCP])
@pytest.mark.parametrize("size", [20, 512_000])
@pytest.mark.usefixtures("haproxy")
def test_every_byte_passes(wire_hosts: Any, pages: Path, port: int, size: int) -> None:
    got = wire_hosts.directory / "got"
    wire_hosts.ask("curl", "-sS", "--fail", "-o", str(got), f"http://{ADDRESS}:{port}/{size}")
    assert got.read_bytes() == (pages / str(size)).read_bytes()


def test_requests_are_shared_out(haproxy: Haproxy) -> None:
    def served(name: str) -> int:
        return int(haproxy.stat("two", name)["stot"])

    before = {name: served(name) for name in ("one", "two")}
    said = haproxy.hosts.ask("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%header{x-from} ",
                             f"http://{ADDRESS}:{HTTP}/20?[1-20]")  # fmt: skip
    assert sorted(said.split()) == ["one"] * 10 + ["two"] * 10
    assert {name: served(name) - before[name] for name in before} == {"one": 10, "two": 10}


@pytest.mark.apps("wrk")
@pytest.mark.usefixtures("haproxy")
@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
def test_wrk(wire_hosts: Any, header: str) -> None:
    said = wire_hosts.ask("wrk", "-t", "1", "-c", "16", "-d", "1s", "-H", header,
                          f"http://{ADDRESS}:{HTTP}/11000")  # fmt: skip
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None
    assert int(requests[1]) > 16


def test_health_checks(haproxy: Haproxy, until: Callable[[Callable[[], bool], str], None]) -> None:
    """One of the two goes and comes back; no request fails."""
    until(lambda: haproxy.is_up("two"), "two is up")
    haproxy.stop("two")
    until(lambda: haproxy.stat("two", "two")["status"] == "DOWN", "the check of two fails")
    said = haproxy.hosts.ask("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%header{x-from} ",
                             f"http://{ADDRESS}:{HTTP}/20?[1-10]")  # fmt: skip
    assert said.split() == ["one"] * 10
    haproxy.start("two")
    until(lambda: haproxy.is_up("two"), "two is up again")


def test_stats_socket(haproxy: Haproxy) -> None:
    assert "Name: HAProxy" in haproxy.say("show info")
    haproxy.say("set server two/one state maint")
    try:
        assert haproxy.stat("two", "one")["status"] == "MAINT"
        said = haproxy.hosts.ask("curl", "-sS", "-o", "/dev/null", "-w", "%header{x-from}",
                                 f"http://{ADDRESS}:{HTTP}/20")  # fmt: skip
        assert said == "two"
    finally:
        haproxy.say("set server two/one state ready")
