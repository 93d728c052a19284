"""Packets as lines: the usual ones as one expects, and any bytes without a crash."""

import re

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.observe.packet_line import packet_line
from newtos_py.observe.pcapng import Direction, Packet

WEB, CLIENT = bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3])
MAC = bytes([2, 0, 0, 0, 0, 1])


def line(frame: bytes, direction: Direction = Direction.IN) -> str:
    return packet_line(Packet(0, 0, direction, len(frame), frame), "lan")


def ethernet(inner: dpkt.Packet, kind: int = dpkt.ethernet.ETH_TYPE_IP) -> bytes:
    return bytes(dpkt.ethernet.Ethernet(src=MAC, dst=MAC, type=kind, data=inner))


def ip(inner: dpkt.Packet | bytes, protocol: int, offset: int = 0) -> bytes:
    packet = dpkt.ip.IP(src=WEB, dst=CLIENT, p=protocol, data=inner, len=20 + len(inner))
    packet._flags_offset |= offset
    return ethernet(packet)


TCP = dpkt.tcp.TCP(sport=80, dport=40000, seq=7, ack=9, win=100, flags=0x18, data=b"hello")
ARP = dpkt.arp.ARP(op=1, sha=MAC, spa=WEB, tpa=CLIENT)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ip(TCP, 6), "10.0.0.2:80 > 10.0.0.3:40000 TCP [P.] seq 7 ack 9 win 100, length 5"),
        (
            ip(dpkt.tcp.TCP(sport=1, dport=2, seq=7, win=5, flags=2), 6),
            "10.0.0.2:1 > 10.0.0.3:2 TCP [S] seq 7 win 5, length 0",
        ),
        (
            ip(dpkt.udp.UDP(sport=53, dport=99, data=b"abc", ulen=11), 17),
            "10.0.0.2:53 > 10.0.0.3:99 UDP, length 3",
        ),
        (
            ip(dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(data=bytes(56))), 1),
            "10.0.0.2 > 10.0.0.3 ICMP echo request, length 64",
        ),
        (ip(b"12345678", 99), "10.0.0.2 > 10.0.0.3 protocol 99, length 8"),
        (
            ip(b"12345678", 17, offset=0x2000 | 185),
            "10.0.0.2 > 10.0.0.3 UDP fragment at 1480, more follow, length 8",
        ),
        (ethernet(ARP, 0x0806), "ARP who has 10.0.0.3? tell 10.0.0.2"),
        (
            ethernet(dpkt.arp.ARP(op=2, sha=MAC, spa=WEB, tpa=CLIENT), 0x0806),
            "ARP 10.0.0.2 is at 02:00:00:00:00:01",
        ),
        (bytes(12) + b"\x88\xb5" + b"x", "ethertype 0x88b5, length 15"),
        (b"short", "malformed frame, length 5"),
    ],
)
def test_a_packet_has_a_line(frame: bytes, expected: str) -> None:
    said = line(frame, Direction.OUT)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.000000000 lan out .*", said)
    assert said.endswith(expected)


def test_ipv6_addresses_are_bracketed() -> None:
    packet = dpkt.ip6.IP6(src=bytes(15) + b"\1", dst=bytes(15) + b"\2", nxt=6, p=6, plen=25)
    packet.data = TCP
    said = line(ethernet(packet, dpkt.ethernet.ETH_TYPE_IP6))
    assert "[::1]:80 > [::2]:40000 TCP [P.]" in said


@pytest.mark.parametrize("length", range(60))
def test_a_cut_packet_has_one_too(length: int) -> None:
    assert "\n" not in line(ip(TCP, 6)[:length])


@given(st.binary(max_size=120))
def test_any_bytes_have_one(tail: bytes) -> None:
    for start in (b"", bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd", ip(TCP, 6)[:20]):
        assert "\n" not in line(start + tail)
