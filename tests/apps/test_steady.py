"""Servers at full load for long: memory, descriptors and sockets stay as they are.

NEWTOS_STEADY_S seconds each (30 if it is not set), in six rounds with an idle moment between them,
when everything is counted: of the program, and of every server of both hosts. The first two
rounds are for warming up.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from newtos_py.kernel.sockets import SocketInfo, SocketState

ADDRESS = "10.0.0.2"
ROUNDS, WARM_ROUNDS = 6, 2
ROUND_S = max(2, int(os.environ.get("NEWTOS_STEADY_S", "30")) // ROUNDS)
# What a few more pages of a heap or of a ring touched for the first time come to.
SLACK_KB = 4096
# The clients' connections at any one time.
AT_ONCE = 64
# Numbers that were in use at once stay cached: as many as connections were open in the worst
# moment, those included that the client had replaced and a busy server had not yet closed (redis:
# up to 430). Were one in a thousand lost, a minute would be enough for more than this.
DESCRIPTORS = 1024

pytestmark = [pytest.mark.slow, pytest.mark.timeout(10 * ROUNDS * ROUND_S + 300)]


@dataclass(frozen=True)
class Use:
    """What a process holds at one moment."""

    rss_kb: int
    descriptors: int


def use_of(pid: int) -> Use:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    rss = next(int(line.split()[1]) for line in rollup if line.startswith("Rss:"))
    return Use(rss, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def is_idle(listed: list[SocketInfo]) -> bool:
    """Only what listens is left, and TIME-WAIT, which is nobody's."""
    return all(one.state in (SocketState.LISTEN, SocketState.TIME_WAIT) for one in listed)


def stays_flat(hosts: Any, pid: int, load: Callable[[], None]) -> None:
    """Loads and counts, round by round."""
    taken: list[dict[str, Use]] = []
    for _ in range(ROUNDS):
        load()
        for host in (hosts.client, hosts.web):
            hosts.await_sockets(host, is_idle)
        pids = {f"{row['host']} {row['server']}": row["pid"] for row in hosts.servers()}
        taken.append({name: use_of(each) for name, each in ({"program": pid} | pids).items()})
    first, last = taken[WARM_ROUNDS - 1], taken[-1]
    for name, now in last.items():
        history = [each[name] for each in taken]
        assert now.rss_kb < first[name].rss_kb + SLACK_KB, (name, history)
        allowed = DESCRIPTORS if name == "program" else first[name].descriptors + 2
        assert now.descriptors <= allowed, (name, history)


@pytest.mark.apps("lighttpd", "wrk")
def test_lighttpd(hosts: Any, pages: Path) -> None:
    config = hosts.directory / "steady.conf"
    config.write_text(f'server.document-root = "{pages}"\nserver.port = 8800\n')

    def load() -> None:
        for header in ("Connection: close", "Connection: keep-alive"):
            said = hosts.ask(
                "wrk", "-t", "1", "-c", str(AT_ONCE), "-d", f"{ROUND_S // 2}s", "-H", header,
                f"http://{ADDRESS}:8800/11000", timeout=ROUND_S + 60,
            )  # fmt: skip
            assert "Socket errors" not in said
            assert "Non-2xx" not in said

    with hosts.serve(8800, "lighttpd", "-D", "-f", str(config)) as process:
        stays_flat(hosts, process.pid, load)
    hosts.await_nothing_left()


@pytest.mark.apps("memcached", "memcaslap")
def test_memcached(hosts: Any) -> None:
    def load() -> None:
        said = hosts.ask(
            "memcaslap", "-s", f"{ADDRESS}:8801", "-T", "2", "-c", "32", "-t", f"{ROUND_S}s",
            "-X", "1024", timeout=ROUND_S + 60,
        )  # fmt: skip
        assert int(said.split("Ops: ")[1].split()[0]) > 1000 * ROUND_S

    # Little memory, so that it is full before it counts.
    options = ("-u", "root", "-p", "8801", "-U", "0", "-t", "4", "-m", "16")
    with hosts.serve(8801, "memcached", *options) as process:
        stays_flat(hosts, process.pid, load)
    hosts.await_nothing_left()


@pytest.mark.apps("redis-server", "redis-benchmark")
def test_redis(hosts: Any) -> None:
    def load() -> None:
        for keep in ("1", "0"):
            done = hosts.run(
                hosts.client, "timeout", str(ROUND_S / 2), "redis-benchmark", "-h", ADDRESS,
                "-p", "8802", "-l", "-q", "-c", "50", "-k", keep, "-r", "1000",
                "-t", "set,get,mset", check=False, timeout=ROUND_S + 60,
            )  # fmt: skip
            assert done.returncode == 124, done.stderr  # timeout(1) has ended it

    options = ("--port", "8802", "--bind", "0.0.0.0", "--save", "", "--protected-mode", "no")
    with hosts.serve(8802, "redis-server", *options) as process:
        stays_flat(hosts, process.pid, load)
    hosts.await_nothing_left()
