"""lighttpd with workers, and with CGI: children of fork() that serve, and that exec a program."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT, KILLED = 8590, 8690
WORKERS = 3
PROGRAMS = Path(__file__).parent / "programs"
Until = Callable[[Callable[[], bool], str], None]

pytestmark = pytest.mark.apps("lighttpd", "curl")

# What it is told, what it got, and then so many bytes that they don't fit into a pipe.
CGI = """#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
echo "$REQUEST_METHOD $QUERY_STRING $REMOTE_ADDR $SERVER_PORT"
sha256sum | cut -c -64
head -c "${QUERY_STRING:-0}" /dev/zero
"""


@contextmanager
def lighttpd(hosts: Any, port: int) -> Iterator[Popen[bytes]]:
    www = Path(hosts.directory / "www")
    if not www.exists():
        (www / "cgi").mkdir(parents=True)
        (www / "cgi" / "echo.sh").write_text(CGI)
        for size in (20, 11_000, 2_000_000):
            (www / str(size)).write_bytes(os.urandom(size))
    config = hosts.directory / f"lighttpd-{port}.conf"
    config.write_text(f"""
server.document-root = "{www}"
server.port = {port}
server.max-worker = {WORKERS}
server.modules += ( "mod_cgi" )
server.upload-dirs = ( "{hosts.directory}" )
cgi.assign = ( ".sh" => "/bin/sh" )
""")
    with hosts.serve(port, "lighttpd", "-D", "-f", str(config)) as process:
        yield process


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def served(wire_hosts: Any) -> Iterator[None]:
    with lighttpd(wire_hosts, PORT):
        yield
    wire_hosts.await_nothing_left()


def url(path: str) -> str:
    return f"http://{ADDRESS}:{PORT}/{path}"


@pytest.mark.usefixtures("served")
class TestWorkers:
    """One lighttpd with workers for all of them."""

    @pytest.mark.parametrize("size", [20, 11_000, 2_000_000])
    def test_curl_gets_every_byte(self, wire_hosts: Any, size: int) -> None:
        got = wire_hosts.directory / "got"
        wire_hosts.ask("curl", "-sS", "--fail", "-o", str(got), url(str(size)))
        assert digest(got.read_bytes()) == digest(
            (wire_hosts.directory / f"www/{size}").read_bytes()
        )

    @pytest.mark.apps("ab")
    @pytest.mark.parametrize("flags", [[], ["-k"]])
    def test_ab(self, wire_hosts: Any, flags: list[str]) -> None:
        said = wire_hosts.ask(
            "ab", "-q", *flags, "-n", "600", "-c", "16", url("11000"), timeout=100
        )
        lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        assert int(lines["Complete requests"]) == 600
        assert int(lines["Failed requests"]) == 0

    @pytest.mark.apps("wrk")
    @pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
    def test_wrk(self, wire_hosts: Any, header: str) -> None:
        said = wire_hosts.ask(
            "wrk", "-t", "2", "-c", "32", "-d", "2s", "--timeout", "20s", "-H", header, url("20")
        )
        assert "Socket errors" not in said
        assert "Non-2xx" not in said

    @pytest.mark.parametrize("size", [0, 1, 100_000, 1_000_000])
    def test_cgi_gets_a_post_and_answers(self, wire_hosts: Any, size: int) -> None:
        body = wire_hosts.directory / "body"
        body.write_bytes(os.urandom(size))
        got = wire_hosts.directory / "answer"
        wire_hosts.ask(
            "curl", "-sS", "--fail", "-o", str(got), "--data-binary", f"@{body}",
            url("cgi/echo.sh?300000"),
        )  # fmt: skip
        first, second, rest = got.read_bytes().split(b"\n", 2)
        assert first.decode() == f"POST 300000 10.0.0.3 {PORT}"
        assert second.decode() == digest(body.read_bytes())
        assert rest == bytes(300_000)

    @pytest.mark.apps("ab")
    def test_many_cgi_at_once(self, wire_hosts: Any) -> None:
        said = wire_hosts.ask(
            "ab", "-q", "-n", "100", "-c", "8", url("cgi/echo.sh?1000"), timeout=100
        )
        lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        assert int(lines["Complete requests"]) == 100
        assert int(lines["Failed requests"]) == 0


def test_killed_workers_leave_nobody_waiting(wire_hosts: Any, until: Until) -> None:
    """No connection is refused and none is left waiting while a worker remains that accepts."""
    with lighttpd(wire_hosts, KILLED) as master:
        loader = wire_hosts.start(
            wire_hosts.client, sys.executable, str(PROGRAMS / "short_requests.py"),
            ADDRESS, str(KILLED), "/11000", "8",
        )  # fmt: skip
        assert loader.stdout.readline() == "going\n"
        for _ in range(5):
            gone = min(children(master.pid))
            os.kill(gone, signal.SIGKILL)
            until(
                lambda gone=gone: (  # type: ignore[misc]
                    len(now := children(master.pid)) == WORKERS and gone not in now
                ),
                "the master has started another",
            )
            loader.stdin.write("more\n")
            loader.stdin.flush()
            assert loader.stdout.readline() == "more\n"
        said, _ = loader.communicate(timeout=60)
        assert loader.returncode == 0, said
        good, broken, refused = (int(word) for word in said.split())
        assert good > 100
        assert refused == 0
        # What a killed worker had in its hands: at most all at once, each time.
        assert broken <= 5 * 8
    wire_hosts.await_nothing_left([KILLED])
