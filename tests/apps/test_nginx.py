"""nginx: one process, then a master with workers, as a server of files and as a proxy.

The proxy asks itself on another port over loopback, and keeps those connections (keepalive).
Workers run as another user when the master is root, as nginx does by default.
"""

import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
SINGLE, WORKERS, REUSEPORT, KILLED, RELOADED = 8080, 8180, 8280, 8380, 8480
SIZES = (20, 11_000, 512_000, 5_000_000)
PROGRAMS = Path(__file__).parent / "programs"
Until = Callable[[Callable[[], bool], str], None]

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
    bad = [
        line
        for line in said.splitlines()
        if re.search(r"\[(alert|crit|emerg|error)\]", line) and "exited on signal 9" not in line
    ]
    assert not bad, bad


@pytest.fixture(scope="module")
def www(wire_hosts: Any) -> Path:
    """Files of random bytes, named by their sizes, for whoever nginx's workers run as."""
    wire_hosts.directory.chmod(0o711)
    directory = Path(wire_hosts.directory / "www")
    directory.mkdir()
    for size in SIZES:
        (directory / str(size)).write_bytes(os.urandom(size))
    return directory


@pytest.fixture(scope="module")
def single(wire_hosts: Any, www: Path) -> Iterator[None]:
    del www
    with nginx(wire_hosts, SINGLE, "master_process off;"):
        yield


@pytest.fixture(scope="module")
def workers(wire_hosts: Any, www: Path) -> Iterator[Popen[bytes]]:
    del www
    with nginx(wire_hosts, WORKERS, "worker_processes 2;") as process:
        yield process


@pytest.fixture(params=["single", "workers"])
def port(request: pytest.FixtureRequest) -> int:
    request.getfixturevalue(request.param)
    return SINGLE if request.param == "single" else WORKERS


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
        "wrk",
        "-t",
        "2",
        "-c",
        "32",
        "-d",
        "2s",
        "--timeout",
        "20s",
        "-H",
        header,
        url(port, "proxy/20"),
    )
    assert "Socket errors" not in said
    assert "Non-2xx" not in said


def who_served(hosts: Any, port: int, count: int) -> list[int]:
    """The pids of the workers that answered one request after the other, each on a connection."""
    said = hosts.ask(
        "curl", "-sS", "--fail", "-o", "/dev/null", "--no-keepalive", "-H", "Connection: close",
        "-w", "%header{x-worker}\\n", "--parallel", "--parallel-max", "8",
        *[word for _ in range(count) for word in (url(port, "512000"), "-o", "/dev/null")],
        timeout=100,
    )  # fmt: skip
    return [int(line) for line in said.split()]


@pytest.mark.parametrize("listen", ["", "reuseport"])
def test_every_worker_serves(wire_hosts: Any, www: Path, until: Until, listen: str) -> None:
    del www
    with nginx(wire_hosts, REUSEPORT, "worker_processes 2;", listen) as master:
        served: set[int] = set()

        def both() -> bool:
            pids = who_served(wire_hosts, REUSEPORT, 16)
            assert len(pids) == 16
            served.update(pids)
            return len(served) == 2

        until(both, "both workers have served")
        assert served == set(children(master.pid))
    wire_hosts.await_nothing_left([REUSEPORT])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_workers_leave_nobody_waiting(wire_hosts: Any, www: Path, until: Until) -> None:
    """No connection is refused and none is left waiting while a worker remains that accepts."""
    del www
    with nginx(wire_hosts, KILLED, "worker_processes 3;") as master:
        loader = wire_hosts.start(
            wire_hosts.client, sys.executable, str(PROGRAMS / "short_requests.py"),
            ADDRESS, str(KILLED), "/11000", "8",
        )  # fmt: skip
        assert loader.stdout.readline() == "going\n"
        for _ in range(5):
            before = children(master.pid)
            os.kill(before[0], signal.SIGKILL)
            until(
                lambda gone=before[0]: len(now := children(master.pid)) == 3 and gone not in now,  # type: ignore[misc]
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


def reload_under_load(hosts: Any, until: Until, times: int) -> tuple[int, int, int]:
    """Requests answered, broken off and refused while nginx reloads so many times."""
    with nginx(hosts, RELOADED, "worker_processes 2;") as master:
        loader = hosts.start(
            hosts.client, sys.executable, str(PROGRAMS / "short_requests.py"),
            ADDRESS, str(RELOADED), "/11000", "8",
        )  # fmt: skip
        assert loader.stdout.readline() == "going\n"
        for _ in range(times):
            before = set(children(master.pid))
            os.kill(master.pid, signal.SIGHUP)
            until(lambda gone=before: not gone & set(children(master.pid)), "new workers")  # type: ignore[misc]
            loader.stdin.write("more\n")
            loader.stdin.flush()
            assert loader.stdout.readline() == "more\n"
        said, _ = loader.communicate(timeout=60)
        assert loader.returncode == 0, said
        good, broken, refused = (int(word) for word in said.split())
    return good, broken, refused


def test_reloads_under_load(wire_hosts: Any, www: Path, until: Until) -> None:
    """A connection a request: every one of them is answered in full."""
    del www
    good, broken, refused = reload_under_load(wire_hosts, until, 5)
    assert (broken, refused) == (0, 0)
    assert good > 100
    wire_hosts.await_nothing_left([RELOADED])
