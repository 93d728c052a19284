"""Programs that wait in a socket call end at a signal as they do on Linux, and leave nothing.

The statuses are those that the same commands have against Linux's loopback.
"""

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
SILENT, OWN = 5600, 5700
URL = f"http://{ADDRESS}:{SILENT}/"

# Name, command, statuses at SIGINT and SIGTERM.
CLIENTS = (
    ("curl", ("curl", "-s", URL), (-2, -15)),
    ("wget", ("wget", "-q", "-O", "-", URL), (-2, -15)),
    ("nc", ("nc", ADDRESS, f"{SILENT}"), (-2, -15)),
    ("socat", ("socat", "-", f"TCP:{ADDRESS}:{SILENT}"), (130, 143)),
    ("ab", ("ab", "-n", "5", URL), (1, -15)),
    ("wrk", ("wrk", "-d", "30", URL), (0, -15)),
    ("httperf", ("httperf", "--server", ADDRESS, "--port", f"{SILENT}"), (0, -15)),
    ("openssl", ("openssl", "s_client", "-connect", f"{ADDRESS}:{SILENT}"), (-2, -15)),
    ("node", ("node", "-e", f"require('net').connect({SILENT}, '{ADDRESS}')"), (-2, -15)),
    ("ruby", ("ruby", "-rsocket", "-e", f"TCPSocket.new('{ADDRESS}', {SILENT}).read"), (-2, -15)),
    (
        "perl",
        ("perl", "-MIO::Socket::INET", "-e",
         f"my $s = IO::Socket::INET->new('{ADDRESS}:{SILENT}'); <$s>"),
        (-2, -15),
    ),
    ("php", ("php", "-r", f"fgets(stream_socket_client('tcp://{ADDRESS}:{SILENT}'));"), (-2, -15)),
)  # fmt: skip
SERVERS = (
    ("nc", ("nc", "-l", f"{OWN}"), (-2, -15)),
    ("socat", ("socat", f"TCP-LISTEN:{OWN}", "PIPE"), (130, 143)),
    ("iperf3", ("iperf3", "-s", "-p", f"{OWN}"), (1, 1)),
    ("node", ("node", "-e", f"require('http').createServer().listen({OWN})"), (-2, -15)),
    ("php", ("php", "-S", f"0.0.0.0:{OWN}"), (0, -15)),
)


def by_name(rows: Any) -> list[Any]:
    return [
        pytest.param(command, statuses, id=name, marks=pytest.mark.apps(name))
        for name, command, statuses in rows
    ]


@pytest.fixture(scope="module")
def silent(wire_hosts: Any) -> Iterator[None]:
    """Accepts everybody, and says nothing until they close."""
    program = (
        f"server = TCPServer.new({SILENT});"
        "loop { Thread.new(server.accept) { |one| one.read; one.close } }"
    )
    with wire_hosts.serve(SILENT, "ruby", "-rsocket", "-e", program):
        yield


SIGNALS = (
    signal.SIGINT,
    pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
)


def ends_at(process: Any, number: int, statuses: tuple[int, int]) -> None:
    with process:
        process.send_signal(number)
        wanted = {signal.SIGINT: statuses[0], signal.SIGTERM: statuses[1]}.get(number, -number)
        assert process.wait(30) == wanted


@pytest.mark.apps("ruby")
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("command", "statuses"), by_name(CLIENTS))
@pytest.mark.parametrize("number", SIGNALS)
def test_a_client_ends(
    wire_hosts: Any, command: tuple[str, ...], statuses: tuple[int, int], number: int
) -> None:
    ports: list[int] = []

    def is_connected(listed: list[Any]) -> bool:
        ports[:] = [
            one.local.port for one in listed if one.peer.port == SILENT and one.state == "ESTAB"
        ]
        return bool(ports)

    client = wire_hosts.start(wire_hosts.client, *command, stdout=subprocess.DEVNULL)
    wire_hosts.await_sockets(wire_hosts.client, is_connected)
    ends_at(client, number, statuses)
    wire_hosts.await_nothing_left(ports)


@pytest.mark.parametrize(("command", "statuses"), by_name(SERVERS))
@pytest.mark.parametrize("number", SIGNALS)
def test_a_server_ends(
    wire_hosts: Any, command: tuple[str, ...], statuses: tuple[int, int], number: int
) -> None:
    server = wire_hosts.start(wire_hosts.web, *command, stdout=subprocess.DEVNULL)
    wire_hosts.await_port(wire_hosts.web, OWN)
    ends_at(server, number, statuses)
    wire_hosts.await_nothing_left([OWN])
