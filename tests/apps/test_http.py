"""lighttpd and CPython's servers, asked by curl, ab, wrk and CPython's clients over a wire."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT = 8080
SIZES = (20, 11_000, 512_000)
BIG = 100_000_000


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def lighttpd(hosts: Any, pages: Path) -> Iterator[Popen[bytes]]:
    config = hosts.directory / "lighttpd.conf"
    config.write_text(
        f'server.document-root = "{pages}"\nserver.port = {PORT}\nserver.bind = "0.0.0.0"\n'
    )
    stats = {"NEWTOS_STATS": str(hosts.directory / "lighttpd.stats")}
    with hosts.serve(PORT, "lighttpd", "-D", "-f", str(config), env=stats) as process:
        yield process


def url(size: int, port: int = PORT) -> str:
    return f"http://{ADDRESS}:{port}/{size}"


@pytest.mark.apps("lighttpd", "curl")
@pytest.mark.usefixtures("lighttpd")
class TestLighttpd:
    """One lighttpd for all of them."""

    @pytest.mark.parametrize("size", [*SIZES, BIG])
    def test_curl_gets_every_byte(self, hosts: Any, pages: Path, size: int) -> None:
        got = hosts.directory / "got"
        hosts.ask("curl", "-sS", "--fail", "-o", str(got), url(size), timeout=100)
        assert digest(got) == digest(pages / str(size))

    def test_curl_gets_a_part(self, hosts: Any, pages: Path) -> None:
        got = hosts.directory / "part"
        hosts.ask("curl", "-sS", "-r", "1000-2999", "-o", str(got), url(11_000))
        assert got.read_bytes() == (pages / "11000").read_bytes()[1000:3000]

    def test_curl_keeps_a_connection(self, hosts: Any) -> None:
        twice = [word for _ in range(2) for word in ("-o", "/dev/null", url(20))]
        done = hosts.run(hosts.client, "curl", "-sS", "-v", *twice)
        assert "Re-using existing connection" in done.stderr

    def test_curl_of_nobody(self, hosts: Any) -> None:
        done = hosts.run(hosts.client, "curl", "-sS", f"http://{ADDRESS}:9/", check=False)
        assert done.returncode == 7
        assert "Couldn't connect" in done.stderr

    def test_curl_by_name(self, hosts: Any) -> None:
        found = hosts.ask("curl", "-sS", "--fail", "-o", "/dev/null", "-w", "%{remote_ip}",
                          f"http://{hosts.web}:{PORT}/20")  # fmt: skip
        assert found == ADDRESS
        done = hosts.run(hosts.client, "curl", "-sS", "http://no.such.host/", check=False)
        assert done.returncode == 6, done.stderr

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("keep_alive", [False, True])
    @pytest.mark.apps("ab")
    def test_ab(self, hosts: Any, size: int, keep_alive: bool) -> None:
        requests = 2000 if size < 100_000 else 200
        flags = ["-k"] if keep_alive else []
        said = hosts.ask("ab", "-q", *flags, "-n", str(requests), "-c", "8", url(size))
        lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
        assert int(lines["Complete requests"]) == requests
        assert int(lines["Failed requests"]) == 0
        assert "Non-2xx responses" not in lines
        assert int(lines["HTML transferred"].split()[0]) == requests * size

    @pytest.mark.parametrize("connections", [1, 8, 64, 200])
    @pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
    @pytest.mark.apps("wrk")
    def test_wrk(self, hosts: Any, connections: int, header: str) -> None:
        said = hosts.ask("wrk", "-t", "1", "-c", str(connections), "-d", "1s", "-H", header,
                         url(20))  # fmt: skip
        assert "Socket errors" not in said
        assert "Non-2xx" not in said
        requests = next(line for line in said.splitlines() if "requests in" in line)
        assert int(requests.split()[0]) > connections

    @pytest.mark.apps("wrk")
    def test_wrk_with_threads(self, hosts: Any) -> None:
        said = hosts.ask("wrk", "-t", "4", "-c", "32", "-d", "1s", url(11_000))
        assert "Socket errors" not in said
        assert "Non-2xx" not in said

    def test_nothing_is_left_open(self, lighttpd: Popen[bytes]) -> None:
        """Descriptors of the server after thousands of connections."""
        fds = list(Path(f"/proc/{lighttpd.pid}/fd").iterdir())
        # Numbers that were in use at once stay cached as placeholders: at most 200 connections of
        # wrk, and as many that it has closed and the server not yet.
        assert len(fds) < 2 * 200 + 64

    @pytest.mark.apps("ab")
    def test_socket_calls_stay_in_user_space(self, hosts: Any) -> None:
        stats = hosts.directory / "ab.stats"
        hosts.ask("ab", "-q", "-n", "5000", "-c", "16", url(20), env={"NEWTOS_STATS": str(stats)})
        counts = json.loads(stats.read_text().splitlines()[-1])
        assert counts["program"] == "ab"
        assert counts["connects"] >= 5000
        assert counts["user_space_calls"] > 6 * 5000
        assert counts["user_space_share"] > 0.99


LOAD = """
import asyncio, hashlib, sys

