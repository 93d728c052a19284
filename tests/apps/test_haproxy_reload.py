"""haproxy's reload over the wire that loses 0.5 %: a new process takes over from an old one.

By -sf, with the listening sockets bound anew or handed over by SCM_RIGHTS (-x); and with a master,
which forks its worker and reloads at SIGUSR2.
"""

import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
BEHIND = 8090

pytestmark = pytest.mark.apps("haproxy", "lighttpd", "wrk", "curl")


@pytest.fixture(scope="module")
def lighttpd(wire_hosts: Any, pages: Path) -> Iterator[None]:
    config = wire_hosts.directory / "lighttpd.conf"
    config.write_text(f'server.document-root = "{pages}"\nserver.port = {BEHIND}\n')
    with wire_hosts.serve(BEHIND, "lighttpd", "-D", "-f", str(config)):
        yield


def configure(hosts: Any, port: int) -> Path:
    path: Path = hosts.directory / f"haproxy-{port}.cfg"
    path.write_text(
        f"global\n  stats socket unix@stats-{port} mode 600 level admin expose-fd listeners\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
        f"listen web\n  bind :{port}\n  server one 127.0.0.1:{BEHIND}\n"
    )
    return path


def load(hosts: Any, port: int) -> Any:
    """Starts wrk with a connection for each request."""
    return hosts.start(
        hosts.client, "wrk", "-t", "1", "-c", "8", "-d", "3s", "-H", "Connection: close",
        f"http://{ADDRESS}:{port}/20",
    )  # fmt: skip


def check(wrk: Any) -> None:
    said = wrk.communicate(timeout=30)[0]
    assert wrk.returncode == 0
    assert "Socket errors" not in said, said
    assert "Non-2xx" not in said, said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None
    assert int(requests[1]) > 100


@pytest.mark.usefixtures("lighttpd")
@pytest.mark.parametrize(("handed_over", "port"), [(False, 8200), (True, 8201)])
def test_a_new_process_takes_over(wire_hosts: Any, handed_over: bool, port: int) -> None:
    command = ["haproxy", "-db", "-f", str(configure(wire_hosts, port))]
    with wire_hosts.serve(port, *command, once=True) as old:
        wrk = load(wire_hosts, port)
        wire_hosts.await_sockets(
            wire_hosts.client, lambda listed: any(one.peer.port == port for one in listed)
        )
        take = ["-x", str(wire_hosts.directory / f"stats-{port}")] if handed_over else []
        with wire_hosts.serve(port, *command, *take, "-sf", str(old.pid)):
            assert old.wait(30) == 0
            check(wrk)


def ask_master(path: Path) -> str:
    """What a master says of its processes; nothing, as long as it isn't ready for a signal."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(b"show proc\n")
            return connection.recv(65536).decode()
        except OSError:
            return ""


@pytest.mark.usefixtures("lighttpd")
def test_master_and_worker(wire_hosts: Any, until: Callable[..., None]) -> None:
    port = 8202
    socket_path = wire_hosts.directory / "master"
    command = ("haproxy", "-W", "-S", f"unix@{socket_path}", "-f", str(configure(wire_hosts, port)))
    with wire_hosts.serve(port, *command) as master:

        def workers() -> set[int]:
            path = Path(f"/proc/{master.pid}/task/{master.pid}/children")
            return set(map(int, path.read_text().split()))

        wrk = load(wire_hosts, port)
        for _ in range(2):
            until(lambda: "worker" in ask_master(socket_path), "the master answers")
            before = workers()
            assert len(before) == 1
            master.send_signal(signal.SIGUSR2)
            until(lambda old=before: len(workers()) == 1 and not workers() & old, "a new worker")
        check(wrk)
        wire_hosts.ask("curl", "-sS", "--fail", "-o", "/dev/null", f"http://{ADDRESS}:{port}/20")
