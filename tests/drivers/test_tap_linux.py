"""The TAP driver against the Linux kernel: a real device, in a network namespace of its own.

The host behind the driver is a few lines of Python that answer ARP, ICMP echo and one TCP
connection; Linux's own ping and sockets are the other side.
"""

import hashlib
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from newtos_py.drivers.tap.server import SERVER

# Classes of conftest.py, which is no module that could be imported.
Host = Any
Received = Any

LINUX, OURS = bytes([10, 213, 0, 1]), bytes([10, 213, 0, 2])
OUR_MAC = bytes.fromhex("020000000002")
MSS = 1448
PAYLOAD_BYTES = 10_000  # fits Linux's initial window, so that it comes as one super-segment
FIN, SYN, ACK_FLAG, PSH = 1, 2, 16, 8

# Runs in the namespace: opens the device as rs does, and hands over its descriptor.
OPENER = """
import socket, sys
from newtos_py.drivers.tap.device import open_device
from newtos_py.errors import NewtosError
from newtos_py.kernel.server import DevicePlan
mapped = bytes(10) + b"\\xff\\xff" + socket.inet_aton("10.213.0.1")
plan = DevicePlan("edge", "ntdrv0", mapped, 120, 1500)
try:
    fd = open_device(plan)
except NewtosError as error:
    sys.exit(str(error))
with socket.socket(fileno=int(sys.argv[1])) as link:
    socket.send_fds(link, [b"x"], [fd])
"""

CLIENT = f"""
import hashlib, socket, sys
with socket.create_connection(("10.213.0.2", 7), timeout=20) as s:
    s.sendall(sys.stdin.buffer.read())
    got = b""
    while len(got) < {PAYLOAD_BYTES} and (data := s.recv(1 << 17)):
        got += data
print(hashlib.sha256(got).hexdigest())
"""

pytestmark = [pytest.mark.root, pytest.mark.apps("ip", "ping")]


