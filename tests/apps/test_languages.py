"""Node.js, Java, Ruby, Perl and PHP, servers and clients, over the wire that loses 0.5 %.

What they do stands in programs/. Each client checks every byte itself, and says so.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PROGRAMS = Path(__file__).parent / "programs"
NODE, JAVA, RUBY, PHP = (3000, 3001, 3002), (3100, 3101), 3200, 3300


def words(program: str, *arguments: object) -> list[str]:
    return [str(PROGRAMS / program), *map(str, arguments)]


@pytest.mark.apps("node")
def test_node(wire_hosts: Any) -> None:
    with wire_hosts.serve(NODE[0], "node", *words("server.js", *NODE)) as server:
        client = words("client.js", ADDRESS, *NODE)
        assert wire_hosts.ask("node", *client) == "done\n"
    assert server.returncode == 7


@pytest.mark.apps("java", "javac")
def test_java(wire_hosts: Any) -> None:
    with wire_hosts.serve(JAVA[0], "java", *words("Server.java", *JAVA)):
        client = words("Client.java", ADDRESS, *JAVA)
        assert wire_hosts.ask("java", *client) == "done\n"


@pytest.fixture(scope="module")
def ruby(wire_hosts: Any) -> Iterator[None]:
    with wire_hosts.serve(RUBY, "ruby", *words("server.rb", RUBY)):
        yield


@pytest.mark.apps("ruby")
@pytest.mark.usefixtures("ruby")
class TestLines:
    """One server of lines for the clients of three languages."""

    def test_ruby(self, wire_hosts: Any) -> None:
        assert wire_hosts.ask("ruby", *words("client.rb", ADDRESS, RUBY)) == "done\n"

    @pytest.mark.apps("perl")
    def test_perl(self, wire_hosts: Any) -> None:
        assert wire_hosts.ask("perl", *words("client.pl", ADDRESS, RUBY)) == "done\n"

    @pytest.mark.apps("php")
    def test_php(self, wire_hosts: Any, pages: Path) -> None:
        digest = hashlib.sha256((pages / "512000").read_bytes()).hexdigest()
        with wire_hosts.serve(PHP, "php", "-S", f"0.0.0.0:{PHP}", "-t", str(pages)):
            client = words("client.php", ADDRESS, RUBY, PHP, "512000", digest)
            assert wire_hosts.ask("php", *client) == "done\n"


@pytest.mark.parametrize(
    "program", [("ip", "address"), ("ip", "route"), ("ss", "-tln"), ("hostname", "-I")]
)
@pytest.mark.apps("ip", "ss")
def test_netlink_is_the_kernels(wire_hosts: Any, program: tuple[str, ...]) -> None:
    """What these tools show is Linux's own; they do not fail."""
    wire_hosts.ask(*program)


def test_names_are_the_hosts(wire_hosts: Any) -> None:
    assert ADDRESS in wire_hosts.ask("getent", "hosts", wire_hosts.web)
