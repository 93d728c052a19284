"""Packets as tests write them: small builders and readers, apart from the C code they check."""

import ipaddress
import struct
from dataclasses import dataclass

BROADCAST_MAC = b"\xff" * 6
ETHERTYPE_IPV4, ETHERTYPE_ARP = 0x0800, 0x0806
ICMP, TCP, UDP = 1, 6, 17
DF, MF = 0x4000, 0x2000


def checksum(data: bytes) -> int:
    """RFC 1071 §4.1, as plainly as it stands there."""
    data += bytes(len(data) % 2)
    total = sum(int(word) for word in struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def v4(text: str) -> bytes:
    """The four bytes of a dotted quad."""
    return ipaddress.IPv4Address(text).packed


@dataclass(frozen=True, slots=True)
class Ipv4:
    """A parsed IPv4 packet; `fragment` holds flags and offset as on the wire."""

    src: str
    dst: str
    protocol: int
    payload: bytes
    id: int = 0
    fragment: int = 0
    ttl: int = 64
    tos: int = 0


def ipv4(packet: Ipv4, options: bytes = b"") -> bytes:
    """The packet's bytes, checksum included."""
    header_len = 20 + len(options)
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | header_len // 4, packet.tos, header_len + len(packet.payload),
        packet.id, packet.fragment, packet.ttl, packet.protocol, 0, v4(packet.src), v4(packet.dst),
    ) + options  # fmt: skip
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + packet.payload


def parse_ipv4(data: bytes) -> Ipv4:
    """Read a packet; its checksum must be right and its length that of `data`."""
    header_len = (data[0] & 15) * 4
    assert data[0] >> 4 == 4
    assert checksum(data[:header_len]) == 0, "IPv4 header checksum"
    _, tos, total, ident, fragment, ttl, protocol, _, src, dst = struct.unpack(
        ">BBHHHBBH4s4s", data[:20]
    )
    assert total == len(data), f"total length {total}, but {len(data)} bytes"
    return Ipv4(
        str(ipaddress.IPv4Address(src)), str(ipaddress.IPv4Address(dst)), protocol,
        data[header_len:], ident, fragment, ttl, tos,
    )  # fmt: skip


def ethernet(dst: bytes, src: bytes, ethertype: int, payload: bytes) -> bytes:
    """A frame, padded to Ethernet's 60 bytes."""
    return (dst + src + struct.pack(">H", ethertype) + payload).ljust(60, b"\0")


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP message for Ethernet and IPv4."""

    operation: int
    sender_mac: bytes
    sender_ip: str
    target_mac: bytes
    target_ip: str


def arp(message: Arp) -> bytes:
    """Its 28 bytes."""
    return (
        struct.pack(">HHBBH", 1, 0x800, 6, 4, message.operation)
        + message.sender_mac + v4(message.sender_ip) + message.target_mac + v4(message.target_ip)
    )  # fmt: skip


def parse_arp(data: bytes) -> Arp:
    """Read one."""
    operation = struct.unpack_from(">H", data, 6)[0]
    return Arp(
        operation, data[8:14], str(ipaddress.IPv4Address(data[14:18])),
        data[18:24], str(ipaddress.IPv4Address(data[24:28])),
    )  # fmt: skip


def ipv6(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    """A packet of IPv6 (RFC 8200 §3)."""
    names = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + names + payload


def icmp(kind: int, code: int, rest: int, data: bytes) -> bytes:
    """An ICMP message, checksum included."""
    message = struct.pack(">BBHI", kind, code, 0, rest) + data
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def pseudo_header(src: str, dst: str, protocol: int, length: int) -> bytes:
    """What a transport checksum covers besides the segment (RFC 768, RFC 8200 §8.1)."""
    if ":" in src:
        names = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
        return names + struct.pack(">II", length, protocol)
    return v4(src) + v4(dst) + struct.pack(">BBH", 0, protocol, length)


def udp(src: str, src_port: int, dst: str, dst_port: int, payload: bytes) -> bytes:
    """A UDP datagram, checksum included."""
    length = 8 + len(payload)
    header = struct.pack(">HHHH", src_port, dst_port, length, 0)
    total = checksum(pseudo_header(src, dst, UDP, length) + header + payload) or 0xFFFF
    return header[:6] + struct.pack(">H", total) + payload


def fragments(packet: Ipv4, piece: int) -> list[bytes]:
    """The packet cut into fragments of `piece` (a multiple of 8) payload bytes."""
    assert piece % 8 == 0
    cut = []
    for start in range(0, len(packet.payload), piece):
        more = MF if start + piece < len(packet.payload) else 0
        part = packet.payload[start : start + piece]
        cut.append(
            ipv4(
                Ipv4(
                    packet.src, packet.dst, packet.protocol, part, packet.id, start // 8 | more,
                    packet.ttl, packet.tos,
                )
            )
        )  # fmt: skip
    return cut
