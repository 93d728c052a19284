"""nginx in one process, as a server of files and as a proxy.

The proxy asks itself on another port over loopback, and keeps those connections (keepalive).
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
SINGLE = 8080
SIZES = (20, 11_000, 512_000, 5_000_000)

pytestmark = pytest.mark.apps("nginx", "curl")


def configure(directory: Path, port: int, processes: str, listen: str = "") -> Path:
    """Writes a configuration that serves directory/www on `port`, and as a proxy under /proxy/."""
    own = directory / f"nginx-{port}"
    own.mkdir(exist_ok=True)
    temporary = "".join(
        f"    {kind}_temp_path {own}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = own / "nginx.conf"
    path.write_text(f"""
daemon off;
{processes}
pid {own}/pid;
error_log {own}/error.log notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    client_max_body_size 100m;
{temporary}
    upstream backend {{ server 127.0.0.1:{port + 1}; keepalive 8; }}
    server {{
        listen {port} {listen};
        root {directory}/www;
        add_header X-Worker $pid;
        location /proxy/ {{
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://backend/;
        }}
    }}
    server {{ listen 127.0.0.1:{port + 1}; root {directory}/www; }}
}}
""")
    return path


@contextmanager
def nginx(hosts: Any, port: int, processes: str, listen: str = "") -> Iterator[Popen[bytes]]:
    config = configure(hosts.directory, port, processes, listen)
    with hosts.serve(port, "nginx", "-e", "stderr", "-c", str(config)) as process:
        yield process
    said = (config.parent / "error.log").read_text()
    bad = [line for line in said.splitlines() if re.search(r"\[(alert|crit|emerg|error)\]", line)]
    assert not bad, bad


@pytest.fixture(scope="module")
def www(wire_hosts: Any) -> Path:
    """Files of random bytes, named by their sizes."""
    directory = Path(wire_hosts.directory / "www")
    directory.mkdir()
    for size in SIZES:
        (directory / str(size)).write_bytes(os.urandom(size))
    return directory


@pytest.fixture(scope="module")
def port(wire_hosts: Any, www: Path) -> Iterator[int]:
    del www
    with nginx(wire_hosts, SINGLE, "master_process off;"):
        yield SINGLE
    wire_hosts.await_nothing_left()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def url(port: int, path: str) -> str:
    return f"http://{ADDRESS}:{port}/{path}"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prefix", ["", "proxy/"])
def test_curl_gets_every_byte(
    wire_hosts: Any, www: Path, port: int, prefix: str, size: int
) -> None:
    got = wire_hosts.directory / "got"
    wire_hosts.ask("curl", "-sS", "--fail", "-o", str(got), url(port, f"{prefix}{size}"))
    assert digest(got.read_bytes()) == digest((www / str(size)).read_bytes())


@pytest.mark.apps("ab")
@pytest.mark.parametrize("prefix", ["", "proxy/"])
@pytest.mark.parametrize("flags", [[], ["-k"]])
def test_ab(wire_hosts: Any, port: int, prefix: str, flags: list[str]) -> None:
    said = wire_hosts.ask(
        "ab", "-q", *flags, "-n", "600", "-c", "16", url(port, f"{prefix}11000"), timeout=100
    )
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    assert int(lines["Complete requests"]) == 600
    assert int(lines["Failed requests"]) == 0
    assert "Non-2xx responses" not in lines


@pytest.mark.apps("wrk")
@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
def test_wrk(wire_hosts: Any, port: int, header: str) -> None:
    said = wire_hosts.ask(
        "wrk", "-t", "2", "-c", "32", "-d", "2s", "-H", header, url(port, "proxy/20")
    )
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
