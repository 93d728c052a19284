"""memcached with four threads, over TCP and UDP at once, where the wire loses."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS, PORT = "10.0.0.2", 11311

pytestmark = pytest.mark.apps("memcached")

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def memcached(wire_hosts: Any) -> Iterator[None]:
    port = str(PORT)
    with wire_hosts.serve(PORT, "memcached", "-u", "root", "-p", port, "-U", port, "-t", "4"):
        yield
    wire_hosts.await_nothing_left()


@pytest.mark.usefixtures("memcached")
def test_sixteen_connections_of_four_threads(wire_hosts: Any) -> None:
    said = wire_hosts.ask(
        sys.executable, str(PROGRAMS / "memcached_threads.py"), ADDRESS, str(PORT), timeout=100
    )
    assert said == "all\n"


@pytest.mark.usefixtures("memcached")
def test_udp(wire_hosts: Any) -> None:
    said = wire_hosts.ask(
        sys.executable, str(PROGRAMS / "memcached_udp.py"), ADDRESS, str(PORT), timeout=100
    )
    assert said == "200\n"


@pytest.mark.apps("memccapable")
@pytest.mark.usefixtures("memcached")
def test_its_own_protocol_test(wire_hosts: Any) -> None:
    said = wire_hosts.ask("memccapable", "-h", ADDRESS, "-p", str(PORT), timeout=100)
    assert "All tests passed" in said


@pytest.mark.apps("memcaslap")
@pytest.mark.usefixtures("memcached")
def test_its_own_load(wire_hosts: Any) -> None:
    """Verified values: memcaslap -v 1 compares each with what it set."""
    said = wire_hosts.ask(
        "memcaslap", "-s", f"{ADDRESS}:{PORT}", "-T", "2", "-c", "16", "-x", "4000", "-X", "1024",
        "-v", "1.0", timeout=100,
    )  # fmt: skip
    found = {line.split(":")[0]: line.split(":")[1].strip() for line in said.splitlines()
             if line.count(":") == 1}  # fmt: skip
    assert found["verify_failed"] == "0", said
    assert found["verify_misses"] == "0", said