address, port, size, count, at_once = sys.argv[1], *map(int, sys.argv[2:])

async def one(gate):
    async with gate:
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"GET /%d HTTP/1.0\\r\\n\\r\\n" % size)
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\\r\\n\\r\\n")
        assert b" 200 " in head.split(b"\\r\\n")[0], head
        assert len(body) == size
        return hashlib.sha256(body).hexdigest()

async def main():
    gate = asyncio.Semaphore(at_once)
    print(len(set(await asyncio.gather(*(one(gate) for _ in range(count))))))

asyncio.run(main())
"""

THREADS = """
import http.server, sys
handler = http.server.SimpleHTTPRequestHandler
handler.log_message = lambda *_: None
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # with the 5 of CPython connections are dropped, on Linux too
Server(("", int(sys.argv[1])), handler).serve_forever()
"""

ECHO = """
import asyncio, signal, sys

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", int(sys.argv[1]))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    try:
        await server.serve_forever()
    except asyncio.CancelledError:
        pass

asyncio.run(main())
"""

ECHO_CLIENT = """
import asyncio, os, sys

async def one():
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    data = os.urandom(300_000)
    async def send():
        for at in range(0, len(data), 7001):
            writer.write(data[at:at + 7001])
            await writer.drain()
        writer.write_eof()
    got, _ = await asyncio.gather(reader.read(-1), send())
    writer.close()
    return got == data

async def main():
    print(sum(await asyncio.gather(*(one() for _ in range(50)))))

asyncio.run(main())
"""


@pytest.mark.apps("curl")
def test_http_server_of_cpython(hosts: Any, pages: Path) -> None:
    with hosts.serve(8000, sys.executable, "-m", "http.server", "8000", cwd=pages):
        got = hosts.directory / "got"
        hosts.ask("curl", "-sS", "--fail", "-o", str(got), url(512_000, 8000))
        assert digest(got) == digest(pages / "512000")
        listing = hosts.ask("curl", "-sS", f"http://{ADDRESS}:8000/")
        assert "Directory listing" in listing


def test_threading_http_server_and_asyncio_client(hosts: Any, pages: Path) -> None:
    with hosts.serve(8001, sys.executable, "-c", THREADS, "8001", cwd=pages):
        asked = ("8001", "11000", "200", "50")
        assert hosts.ask(sys.executable, "-c", LOAD, ADDRESS, *asked) == "1\n"


@pytest.mark.apps("lighttpd")
@pytest.mark.usefixtures("lighttpd")
def test_two_hundred_connections_at_once(hosts: Any) -> None:
    asked = (str(PORT), "512000", "200", "200")
    assert hosts.ask(sys.executable, "-c", LOAD, ADDRESS, *asked, timeout=60) == "1\n"


def test_asyncio_echo(hosts: Any) -> None:
    with hosts.serve(7000, sys.executable, "-c", ECHO, "7000"):
        assert hosts.ask(sys.executable, "-c", ECHO_CLIENT, ADDRESS, "7000", timeout=60) == "50\n"