def inet_sum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Edge:
    """A namespace with a TAP device in it, and the host behind the device."""

    def __init__(self, make_host: Callable[..., Host]) -> None:
        self.namespace = f"ntdrv{os.getpid()}"
        self.ip("netns", "add", self.namespace)
        try:
            self.quiet()
            self.fd = self.open()
        except BaseException:
            self.ip("netns", "del", self.namespace)
            raise
        self.host = make_host("edge", SERVER, small=448, large=64)
        self.host.boot(self.host.context(device_fd=self.fd))
        self.tcp = TcpEcho(self)

    @staticmethod
    def ip(*words: str) -> str:
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def quiet(self) -> None:
        """Keep Linux from talking IPv6 by itself, so that counts can be exact."""
        setting = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"
        subprocess.run(self.command("sh", "-c", setting), check=True)

    def open(self) -> int:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = [sys.executable, "-P", "-c", OPENER, str(theirs.fileno())]
            done = subprocess.run(
                self.command(*words),
                pass_fds=[theirs.fileno()],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        return fds[0]

    def serve(self, process: "subprocess.Popen[str]", seconds: float = 30) -> str:
        """Run the host until a process has ended; its output."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            assert time.monotonic() < deadline, "the program on the Linux side does not end"
            if not self.turn():
                select.select([self.fd], [], [], 0.01)
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        return out

    def turn(self) -> int:
        work = self.host.step()
        for received in self.host.take():
            self.answer(received)
            self.host.give_back(received)
        return work + self.host.step()

    def answer(self, received: Received) -> None:
        data = received.data
        kind = data[12:14]
        if kind == b"\x08\x06":
            self.answer_arp(data)
        elif kind == b"\x08\x00" and data[30:34] == OURS:
            if data[23] == 1:
                self.answer_echo(data)
            elif data[23] == 6:
                self.tcp.receive(received)

    def answer_arp(self, data: bytes) -> None:
        asker, asker_ip = data[22:28], data[28:32]
        if data[20:22] == b"\0\1" and data[38:42] == OURS:
            reply = data[14:20] + b"\0\2" + OUR_MAC + OURS + asker + asker_ip
            self.host.send(asker + OUR_MAC + b"\x08\x06" + reply)

    def answer_echo(self, data: bytes) -> None:
        icmp = b"\0\0\0\0" + data[38:]
        icmp = icmp[:2] + struct.pack(">H", ~inet_sum(icmp) & 0xFFFF) + icmp[4:]
        head = self.ip_header(data[6:12], 1, len(icmp))
        self.host.area.map[: len(icmp)] = icmp
        self.host.send(head, (0, len(icmp)))

    @staticmethod
    def ip_header(mac: bytes, protocol: int, payload_bytes: int) -> bytes:
        total = 20 + payload_bytes
        ip = struct.pack(">BBHHHBBH", 0x45, 0, total, 1, 0x4000, 64, protocol, 0) + OURS + LINUX
        ip = ip[:10] + struct.pack(">H", ~inet_sum(ip) & 0xFFFF) + ip[12:]
        return mac + OUR_MAC + b"\x08\x00" + ip

    def close(self) -> None:
        os.close(self.fd)
        self.ip("netns", "del", self.namespace)


class TcpEcho:
    """One connection's worth of TCP: takes PAYLOAD_BYTES, then sends them back in one segment."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.data = b""
        self.largest = 0
        self.supers = 0
        self.seq = 1000

    def receive(self, received: Received) -> None:
        data = received.data
        tcp = data[34:]
        seq, flags, header = struct.unpack_from(">I", tcp, 4)[0], tcp[13], (tcp[12] >> 4) * 4
        payload = tcp[header:]
        port = struct.unpack(">H", tcp[:2])[0]
        if received.flags & 1:
            pseudo = data[26:34] + struct.pack(">HH", 6, len(tcp))
            assert struct.unpack(">H", tcp[16:18])[0] == inet_sum(pseudo)
            assert received.l4_offset == 34
        if flags & SYN:
            self.expected = seq + 1
            self.send(
                data[6:12], port, SYN | ACK_FLAG, options=b"\x02\x04" + struct.pack(">H", 1460)
            )
            self.seq += 1
        elif payload and seq == self.expected:
            self.largest = max(self.largest, len(payload))
            self.supers += received.gso_size == 1460
            self.expected += len(payload)
            self.data += payload
            if len(self.data) == PAYLOAD_BYTES:
                self.send(data[6:12], port, ACK_FLAG | PSH, payload=self.data)
                self.seq += PAYLOAD_BYTES
            else:
                self.send(data[6:12], port, ACK_FLAG)
        elif flags & FIN:
            self.expected += 1
            self.send(data[6:12], port, ACK_FLAG | FIN)

    def send(
        self, mac: bytes, port: int, flags: int, options: bytes = b"", payload: bytes = b""
    ) -> None:
        length = 20 + len(options) + len(payload)
        pseudo = inet_sum(OURS + LINUX + struct.pack(">HH", 6, length))
        offset = (20 + len(options)) // 4 << 4
        tcp = struct.pack(
            ">HHIIBBHHH", 7, port, self.seq, self.expected, offset, flags, 65535, pseudo, 0
        )
        head = self.edge.ip_header(mac, 6, length) + tcp + options
        refs = []
        if payload:
            self.edge.host.area.map[100 : 100 + len(payload)] = payload
            refs = [(100, 4000), (4100, len(payload) - 4000)]
        gso = MSS if len(payload) > MSS else 0
        self.edge.host.send(head, *refs, flags=1, gso_size=gso, l4_offset=34)


@pytest.fixture
def edge(make_host: Callable[..., Host]) -> Iterator[Edge]:
    made = Edge(make_host)
    yield made
    made.close()


def test_the_device_is_as_it_was_planned(edge: Edge) -> None:
    shown = subprocess.run(
        edge.command("ip", "addr", "show", "dev", "ntdrv0"),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "inet 10.213.0.1/24" in shown
    assert "mtu 1500" in shown
    assert "qlen 1000" in shown
    assert "UP" in shown


def test_a_name_in_use_is_said_so(edge: Edge) -> None:
    with pytest.raises(AssertionError, match="exists already; choose another name"):
        edge.open()


@pytest.mark.parametrize("size", ["56", "1472"])
def test_linux_pings_the_host(edge: Edge, size: str) -> None:
    words = edge.command("ping", "-c", "3", "-i", "0.01", "-W", "5", "-s", size, "10.213.0.2")
    ping = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert " 0% packet loss" in edge.serve(ping)
    assert edge.host.count("rx_frames") >= 4


def test_large_segments_both_ways(edge: Edge) -> None:
    payload = random.Random(3).randbytes(PAYLOAD_BYTES)
    words = edge.command(sys.executable, "-c", CLIENT)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        client.stdin.buffer.write(payload)
        client.stdin.close()
        client.stdin = None
        digest = edge.serve(client)
    assert edge.tcp.data == payload
    assert digest.strip() == hashlib.sha256(payload).hexdigest()
    assert edge.tcp.largest > 2 * 1460
    assert edge.tcp.supers >= 1
    assert edge.host.count("rx_supers") >= 1
    assert edge.host.count("tx_supers") == 1
    assert edge.host.count("refused_drops") == 0


def test_a_new_generation_goes_on_with_the_same_device(edge: Edge) -> None:
    edge.host.boot(edge.host.context(device_fd=edge.fd))
    words = edge.command("ping", "-c", "2", "-i", "0.01", "-W", "5", "10.213.0.2")
    ping = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    edge.turn()
    edge.host.boot(edge.host.context(device_fd=edge.fd))
    assert " 0% packet loss" in edge.serve(ping)
