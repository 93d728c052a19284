"""Addresses between text and the 128 bits that all of the stack computes with.

An IPv4 address is mapped into ::ffff:0:0/96 (RFC 4291 §2.5.5.2); people never see that form.
"""

import ipaddress

ADDR_BYTES = 16
V4_PREFIX_BITS = 96
_MAPPED = bytes(10) + b"\xff\xff"


def pack(text: str) -> bytes:
    """The 16 bytes of "10.0.0.2" (mapped) or "fe80::1"; ValueError if it is neither."""
    address = ipaddress.ip_address(text)
    return address.packed if address.version == 6 else _MAPPED + address.packed


def unpack(addr: bytes) -> str:
    """The text of 16 bytes: dotted quads for a mapped address; ValueError for another length."""
    address = ipaddress.IPv6Address(addr)
    return str(address.ipv4_mapped or address)


def pack_prefix(text: str) -> tuple[bytes, int]:
    """The 16 bytes and the bits out of 128 of "10.0.0.2/24"; host bits stay as they are."""
    interface = ipaddress.ip_interface(text)
    bits = interface.network.prefixlen
    if interface.version == 4:
        bits += V4_PREFIX_BITS
    return pack(str(interface.ip)), bits
