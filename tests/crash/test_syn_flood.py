"""A SYN flood over a wire, as fast as it goes: others still connect, and nothing stays of it.

The flooder is a process on a host of its own, at the end of a wire of its own, in IP's place
(tests/rs/flooding_ip.py). Its SYNs come from addresses where nobody answers: behind a router, or
on the wire itself, where each is asked for by ARP.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flooding_ip
import pytest
from newtos_py.servers.tcp import SERVER as TCP
from real_hosts import ADDRESS, CLIENT, WEB, RealHosts, Site, until

from newtos_py.rs.front import Replacement
from newtos_py.rs.scratch import ScratchHosts

TARGET, ROUTER = "10.9.0.2", "10.9.0.3"
ROUTED, ON_LINK = "172.16.0.0/12", "10.9.0.0/24"
# Half-open connections that lighttpd's backlog allows, and some of its own.
TCBS_MAX = 1024 + 64
RSS_SLACK_BYTES = 4 << 20
COOKIES = 5_000
# What one that was unlucky may take: its SYN was lost among the others', two times over.
CONNECTED_S = 20.0
CONNECTIONS = 100
GIVEN_UP_S = 150.0

CLIENT_PROGRAM = """
import json, socket, sys, time
times = []
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    with socket.create_connection((sys.argv[1], 80), 60) as sock:
        sock.sendall(b"GET /page HTTP/1.0\\r\\n\\r\\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answer.endswith(b"\\r\\n\\r\\n" + b"x" * 64), answer
    times.append(time.monotonic() - began)
print(json.dumps(times))
"""


@dataclass(frozen=True)
class Attacked:
    """A host with lighttpd, a host of honest clients, and one of a flooder."""

    hosts: RealHosts
    lanes: int
    file: Path

    @contextmanager
    def flood(self, sources: str) -> Iterator[None]:
        text = self.file.with_suffix(".new")
        text.write_text(f"{TARGET} 80 {sources}")
        text.rename(self.file)
        try:
            yield
        finally:
            self.file.unlink()

    @property
    def sent(self) -> int:
        with self.hosts.status(flooding_ip.FLOODER, "ip") as status:
            return int(status.counter[flooding_ip.SENT])

    def counters(self, name: str) -> list[int]:
        """A counter of the server's lanes."""
        found = []
        for lane in range(self.lanes):
            with self.hosts.status(WEB, f"tcp{lane}") as status:
                found.append(int(status.counter[TCP.counters.index(name)]))
        return found

    def rss_bytes(self) -> dict[str, int]:
        """What web's servers have of their own."""
        found = {}
        for (host, role), pid in self.hosts.pids().items():
            status = Path(f"/proc/{pid}/status").read_text()
            (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
            if host == WEB:
                found[role] = int(line.split()[1]) * 1024
        return found

    def fetch(self, times: int = CONNECTIONS) -> list[float]:
        """Fetch a page so many times, each over a connection of its own; how long each took."""
        command = [sys.executable, "-c", CLIENT_PROGRAM, ADDRESS, str(times)]
        took = sorted(json.loads(self.hosts.run(CLIENT, command, times * CONNECTED_S)))
        print(f"median {statistics.median(took) * 1e3:.2f} ms, longest {took[-1] * 1e3:.2f} ms")
        return took


@contextmanager
def attacked(lanes: int, keys: str, site: Site, folder: Path) -> Iterator[Attacked]:
    topology = f"""
    [host.{WEB}]
    addresses = ["{ADDRESS}/24", "{TARGET}/24"]
    routes = [{{ to = "{ROUTED}", via = "{ROUTER}" }}]
    lanes = {lanes}
    {keys}
    [host.{CLIENT}]
    address = "10.0.0.3/24"
    [host.{flooding_ip.FLOODER}]
    address = "{ROUTER}/24"
    [wire.lan]
    hosts = ["{WEB}", "{CLIENT}"]
    [wire.bad]
    hosts = ["{WEB}", "{flooding_ip.FLOODER}"]
    """
    file = folder / "flood"
    with pytest.MonkeyPatch.context() as patch:
        path = str(Path(flooding_ip.__file__).parent), os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
        patch.setenv("NEWTOS_FLOOD", str(file))
        replaced = [Replacement("ip", "flooding_ip:IP")]
        with ScratchHosts(topology, replacements=replaced) as scratch:
            hosts = RealHosts(scratch)
            with hosts.serving(site.folder):
                yield Attacked(hosts, lanes, file)


def connect_through(world: Attacked, sources: str) -> None:
    """Honest clients' connections while the flood lasts; each of them succeeds."""
    before = world.counters("cookies_sent")
    with world.flood(sources):
        until(
            lambda: all(
                now - then > COOKIES
                for now, then in zip(world.counters("cookies_sent"), before, strict=True)
            ),
            "every lane's SYN queue has overflowed",
        )
        sent, cookies = world.sent, sum(world.counters("cookies_sent"))
        took = world.fetch()
        assert world.sent > sent, "the flood is over"
        assert sum(world.counters("cookies_sent")) > cookies, "its queue is not full any more"
        assert max(world.counters("tcbs_in_use")) <= TCBS_MAX
        print(f"{world.sent - sent} SYNs meanwhile, {sum(took):.2f} s")
    assert took[-1] < CONNECTED_S
    assert sum(world.counters("cookies_accepted")) > 0


@pytest.mark.apps("lighttpd")
@pytest.mark.parametrize("sources", [ROUTED, ON_LINK])
@pytest.mark.parametrize("lanes", [1, 2])
def test_clients_connect_through_a_flood(
    site: Site, tmp_path: Path, lanes: int, sources: str
) -> None:
    with attacked(lanes, "", site, tmp_path) as world:
        world.fetch(10)
        connect_through(world, sources)


def given_up(world: Attacked) -> None:
    """A request that nobody goes on with lasts 63 s."""
    deadline = time.monotonic() + GIVEN_UP_S
    while sum(left := world.counters("tcbs_in_use")):
        assert time.monotonic() < deadline, f"requests are left: {left}"
        os.sched_yield()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.apps("lighttpd")
@pytest.mark.parametrize(
    ("lanes", "keys"), [(1, ""), (2, 'steering = "flow-groups"'), (2, 'steering = "rfd"')]
)
def test_nothing_stays_of_a_flood(site: Site, tmp_path: Path, lanes: int, keys: str) -> None:
    with attacked(lanes, keys, site, tmp_path) as world:
        world.fetch(CONNECTIONS)
        connect_through(world, ROUTED)  # warms up what a flood uses
        before = world.rss_bytes()
        for sources in (ON_LINK, ROUTED):
            connect_through(world, sources)
        grown = {role: now - before[role] for role, now in world.rss_bytes().items()}
        assert max(grown.values()) <= RSS_SLACK_BYTES, grown
        given_up(world)
        cookies = world.counters("cookies_sent")
        took = world.fetch()
        assert statistics.median(took) < 1.0
        assert world.counters("cookies_sent") == cookies
