"""netcat, socat and telnet, as clients and as servers, over the wire that loses 0.5 %.

Most of these servers serve once and end: nobody tries them out first, and their own statuses count.
"""

import socket
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"


def ends_well(process: Any) -> None:
    with process:
        assert process.wait(30) == 0


@pytest.mark.apps("nc")
class TestNetcat:
    """Debian's, of OpenBSD."""

    def test_a_file(self, wire_hosts: Any, pages: Path) -> None:
        """-N ends the stream as the input ends; the other's -l ends at that."""
        want, got = pages / "512000", wire_hosts.directory / "got"
        with (
            got.open("wb") as output,
            wire_hosts.start(wire_hosts.web, "nc", "-l", "5000", stdout=output) as server,
        ):
            wire_hosts.await_port(wire_hosts.web, 5000)
            with want.open("rb") as file:
                ends_well(wire_hosts.start(wire_hosts.client, "nc", "-N", ADDRESS, "5000",
                                           stdin=file))  # fmt: skip
            ends_well(server)
        assert got.read_bytes() == want.read_bytes()

    def test_a_talk(self, wire_hosts: Any) -> None:
        with wire_hosts.serve(5001, "nc", "-l", "5001", once=True):
            talk = wire_hosts.start(wire_hosts.client, "nc", "-v", ADDRESS, "5001")
            assert "succeeded!" in talk.stdout.readline()
            listed = wire_hosts.sockets(wire_hosts.client)
            assert [one.state for one in listed if one.peer.port == 5001] == ["ESTAB"]
            talk.terminate()
            talk.communicate()

    def test_ports(self, wire_hosts: Any) -> None:
        with wire_hosts.serve(5003, "nc", "-k", "-l", "5003", once=True):
            done = wire_hosts.run(
                wire_hosts.client, "nc", "-v", "-z", ADDRESS, "5002-5004", check=False
            )
            assert [line.split()[-1] for line in done.stderr.splitlines()] == [
                "refused", "succeeded!", "refused",
            ]  # fmt: skip
        assert wire_hosts.run(
            wire_hosts.client, "nc", "-z", ADDRESS, "5003", check=False
        ).returncode == 1  # fmt: skip

    def test_datagrams(self, wire_hosts: Any) -> None:
        """Three to one who answers the first who writes; a lost one comes again, as UDP has it."""
        server = wire_hosts.start(wire_hosts.web, "nc", "-u", "-l", "5005")
        wire_hosts.await_port(wire_hosts.web, 5005)
        client = wire_hosts.start(wire_hosts.client, "nc", "-u", ADDRESS, "5005")
        for _ in range(3):
            client.stdin.write("from the client\n")
            client.stdin.flush()
        assert server.stdout.readline() == "from the client\n"
        for _ in range(3):
            server.stdin.write("from the server\n")
            server.stdin.flush()
        assert client.stdout.readline() == "from the server\n"
        for process in (client, server):
            process.terminate()
            process.communicate()


@pytest.mark.apps("socat")
class TestSocat:
    """TCP to files, UNIX sockets, children, datagrams."""

    def test_a_file(self, wire_hosts: Any, pages: Path) -> None:
        want, got = pages / "512000", wire_hosts.directory / "socat-got"
        command = ("socat", "-u", "TCP-LISTEN:5010", f"CREATE:{got}")
        with wire_hosts.serve(5010, *command, once=True) as server:
            wire_hosts.ask("socat", "-u", f"FILE:{want}", f"TCP:{ADDRESS}:5010")
            ends_well(server)
        assert got.read_bytes() == want.read_bytes()

    def test_tcp_to_unix_and_back(self, wire_hosts: Any) -> None:
        """A client of a UNIX socket of Linux's speaks with an echo behind the wire."""
        path = wire_hosts.directory / "s"
        with (
            wire_hosts.serve(5011, "socat", "TCP-LISTEN:5011", "PIPE", once=True),
            wire_hosts.start(wire_hosts.client, "socat", f"UNIX-LISTEN:{path}",
                             f"TCP:{ADDRESS}:5011") as relay,
            socket.socket(socket.AF_UNIX) as client,
        ):  # fmt: skip
            while True:
                try:
                    client.connect(str(path))
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    assert relay.poll() is None
            sent = bytes(range(256)) * 100
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while piece := client.recv(65536):
                got += piece
            assert got == sent
            ends_well(relay)

    def test_a_child_for_each_connection(self, wire_hosts: Any, pages: Path) -> None:
        """Each accepted connection is a child's, and its data go through another program."""
        page = pages / "512000"
        with wire_hosts.serve(5013, "socat", "TCP-LISTEN:5013,fork,reuseaddr", "EXEC:cat"):
            for _ in range(5):
                got = wire_hosts.directory / "from-child"
                client = f"socat -t 20 - TCP:{ADDRESS}:5013 <{page} >{got}"
                wire_hosts.ask("sh", "-c", client)
                assert got.read_bytes() == page.read_bytes()

    @pytest.mark.parametrize("how", ["EXEC:tr a-z A-Z,nofork", "SYSTEM:tr a-z A-Z"])
    def test_programs_on_sockets(self, wire_hosts: Any, how: str) -> None:
        """With nofork the program is on the socket itself, as its input and its output."""
        with wire_hosts.serve(5014, "socat", "TCP-LISTEN:5014,reuseaddr", how, once=True) as server:
            said = wire_hosts.ask("nc", "-N", ADDRESS, "5014", stdin="hello\n" * 1000)
            assert said == "HELLO\n" * 1000
            ends_well(server)

    def test_datagrams(self, wire_hosts: Any) -> None:
        with wire_hosts.serve(5012, "socat", "UDP-LISTEN:5012", "PIPE", once=True):
            client = wire_hosts.start(wire_hosts.client, "socat", "-", f"UDP:{ADDRESS}:5012")
            for _ in range(3):
                client.stdin.write("a datagram\n")
                client.stdin.flush()
            assert client.stdout.readline() == "a datagram\n"
            client.terminate()
            client.communicate()


@pytest.mark.apps("telnet", "socat")
def test_telnet(wire_hosts: Any) -> None:
    with wire_hosts.serve(5020, "socat", "TCP-LISTEN:5020", "PIPE", once=True) as server:
        client = wire_hosts.start(wire_hosts.client, "telnet", ADDRESS, "5020")
        while "Escape character" not in client.stdout.readline():
            assert client.poll() is None
        for line in ("hello\n", "again\n"):
            client.stdin.write(line)
            client.stdin.flush()
            assert client.stdout.readline() == line
        server.terminate()
        assert "Connection closed by foreign host" in client.communicate()[0]
