"""Observers of two real hosts, with CPython as the program on both: what they show is what is."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dpkt
import pytest

from newtos_py.rs.process_id import send_signal
from newtos_py.rs.scratch import ScratchHosts

# Unmodified programs run, with the shim before a sanitizer's run time: not under sanitizers.
pytestmark = pytest.mark.apps()

NEWTOS = Path(sys.executable).parent / "newtos"
WEB, CLIENT = "10.0.0.2", "10.0.0.3"
HOSTS = f"""
[host.web]
address = "{WEB}/24"
[host.client]
address = "{CLIENT}/24"
[wire.lan]
hosts = ["web", "client"]
"""

# Accepts one connection, does not read what comes, sends ten bytes, and waits.
SERVER = """
import socket, sys
with socket.create_server(("0.0.0.0", 8000), backlog=7) as listener:
    print("listening", flush=True)
    connection, _ = listener.accept()
    connection.sendall(b"0123456789")
    sys.stdin.read()
"""
# Connects, sends three bytes, reads so many of the ten, and waits.
CLIENT_PROGRAM = """
import socket, sys
with socket.create_connection(("10.0.0.2", 8000)) as connection, \\
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.bind(("10.0.0.3", 5353))
    connection.sendall(b"abc")
    assert len(connection.recv({wanted}, socket.MSG_WAITALL)) == {wanted}
    print("connected", flush=True)
    sys.stdin.read()
"""


def client_program(wanted: int) -> str:
    return CLIENT_PROGRAM.replace("{wanted}", str(wanted))


@pytest.fixture(scope="module")
def hosts() -> Iterator[ScratchHosts]:
    with ScratchHosts(HOSTS) as booted:
        yield booted


@contextmanager
def running(hosts: ScratchHosts, host: str, script: str) -> Iterator[int]:
    """Run a script on a host until the block ends; its pid, once it has printed a line."""
    command = hosts.on(host, [sys.executable, "-Pc", script])
    with subprocess.Popen(
        command, env=hosts.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process.pid
        process.communicate(timeout=30)
    assert process.returncode == 0


def ss(hosts: ScratchHosts, *args: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [NEWTOS, "ss", "--json", *args], env=hosts.environ, check=True, capture_output=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_ss_shows_both_ends_of_a_connection(hosts: ScratchHosts) -> None:
    with running(hosts, "web", SERVER) as server:
        (listener,) = ss(hosts, "-tl")
        assert (listener["host"], listener["state"], listener["pid"]) == ("web", "LISTEN", server)
        assert (listener["local_port"], listener["recv_q"], listener["send_q"]) == (8000, 0, 7)
        with running(hosts, "client", client_program(4)) as client:
            far, near = sorted(ss(hosts, "-t"), key=lambda row: row["local_port"] != 8000)
            assert (far["host"], far["state"], far["pid"]) == ("web", "ESTAB", server)
            assert (near["host"], near["state"], near["pid"]) == ("client", "ESTAB", client)
            assert far["recv_q"] == 3
            assert (near["peer_address"], near["peer_port"]) == (WEB, 8000)
            assert (far["peer_address"], far["peer_port"]) == (CLIENT, near["local_port"])
            internals = near["internals"]
            assert internals["congestion"] == "reno"
            assert 500 < internals["mss"] <= 1460
            assert internals["cwnd_bytes"] >= internals["mss"]
            assert internals["retransmits"] == 0
            (datagrams,) = ss(hosts, "-ul", "--host", "client")
            assert (datagrams["state"], datagrams["local_port"]) == ("UNCONN", 5353)
            assert datagrams["pid"] == client


def test_counters_say_what_servers_did(hosts: ScratchHosts) -> None:
    def counters(*args: str) -> dict[tuple[str, str, str], int]:
        words = [NEWTOS, "counters", "--json", *args]
        done = subprocess.run(words, env=hosts.environ, check=True, capture_output=True)
        return {
            (row["host"], row["server"], row["counter"]): row["value"]
            for row in json.loads(done.stdout)
        }

    before = counters("--all")
    assert {server for host, server, _ in before if host == "web"} >= {"wire.lan", "ip", "udp"}
    with running(hosts, "web", SERVER), running(hosts, "client", client_program(4)):
        after = counters("--host", "web", "--server", "tcp0")
    assert {(host, server) for host, server, _ in after} == {("web", "tcp0")}
    opened = ("web", "tcp0", "passive_opens")
    assert after[opened] == before[opened] + 1
    assert 0 not in after.values()


def test_ss_shows_a_connection_whose_server_is_dead(hosts: ScratchHosts) -> None:
    with running(hosts, "web", SERVER), running(hosts, "client", client_program(4)):
        before = ss(hosts, "-t", "--host", "web")
        tcp = next(each for each in hosts.record("web").servers if each.role == "tcp0")
        assert tcp.process is not None
        send_signal(tcp.process, signal.SIGKILL)
        during = ss(hosts, "-t", "--host", "web")
    told = ("state", "local_port", "peer_port", "pid", "recv_q")
    assert [[row[name] for name in told] for row in during] == [
        [row[name] for name in told] for row in before
    ]


def test_pcap_shows_a_connection_from_beginning_to_end(hosts: ScratchHosts, tmp_path: Path) -> None:
    path = tmp_path / "client.pcapng"
    with subprocess.Popen(
        [NEWTOS, "pcap", "--host", "client", "-w", path], env=hosts.environ, stderr=subprocess.PIPE
    ) as pcap:
        assert pcap.stderr is not None
        assert pcap.stderr.readline().startswith(b"capturing on lan of host client")
        # All ten: closing with bytes unread is a reset, which may overtake what is not yet sent.
        with running(hosts, "web", SERVER), running(hosts, "client", client_program(10)):
            pass
        # Whoever has seen the peer's process end has its last segments in the ring.
        pcap.send_signal(signal.SIGTERM)
        _, said = pcap.communicate(timeout=30)
    assert said.endswith(b"packets captured, 0 lost\n")
    sent, received = b"", b""
    flags = []
    for _, _, frame in _packets(path):
        inner = dpkt.ethernet.Ethernet(frame).data
        if not isinstance(inner, dpkt.ip.IP) or not isinstance(inner.data, dpkt.tcp.TCP):
            continue
        segment = inner.data
        flags.append((segment.dport == 8000, segment.flags & ~dpkt.tcp.TH_PUSH))
        if segment.dport == 8000:
            sent += segment.data
        else:
            received += segment.data
    assert flags[:3] == [(True, dpkt.tcp.TH_SYN), (False, 0x12), (True, dpkt.tcp.TH_ACK)]
    assert (sent, received) == (b"abc", b"0123456789")
    assert any(bits & (dpkt.tcp.TH_FIN | dpkt.tcp.TH_RST) for _, bits in flags[3:])


def _packets(path: Path) -> list[tuple[int, int, bytes]]:
    """Interface, original length and bytes of each Enhanced Packet Block."""
    content = path.read_bytes()
    found = []
    at = 0
    while at < len(content):
        kind, length = (int.from_bytes(content[i : i + 4], sys.byteorder) for i in (at, at + 4))
        if kind == 6:
            words = [int.from_bytes(content[i : i + 4], sys.byteorder)
                     for i in range(at + 8, at + 28, 4)]  # fmt: skip
            found.append((words[0], words[4], content[at + 28 : at + 28 + words[3]]))
        at += length
    return found
