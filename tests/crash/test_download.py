"""`kill -9` of each server, on both hosts, while curl downloads 100 MB: not a byte is wrong.

Kill n is due at the n-th of equal parts of the download, and nobody reads the part after that
before the server is back: so all kills fall inside, however slow a restart is.
"""

import hashlib
import itertools
import os
import subprocess
import threading

import pytest
from real_hosts import (
    ADDRESS,
    CLIENT,
    DEADLINE_S,
    HOSTS,
    SERVERS,
    TOPOLOGY,
    WEB,
    RealHosts,
    Site,
)

from newtos_py.rs.scratch import ScratchHosts

CHUNK_BYTES = 1 << 16


class Download:
    """What curl writes, read by a thread as far as it may."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.taken = 0
        self.sha256 = hashlib.sha256()
        self._limit = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            while chunk := os.read(stdout.fileno(), CHUNK_BYTES):
                self.sha256.update(chunk)
                with self._changed:
                    self.taken += len(chunk)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self.taken <= self._limit, DEADLINE_S)

    def read_up_to(self, limit: int) -> None:
        """Let the thread read so many bytes in all."""
        with self._changed:
            self._limit = limit
            self._changed.notify_all()

    def wait_for(self, position: int) -> None:
        """Wait until so many bytes were read."""
        with self._changed:
            in_time = self._changed.wait_for(lambda: self.taken >= position, DEADLINE_S)
        assert in_time, f"the download stands still at {self.taken} bytes"

    def finish(self) -> int:
        """Read the rest; curl's exit status."""
        self.read_up_to(1 << 62)
        self._thread.join(DEADLINE_S)
        if self._thread.is_alive():
            self.process.kill()
        self._thread.join()
        return self.process.wait()


@pytest.mark.apps("lighttpd", "curl")
@pytest.mark.parametrize(
    ("kills", "rate"), [(3, "100M"), pytest.param(20, "12M", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("role", SERVERS)
def test_a_download_survives_kills(
    hosts: RealHosts, site: Site, role: str, kills: int, rate: str
) -> None:
    download_under_kills(hosts, site, role, kills, rate)


@pytest.mark.apps("lighttpd", "curl")
@pytest.mark.parametrize(
    ("placement", "role"),
    [
        ('"fused"', "tcp0"),
        pytest.param('"fused"', "ip", marks=pytest.mark.slow),
        pytest.param('{ ip = "net", "wire.lan" = "net" }', "ip", marks=pytest.mark.slow),
        pytest.param('{ ip = "net", "wire.lan" = "net" }', "tcp0", marks=pytest.mark.slow),
    ],
)
def test_servers_of_one_process_are_restarted_together(
    site: Site, placement: str, role: str
) -> None:
    topology = TOPOLOGY.replace('/24"\n', f'/24"\nplacement = {placement}\n')
    with ScratchHosts(topology) as scratch:
        hosts = RealHosts(scratch)
        download_under_kills(hosts, site, role, 2, "100M")
        killed = hosts.server(WEB, role)
        for other in SERVERS:
            together = hosts.server(WEB, other)
            shares = together.process == killed.process
            assert (together.restarts == killed.restarts) == shares


def download_under_kills(hosts: RealHosts, site: Site, role: str, kills: int, rate: str) -> None:
    """Kill a server again and again; `kills` is for each host."""
    victims = list(itertools.islice(itertools.cycle(HOSTS), 2 * kills))
    part = site.big_bytes // (len(victims) + 1)
    gaps = []
    with hosts.serving(site.folder):
        curl = ["curl", "-sSf", "--limit-rate", rate, f"http://{ADDRESS}/big"]
        download = Download(hosts.start(CLIENT, curl))
        try:
            for number, host in enumerate(victims, 1):
                download.read_up_to((number + 1) * part)
                download.wait_for(number * part)
                gaps.append(hosts.kill(host, role))
        finally:
            status = download.finish()
    print(f"{role}: {len(victims)} kills, worst restart {max(gaps) * 1e3:.0f} ms")
    assert (status, download.taken) == (0, site.big_bytes)
    assert download.sha256.hexdigest() == site.big_sha256
    for host in HOSTS:
        assert hosts.server(host, role).restarts == kills
