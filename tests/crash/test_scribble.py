"""A program that ruins all it may write of its socket areas harms only itself."""

import itertools
import re
import signal
import subprocess
from collections.abc import Callable

import pytest
from real_hosts import ADDRESS, CLIENT, DEADLINE_S, RealHosts, Site, until, wrk_errors

PATTERNS = ("random", "kept", "ones", "zeros", "words")
SEED = 20
SCRIBBLE_MS = 500
CONNECTIONS = 8
WRK = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d1s", "--timeout", "10", f"http://{ADDRESS}/page"]

Build = Callable[[str, str], list[str]]


@pytest.fixture(scope="module")
def scribbler(c_program: Build) -> str:
    return c_program("scribbler", "none")[-1]


@pytest.mark.apps("lighttpd", "wrk", "curl")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_scribbler_harms_only_itself(
    hosts: RealHosts, site: Site, scribbler: str, seeds: int
) -> None:
    with hosts.serving(site.folder):
        before = hosts.pids()
        for seed, pattern in itertools.product(range(SEED, SEED + seeds), PATTERNS):
            spoil = [scribbler, ADDRESS, "80", pattern, str(seed), str(SCRIBBLE_MS)]
            with hosts.start(CLIENT, WRK) as load:
                until(lambda: hosts.tcp_counter(CLIENT, "tcbs_in_use") >= CONNECTIONS, "wrk runs")
                noticed = hosts.tcp_counter(CLIENT, "bad_program")
                said = hosts.run(CLIENT, spoil)
                wrk_said = load.communicate(timeout=DEADLINE_S)[0].decode()
            noticed = hosts.tcp_counter(CLIENT, "bad_program") - noticed
            print(f"{pattern}, seed {seed}: {said.split(chr(10))[1]}, {noticed} sockets broken")
            assert "rounds" in said
            assert wrk_errors(wrk_said) == 0, wrk_said
            assert hosts.pids() == before, f"a server died (pattern {pattern}, seed {seed})"
            # The others leave no generation that the server would listen to.
            assert noticed > 0 or pattern not in ("kept", "words")
        # And when the ruined programs are cleaned up after.
        fetch = ["sh", "-c", f"curl -sSf http://{ADDRESS}/big | sha256sum"]
        assert hosts.run(CLIENT, fetch).split()[0] == site.big_sha256
        # Whatever they hold is taken back: only lighttpd's areas are left.
        until(lambda: hosts.tcp_counter(CLIENT, "tcbs_in_use") == 0, "their connections are gone")
        until(lambda: len(hosts.areas()) == 1, "their areas are gone")
        assert hosts.pids() == before


@pytest.mark.apps("lighttpd", "curl")
def test_what_a_program_only_reads_faults(hosts: RealHosts, site: Site, scribbler: str) -> None:
    with hosts.serving(site.folder):
        before = hosts.pids()
        said = hosts.run(CLIENT, [scribbler, ADDRESS, "80", "fault", "1000", "0"])
        counts = re.match(r"(\d+) writable, (\d+) read-only", said)
        assert counts is not None, said
        # Server sides of a TCP and a UDP area, at least.
        assert int(counts[2]) >= 2, said
        for which in range(int(counts[2])):
            command = [scribbler, ADDRESS, "80", "fault", str(which), "0"]
            with hosts.start(CLIENT, command, stdout=subprocess.DEVNULL) as process:
                status = process.wait(20)
            assert status in (-signal.SIGSEGV, 128 + signal.SIGSEGV), f"mapping {which}: {status}"
        assert hosts.pids() == before
