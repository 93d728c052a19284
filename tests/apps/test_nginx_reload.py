"""nginx that reloads every second under wrk: requests fail only where they fail on Linux, too.

The same is run on Linux's own loopback, in a namespace. With a connection a request nothing may
fail. A kept connection is closed by a worker that gives up, and wrk counts a read error where its
next request was already on the way: as often as there are kept connections, at most, on either.
NEWTOS_RELOAD_S: for how many seconds (60 if it is not set).
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PORT, CONNECTIONS = 8900, 32
SECONDS = int(os.environ.get("NEWTOS_RELOAD_S", "60"))
CLOSE, KEEP = "Connection: close", "Connection: keep-alive"

pytestmark = [
    pytest.mark.apps("nginx", "wrk", "ip"),
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(5 * SECONDS + 120),
]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"newtos-reload-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def configure(directory: Path) -> Path:
    directory.chmod(0o711)
    www = directory / "reload-www"
    www.mkdir(exist_ok=True)
    (www / "page").write_bytes(bytes(range(256)) * 40)
    path = directory / "reload.conf"
    temporary = "".join(
        f"{kind}_temp_path {directory}/reload-{kind}; "
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(f"""
daemon off; worker_processes 2; pid {directory}/reload.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off; keepalive_requests 1000000; {temporary}
    server {{ listen {PORT}; root {www}; }}
}}
""")
    return path


def reload_each_second(wrk: "subprocess.Popen[str]", master: int) -> tuple[str, int]:
    """What wrk said in the end, and how often nginx was told to reload."""
    for count in range(2 * SECONDS + 60):
        try:
            said, _ = wrk.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            os.kill(master, signal.SIGHUP)
        else:
            return said, count
    pytest.fail("wrk does not end")


def wrk(address: str, header: str) -> list[str]:
    return ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s", "-H", header,
            f"http://{address}:{PORT}/page"]  # fmt: skip


def failures(said: str) -> dict[str, int]:
    """Wrk's counts of what failed, by kind."""
    counts = dict.fromkeys(("connect", "read", "write", "timeout", "status"), 0)
    if errors := re.search(r"Socket errors: (.*)", said):
        counts |= {kind: int(count) for kind, count in re.findall(r"(\w+) (\d+)", errors[1])}
    if status := re.search(r"Non-2xx or 3xx responses: (\d+)", said):
        counts["status"] = int(status[1])
    assert int(re.search(r"(\d+) requests in", said)[1]) > 100 * SECONDS, said  # type: ignore[index]
    return counts


def on_linux(namespace: str, config: Path, header: str) -> dict[str, int]:
    inside = ["ip", "netns", "exec", namespace]
    nginx = [*inside, "nginx", "-e", "stderr", "-c", str(config)]
    with subprocess.Popen(nginx, stderr=subprocess.DEVNULL) as master:
        try:
            again = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
            url = f"http://127.0.0.1:{PORT}/page"
            probe = [*inside, "curl", "-s", "-o", os.devnull, *again, url]
            subprocess.run(probe, check=True, timeout=60)
            asking = subprocess.Popen(
                [*inside, *wrk("127.0.0.1", header)], stdout=subprocess.PIPE, text=True
            )
            said, count = reload_each_second(asking, master.pid)
            assert count >= SECONDS * 3 // 4
        finally:
            master.terminate()
    return failures(said)


@pytest.mark.apps("curl")
@pytest.mark.parametrize("header", [CLOSE, KEEP])
def test_reloads_each_second(hosts: Any, namespace: str, header: str) -> None:
    config = configure(hosts.directory)
    with hosts.serve(PORT, "nginx", "-e", "stderr", "-c", str(config)) as master:
        said, count = reload_each_second(
            hosts.start(hosts.client, *wrk("10.0.0.2", header)), master.pid
        )
        assert count >= SECONDS * 3 // 4
    hosts.await_nothing_left()
    ours, theirs = failures(said), on_linux(namespace, config, header)
    print(f"{header}: {count} reloads, newtos {ours}, Linux {theirs}")
    if header == CLOSE:
        assert not any(ours.values()), (ours, theirs)
    else:
        assert not any(ours[kind] > theirs[kind] for kind in ours if kind != "read"), (ours, theirs)
        assert ours["read"] <= max(theirs["read"], count * CONNECTIONS), (ours, theirs)
