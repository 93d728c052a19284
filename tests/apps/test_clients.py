"""curl, wget, wrk, ab and httperf ask lighttpd over the wire that loses 0.5 %."""

import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT, UPLOADS = 8080, 8081

# Takes what is PUT and says its digest; HTTP/1.1, so that curl may ask for 100 Continue.
UPLOAD = """
import hashlib, http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            digest.update(piece)
            left -= len(piece)
        said = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def lighttpd(wire_hosts: Any, pages: Path) -> Iterator[None]:
    config = wire_hosts.directory / "lighttpd.conf"
    config.write_text(f'server.document-root = "{pages}"\nserver.port = {PORT}\n')
    with wire_hosts.serve(PORT, "lighttpd", "-D", "-f", str(config)):
        yield


def url(name: object, port: int = PORT) -> str:
    return f"http://{ADDRESS}:{port}/{name}"


@pytest.mark.apps("lighttpd")
@pytest.mark.usefixtures("lighttpd")
class TestLighttpd:
    """One lighttpd for all of them."""

    @pytest.mark.apps("curl")
    def test_curl_in_parallel(self, wire_hosts: Any, pages: Path) -> None:
        parts = wire_hosts.directory / "parts"
        parts.mkdir()
        wire_hosts.ask("curl", "-sS", "--fail", "-Z", "--parallel-max", "20",
                       "-o", str(parts / "#1"), f"{url(512_000)}?[1-20]")  # fmt: skip
        want = (pages / "512000").read_bytes()
        assert len(list(parts.iterdir())) == 20
        assert all(part.read_bytes() == want for part in parts.iterdir())

    @pytest.mark.apps("curl")
    def test_curl_resumes(self, wire_hosts: Any, pages: Path) -> None:
        want = (pages / "512000").read_bytes()
        got = wire_hosts.directory / "resumed"
        got.write_bytes(want[:200_000])
        wire_hosts.ask("curl", "-sS", "--fail", "-C", "-", "-o", str(got), url(512_000))
        assert got.read_bytes() == want

    @pytest.mark.apps("wget")
    def test_wget(self, wire_hosts: Any, pages: Path) -> None:
        directory = wire_hosts.directory / "wgot"
        names = ("20", "11000", "512000")
        wire_hosts.ask("wget", "-q", "-P", str(directory), *map(url, names))
        for name in names:
            assert (directory / name).read_bytes() == (pages / name).read_bytes()

    @pytest.mark.apps("wget")
    def test_wget_of_what_is_not_there(self, wire_hosts: Any) -> None:
        assert (
            wire_hosts.run(wire_hosts.client, "wget", "-q", url("no"), check=False).returncode == 8
        )
        nobody = wire_hosts.run(
            wire_hosts.client, "wget", "-q", "-t", "1", url("no", 9), check=False
        )
        assert nobody.returncode == 4

    @pytest.mark.apps("ab")
    @pytest.mark.parametrize("flags", [["-k"], []])
    def test_ab(self, wire_hosts: Any, flags: list[str]) -> None:
        said = wire_hosts.ask("ab", "-q", *flags, "-n", "300", "-c", "20", url(11_000))
        assert re.search(r"Complete requests: +300\n", said)
        assert re.search(r"Failed requests: +0\n", said)

    @pytest.mark.apps("wrk")
    def test_wrk(self, wire_hosts: Any) -> None:
        said = wire_hosts.ask("wrk", "-t", "2", "-c", "20", "-d", "1s", url(11_000))
        assert "Socket errors" not in said
        assert "Non-2xx" not in said
        requests = re.search(r"(\d+) requests in", said)
        assert requests is not None
        assert int(requests[1]) > 20

    @pytest.mark.apps("httperf")
    def test_httperf(self, wire_hosts: Any) -> None:
        said = wire_hosts.ask(
            "httperf", "--server", ADDRESS, "--port", str(PORT), "--uri", "/11000",
            "--num-conns", "60", "--num-calls", "5", "--rate", "200", "--timeout", "20",
        )  # fmt: skip
        assert "connections 60 requests 300 replies 300" in said
        assert "2xx=300" in said
        assert "Errors: total 0 " in said


@pytest.mark.apps("curl")
def test_curl_uploads(wire_hosts: Any, pages: Path) -> None:
    with wire_hosts.serve(UPLOADS, sys.executable, "-c", UPLOAD, str(UPLOADS)):
        for size in (20, 512_000):
            page = pages / str(size)
            said = wire_hosts.ask("curl", "-sS", "--fail", "-T", str(page), url("up", UPLOADS))
            assert said == hashlib.sha256(page.read_bytes()).hexdigest()
