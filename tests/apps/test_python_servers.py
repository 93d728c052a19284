"""gunicorn and uvicorn over the wire that loses 0.5 %, asked by curl, wrk and asyncio.

gunicorn's master opens the listening socket, and its workers, forked, accept from it.
"""

import hashlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PROGRAMS = str(Path(__file__).parent / "programs")
SYNC, THREADS, ASYNC = 8100, 8101, 8102

# Posts different data on several connections at once, several times on each.
POSTS = """
import asyncio, hashlib, os, sys

async def one():
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    for _ in range(5):
        data = os.urandom(50_000)
        head = b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n"
        writer.write(head % len(data))
        writer.write(data)
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        assert await reader.readexactly(64) == hashlib.sha256(data).hexdigest().encode()
    writer.close()
    await writer.wait_closed()

async def main():
    await asyncio.gather(*(one() for _ in range(10)))
    print("done")

asyncio.run(main())
"""


def check_digests(hosts: Any, pages: Path, port: int) -> None:
    for size in (20, 11_000, 512_000):
        page = pages / str(size)
        said = hosts.ask("curl", "-sS", "--fail", "--data-binary", f"@{page}",
                         f"http://{ADDRESS}:{port}/")  # fmt: skip
        assert said == hashlib.sha256(page.read_bytes()).hexdigest()


def check_load(hosts: Any, port: int) -> None:
    said = hosts.ask("wrk", "-t", "1", "-c", "8", "-d", "1s", f"http://{ADDRESS}:{port}/")
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    requests = re.search(r"(\d+) requests in", said)
    assert requests is not None
    assert int(requests[1]) > 8


def ask_pid(hosts: Any, port: int) -> int:
    return int(hosts.ask("curl", "-sS", "--fail", f"http://{ADDRESS}:{port}/"))


@pytest.mark.apps("uvicorn", "curl", "wrk")
def test_uvicorn(wire_hosts: Any, pages: Path) -> None:
    command = ("uvicorn", "--app-dir", PROGRAMS, "--host", "0.0.0.0", "--port", str(ASYNC),
               "--log-level", "warning", "wsgi_asgi:asgi")  # fmt: skip
    with wire_hosts.serve(ASYNC, *command):
        check_digests(wire_hosts, pages, ASYNC)
        assert wire_hosts.ask(sys.executable, "-c", POSTS, ADDRESS, str(ASYNC)) == "done\n"
        check_load(wire_hosts, ASYNC)


@pytest.mark.apps("gunicorn", "curl", "wrk")
@pytest.mark.parametrize(("kind", "port"), [("sync", SYNC), ("gthread", THREADS)])
def test_gunicorn(
    wire_hosts: Any, pages: Path, until: Callable[..., None], kind: str, port: int
) -> None:
    """Two workers: both serve; one that is killed is replaced; HUP replaces them all."""
    command = ("gunicorn", "--chdir", PROGRAMS, "-b", f"0.0.0.0:{port}", "-w", "2", "-k", kind,
               "--threads", "4", "--log-level", "warning", "wsgi_asgi:wsgi")  # fmt: skip
    with wire_hosts.serve(port, *command) as master:

        def workers() -> set[int]:
            path = Path(f"/proc/{master.pid}/task/{master.pid}/children")
            return set(map(int, path.read_text().split()))

        until(lambda: len(workers()) == 2, "two workers")
        first = workers()
        check_digests(wire_hosts, pages, port)
        check_load(wire_hosts, port)
        killed = ask_pid(wire_hosts, port)
        assert killed in first
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(workers() - {killed}) == 2, "a new worker")
        assert ask_pid(wire_hosts, port) in workers() - {killed}
        master.send_signal(signal.SIGHUP)
        until(lambda: len(workers()) == 2 and not workers() & first, "all workers are new")
        assert ask_pid(wire_hosts, port) in workers()
        if kind == "gthread":
            assert wire_hosts.ask(sys.executable, "-c", POSTS, ADDRESS, str(port)) == "done\n"
