"""One line of text for a packet, for people: `newtos pcap` on a terminal.

dpkt dissects, not our own parsers: what is looked at may be what these got wrong. Frames may be
cut at any byte, and may be anything.
"""

import datetime
import socket
from collections.abc import Callable

import dpkt  # type: ignore[import-untyped]  # has no annotations

from newtos_py.observe.pcapng import Direction, Packet

# RFC 9293 §3.1, in tcpdump's letters and order.
_TCP_FLAGS = (
    (dpkt.tcp.TH_SYN, "S"),
    (dpkt.tcp.TH_FIN, "F"),
    (dpkt.tcp.TH_RST, "R"),
    (dpkt.tcp.TH_PUSH, "P"),
    (dpkt.tcp.TH_ACK, "."),
    (dpkt.tcp.TH_URG, "U"),
    (dpkt.tcp.TH_ECE, "E"),
    (dpkt.tcp.TH_CWR, "W"),
)
_ICMP_NAMES = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_NS = 1_000_000_000


def packet_line(packet: Packet, interface: str) -> str:
    """Describe a packet: time of day, interface, direction, addresses, protocol, length."""
    direction = "out" if packet.direction is Direction.OUT else "in "
    return f"{_time_of_day(packet.time_ns)} {interface} {direction} {_frame(packet)}"


def _time_of_day(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, _NS)
    local = datetime.datetime.fromtimestamp(seconds).astimezone()
    return f"{local:%H:%M:%S}.{rest:09d}"


def _frame(packet: Packet) -> str:
    try:
        ethernet = dpkt.ethernet.Ethernet(packet.frame)
    except (dpkt.UnpackError, IndexError):
        return f"malformed frame, length {packet.original_bytes}"
    inner = ethernet.data
    describe = _DESCRIBE.get(type(inner))
    if describe is None:
        return f"ethertype 0x{ethernet.type:04x}, length {packet.original_bytes}"
    return describe(inner)


def _arp(arp: dpkt.arp.ARP) -> str:
    sender, target = socket.inet_ntoa(arp.spa), socket.inet_ntoa(arp.tpa)
    if arp.op == dpkt.arp.ARP_OP_REQUEST:
        return f"ARP who has {target}? tell {sender}"
    return f"ARP {sender} is at {arp.sha.hex(':')}"


def _ip4(ip: dpkt.ip.IP) -> str:
    source, target = socket.inet_ntoa(ip.src), socket.inet_ntoa(ip.dst)
    payload_bytes = ip.len - ip.hl * 4
    if ip.offset or ip.mf:
        more = ", more follow" if ip.mf else ""
        return (
            f"{source} > {target} {_protocol(ip.p)} fragment at {ip.offset * 8}"
            f"{more}, length {payload_bytes}"
        )
    return _transport(source, target, ip.p, ip.data, payload_bytes)


def _ip6(ip: dpkt.ip6.IP6) -> str:
    source = socket.inet_ntop(socket.AF_INET6, ip.src)
    target = socket.inet_ntop(socket.AF_INET6, ip.dst)
    return _transport(f"[{source}]", f"[{target}]", ip.p, ip.data, ip.plen)


def _transport(source: str, target: str, protocol: int, inner: object, payload_bytes: int) -> str:
    if isinstance(inner, dpkt.tcp.TCP):
        ends = f"{source}:{inner.sport} > {target}:{inner.dport}"
        flags = "".join(letter for bit, letter in _TCP_FLAGS if inner.flags & bit) or "none"
        length = payload_bytes - inner.off * 4
        ack = f" ack {inner.ack}" if inner.flags & dpkt.tcp.TH_ACK else ""
        return f"{ends} TCP [{flags}] seq {inner.seq}{ack} win {inner.win}, length {length}"
    if isinstance(inner, dpkt.udp.UDP):
        ends = f"{source}:{inner.sport} > {target}:{inner.dport}"
        return f"{ends} UDP, length {inner.ulen - 8}"
    if isinstance(inner, dpkt.icmp.ICMP):
        name = _ICMP_NAMES.get(inner.type, f"type {inner.type}")
        return f"{source} > {target} ICMP {name}, length {payload_bytes}"
    return f"{source} > {target} {_protocol(protocol)}, length {payload_bytes}"


def _protocol(number: int) -> str:
    return {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}.get(number, f"protocol {number}")


_DESCRIBE: dict[type, Callable[[object], str]] = {
    dpkt.arp.ARP: _arp,
    dpkt.ip.IP: _ip4,
    dpkt.ip6.IP6: _ip6,
}
