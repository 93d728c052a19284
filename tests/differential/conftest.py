"""Two hosts, and pairs of executors: one on Linux, one on a host."""

from collections.abc import Iterator

import pytest

from newtos_py.rs.scratch import ScratchHosts

from .pair import Pair, on_linux_and

TOPOLOGY = """
host.server.address = "10.0.0.2/24"
host.client.address = "10.0.0.3/24"
wire.lan.hosts = ["server", "client"]
"""


@pytest.fixture(scope="session")
def hosts() -> Iterator[ScratchHosts]:
    """Hosts `server` and `client`, joined by a wire."""
    with ScratchHosts(TOPOLOGY) as booted:
        yield booted
        restarts = {
            s.role: s.restarts for h in ("server", "client") for s in booted.record(h).servers
        }
        assert not any(restarts.values()), f"a server died under a test: {restarts}"


@pytest.fixture(scope="module")
def pair(hosts: ScratchHosts) -> Iterator[Pair]:
    """Linux's loopback, and a host's."""
    with on_linux_and(hosts, "server") as both:
        yield both
