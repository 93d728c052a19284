"""Wire formats: what is emitted is parsed back, and no short or wrong header gets through.

The references are Python's own struct and a plain RFC 1071 sum.
"""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.net._net import ffi, lib
from newtos_py.net.addr import pack, unpack

MAC_A, MAC_B = bytes.fromhex("02aabbccddee"), bytes.fromhex("021122334455")


def rfc1071(data: bytes) -> bytes:
    """The plain algorithm of RFC 1071 §4.1; the checksum in network order."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", ~total & 0xFFFF)


def stored(checksum: int) -> bytes:
    return struct.pack("=H", checksum)


@given(st.binary(max_size=200), st.integers(0, 7))
def test_checksum_is_rfc_1071s(data: bytes, shift: int) -> None:
    memory = ffi.new("uint8_t[]", bytes(shift) + data)
    assert stored(lib.nt_face_csum_finish(lib.nt_csum(memory + shift, len(data), 0))) == rfc1071(
        data
    )


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_checksums_of_pieces_add_up(first: bytes, second: bytes) -> None:
    total = lib.nt_face_csum_add_at(
        lib.nt_csum(first, len(first), 0), lib.nt_csum(second, len(second), 0), len(first)
    )
    assert stored(lib.nt_face_csum_finish(total)) == rfc1071(first + second)


@pytest.mark.parametrize("size", [0, 1, 31, 4096, 4097, 65535])
def test_copying_sums_the_same(size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(size))
    out = ffi.new("uint8_t[]", size + 1)
    total = lib.nt_csum_copy(out, data, size, 0)
    assert bytes(ffi.buffer(out, size)) == data
    assert stored(lib.nt_face_csum_finish(total)) == rfc1071(data)


def test_a_large_sum_of_ones_loses_no_carry() -> None:
    data = b"\xff" * 65536
    assert stored(lib.nt_face_csum_finish(lib.nt_csum(data, len(data), 0xFFFFFFFF))) == b"\0\0"


@given(st.binary(min_size=20, max_size=20), st.binary(min_size=2, max_size=2))
def test_an_updated_checksum_is_still_right(data: bytes, word: bytes) -> None:
    """RFC 1624: the header sums to 0xffff afterwards, as a receiver checks it."""
    old = struct.unpack("=H", rfc1071(data))[0]
    new = lib.nt_face_csum_update(
        old, struct.unpack("=H", data[8:10])[0], struct.unpack("=H", word)[0]
    )
    assert rfc1071(data[:8] + word + data[10:] + stored(new)) in (b"\0\0", b"\xff\xff")


def test_pseudo_headers() -> None:
    v4 = lib.nt_csum_pseudo(pack("10.0.0.1"), pack("10.0.0.2"), 17, 300)
    expected = bytes([10, 0, 0, 1, 10, 0, 0, 2, 0, 17]) + struct.pack(">H", 300)
    assert stored(lib.nt_face_csum_finish(v4)) == rfc1071(expected)
    v6 = lib.nt_csum_pseudo(pack("fe80::1"), pack("fe80::2"), 6, 70000)
    expected = pack("fe80::1") + pack("fe80::2") + struct.pack(">IxxxB", 70000, 6)
    assert stored(lib.nt_face_csum_finish(v6)) == rfc1071(expected)


def test_ethernet_both_ways() -> None:
    frame = MAC_A + MAC_B + b"\x08\x00"
    repr_ = ffi.new("struct nt_ethernet *")
    assert lib.nt_face_ethernet_parse(repr_, frame, len(frame))
    assert (bytes(repr_.dst), bytes(repr_.src), repr_.type) == (MAC_A, MAC_B, 0x800)
    out = ffi.new("uint8_t[14]")
    lib.nt_face_ethernet_emit(repr_, out)
    assert bytes(out) == frame
    assert not lib.nt_face_ethernet_parse(repr_, frame, 13)


def arp_bytes(operation: int = 1, sender_mac: bytes = MAC_A, hardware: int = 1) -> bytes:
    return (
        struct.pack(">HHBBH", hardware, 0x800, 6, 4, operation)
        + sender_mac + bytes([10, 0, 0, 1]) + bytes(6) + bytes([10, 0, 0, 2])
    )  # fmt: skip


def test_arp_both_ways() -> None:
    repr_ = ffi.new("struct nt_arp *")
    assert lib.nt_face_arp_parse(repr_, arp_bytes(), 28)
    assert (repr_.operation, bytes(repr_.sender_ip)) == (1, bytes([10, 0, 0, 1]))
    out = ffi.new("uint8_t[28]")
    lib.nt_face_arp_emit(repr_, out)
    assert bytes(out) == arp_bytes()


@pytest.mark.parametrize(
    ("packet", "length"),
    [
        (arp_bytes(), 27),
        (arp_bytes(operation=3), 28),
        (arp_bytes(sender_mac=b"\xff" * 6), 28),
        (arp_bytes(hardware=6), 28),
    ],
)
def test_arp_refuses(packet: bytes, length: int) -> None:
    assert not lib.nt_face_arp_parse(ffi.new("struct nt_arp *"), packet, length)


def ipv4_bytes(
    total: int = 40, version_ihl: int = 0x45, fragment: int = 0x4000, payload: int = 20
) -> bytes:
    header = struct.pack(
        ">BBHHHBBH4s4s", version_ihl, 0x10, total, 0x1234, fragment, 64, 6, 0,
        bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]),
    )  # fmt: skip
    return header[:10] + rfc1071(header) + header[12:] + bytes(payload)


def ipv6_bytes(payload: int = 20, version: int = 6) -> bytes:
    return struct.pack(
        ">IHBB16s16s", version << 28 | 0xB8 << 20, payload, 17, 63, bytes(15) + b"\x01",
        bytes(range(16)),
    ) + bytes(20)  # fmt: skip


def test_ipv6_both_ways() -> None:
    repr_ = ffi.new("struct nt_ipv6 *")
    packet = ipv6_bytes()
    assert lib.nt_face_ipv6_parse(repr_, packet, len(packet))
    assert (repr_.next_header, repr_.hop_limit, repr_.traffic_class) == (17, 63, 0xB8)
    assert repr_.payload_bytes == 20
    out = ffi.new("uint8_t[40]")
    lib.nt_face_ipv6_emit(repr_, out)
    assert bytes(out) == packet[:40]


@pytest.mark.parametrize(
    ("packet", "length"), [(ipv6_bytes(), 39), (ipv6_bytes(21), 60), (ipv6_bytes(version=4), 60)]
)
def test_ipv6_refuses(packet: bytes, length: int) -> None:
    assert not lib.nt_face_ipv6_parse(ffi.new("struct nt_ipv6 *"), packet, length)


def test_ipv4_both_ways() -> None:
    repr_ = ffi.new("struct nt_ipv4 *")
    packet = ipv4_bytes(fragment=0x2005)
    assert lib.nt_face_ipv4_parse(repr_, packet, len(packet)) == 0
    assert (repr_.fragment_offset, repr_.more_fragments, repr_.dont_fragment) == (40, 1, 0)
    assert (repr_.tos, repr_.id, repr_.ttl, repr_.protocol) == (0x10, 0x1234, 64, 6)
    out = ffi.new("uint8_t[20]")
    lib.nt_face_ipv4_emit(repr_, out)
    assert bytes(out) == packet[:20]


TRUNCATED, MALFORMED, CHECKSUM = 1, 2, 3


@pytest.mark.parametrize(
    ("packet", "length", "error"),
    [
        (ipv4_bytes(), 19, TRUNCATED),
        (ipv4_bytes(total=41), 40, TRUNCATED),
        (ipv4_bytes(version_ihl=0x65), 40, MALFORMED),
        (ipv4_bytes(version_ihl=0x44), 40, MALFORMED),
        (ipv4_bytes(total=19), 40, MALFORMED),
        (ipv4_bytes(total=40, version_ihl=0x4F), 40, MALFORMED),
        (ipv4_bytes()[:8] + b"\x3f" + ipv4_bytes()[9:], 40, CHECKSUM),
    ],
)
def test_ipv4_refuses(packet: bytes, length: int, error: int) -> None:
    assert lib.nt_face_ipv4_parse(ffi.new("struct nt_ipv4 *"), packet, length) == error


def test_icmp_both_ways() -> None:
    data = b"abcdefg"
    out = ffi.new("uint8_t[]", bytes(8) + data)
    repr_ = ffi.new("struct nt_icmp *", {"type": 8, "rest": 0x00010002})
    lib.nt_face_icmp_emit(repr_, out, 15)
    message = bytes(ffi.buffer(out, 15))
    assert message[2:4] == rfc1071(message[:2] + b"\0\0" + message[4:])
    assert lib.nt_face_icmp_checksum_ok(message, 15)
    assert not lib.nt_face_icmp_checksum_ok(message[:-1] + b"h", 15)
    assert not lib.nt_face_icmp_parse(repr_, message, 7)


@given(st.binary(max_size=50))
def test_udp_both_ways(payload: bytes) -> None:
    src, dst = pack("10.0.0.1"), pack("10.0.0.2")
    length = 8 + len(payload)
    out = ffi.new("uint8_t[]", bytes(8) + payload)
    lib.nt_face_udp_emit(ffi.new("struct nt_udp_header *", (4000, 53, length, 0)), out)
    total = lib.nt_csum(out, length, lib.nt_csum_pseudo(src, dst, 17, length))
    lib.nt_face_udp_set_checksum(out, lib.nt_face_csum_finish(total))
    packet = bytes(ffi.buffer(out, length))
    assert struct.unpack(">HHH", packet[:6]) == (4000, 53, length)
    assert packet[6:8] != b"\0\0"
    assert lib.nt_face_udp_checksum_ok(packet, length, src, dst)
    assert not lib.nt_face_udp_checksum_ok(packet, length, src, pack("10.0.0.3"))


@pytest.mark.parametrize(("claimed", "length"), [(8, 7), (7, 20), (21, 20), (0, 20)])
def test_udp_refuses(claimed: int, length: int) -> None:
    packet = struct.pack(">HHHH", 1, 2, claimed, 0) + bytes(20)
    assert not lib.nt_face_udp_parse(ffi.new("struct nt_udp_header *"), packet, length)


@given(st.binary(max_size=80))
def test_any_bytes_are_answered(data: bytes) -> None:
    """No parser reads beyond its length: each gets exactly its bytes (ASan watches)."""
    memory = ffi.new("uint8_t[]", data) if data else ffi.NULL
    lib.nt_face_ethernet_parse(ffi.new("struct nt_ethernet *"), memory, len(data))
    lib.nt_face_arp_parse(ffi.new("struct nt_arp *"), memory, len(data))
    lib.nt_face_ipv4_parse(ffi.new("struct nt_ipv4 *"), memory, len(data))
    lib.nt_face_icmp_parse(ffi.new("struct nt_icmp *"), memory, len(data))
    lib.nt_face_udp_parse(ffi.new("struct nt_udp_header *"), memory, len(data))


addresses = st.ip_addresses().map(str)
ports = st.integers(0, 65535)


@given(addresses, ports, addresses, ports)
def test_flow_hash_is_the_same_both_ways(a: str, a_port: int, b: str, b_port: int) -> None:
    there = lib.nt_face_flow_hash(pack(a), a_port, pack(b), b_port)
    assert there == lib.nt_face_flow_hash(pack(b), b_port, pack(a), a_port)
    assert there != 0


def test_flow_hash_spreads_ports() -> None:
    a, b = pack("10.0.0.1"), pack("10.0.0.2")
    low = [0] * 64
    for port in range(6400):
        low[lib.nt_face_flow_hash(a, 20000 + port, b, 80) % 64] += 1
    assert 60 < min(low) <= max(low) < 150


@given(addresses)
def test_addresses_as_text(text: str) -> None:
    assert unpack(pack(text)) == text or unpack(pack(text)) == unpack(pack(unpack(pack(text))))


@given(addresses, st.integers(0, 128))
def test_prefixes(text: str, bits: int) -> None:
    addr = pack(text)
    value = int.from_bytes(addr, "big")
    outside = (value ^ (1 << (128 - bits))).to_bytes(16, "big") if bits else addr
    inside = (value ^ ((1 << (128 - bits)) - 1)).to_bytes(16, "big")
    assert lib.nt_addr_in_prefix(inside, addr, bits)
    assert lib.nt_addr_in_prefix(outside, addr, bits) is (bits == 0)
