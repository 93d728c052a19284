"""Addresses of a topology: always 128 bit, IPv4 mapped into ::ffff:0:0/96 (RFC 4291 §2.5.5.2).

One width everywhere means that no server needs two code paths to compare, hash or store an
address. IPv6 parses here but is not served yet, so reading it from a topology is refused with a
message that says so.
"""

import ipaddress
from dataclasses import dataclass

# An IPv4 prefix of n bits is one of 96 + n bits of the mapped address.
MAPPED_BITS = 96
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
# In these every address is a host's: RFC 3021 (/31), and the single address.
_NO_BROADCAST_BITS = 31


class AddressError(ValueError):
    """The text is no address that can be used here; str() says why."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An address and the subnet it lies in; `prefix_bits` counts from 128."""

    value: ipaddress.IPv6Address
    prefix_bits: int

    @property
    def packed(self) -> bytes:
        """The 16 bytes of the address, network order."""
        return self.value.packed

    @property
    def network(self) -> ipaddress.IPv6Network:
        """The subnet, as a subnet of the 128 bit space."""
        return ipaddress.IPv6Network((self.value, self.prefix_bits), strict=False)

    def __str__(self) -> str:
        return str(as_ipv4(self))


def as_ipv4(address: Address) -> ipaddress.IPv4Interface:
    """Turn an address back into IPv4, as people write it."""
    mapped = address.value.ipv4_mapped
    assert mapped is not None, "only mapped IPv4 addresses leave this module"
    return ipaddress.IPv4Interface((mapped, address.prefix_bits - MAPPED_BITS))


def parse_interface(text: str) -> Address:
    """Read "10.0.0.2/24", an address that a host can have; AddressError otherwise."""
    if "/" not in text:
        _parse(text)
        raise AddressError(f'"{text}" lacks the length of its subnet')
    interface = _parse_prefixed(text)
    _refuse_special(interface.ip)
    network = interface.network
    if network.prefixlen < _NO_BROADCAST_BITS:
        if interface.ip == network.network_address:
            raise AddressError(f"{interface.ip} is the address of the subnet {network} itself")
        if interface.ip == network.broadcast_address:
            raise AddressError(f"{interface.ip} is the broadcast address of {network}")
    return _mapped(interface)


def parse_neighbour(text: str) -> Address:
    """Read "10.0.0.1", one address of another machine; AddressError otherwise."""
    if "/" in text:
        raise AddressError(f'"{text}" has a length; a next hop is a single address')
    address = _parse(text)
    _refuse_special(address)
    return _mapped(ipaddress.IPv4Interface(address))


def parse_network(text: str) -> Address:
    """Read "10.2.0.0/16", a subnet; AddressError otherwise."""
    if "/" not in text:
        _parse(text)
        raise AddressError(f'"{text}" lacks the length of the subnet')
    interface = _parse_prefixed(text)
    network = interface.network
    if interface.ip != network.network_address:
        raise AddressError(f'"{text}" has bits set behind its prefix; the subnet is {network}')
    return _mapped(interface)


def _parse(text: str) -> ipaddress.IPv4Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AddressError(f'"{text}" is no IP address') from None
    return _only_ipv4(address)


def _parse_prefixed(text: str) -> ipaddress.IPv4Interface:
    address, _, prefix = text.partition("/")
    ip = _parse(address)
    # ipaddress takes netmasks too; one way to write a subnet is enough.
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= ip.max_prefixlen):
        raise AddressError(f'"{text}": the length of the subnet must be 0 to {ip.max_prefixlen}')
    return ipaddress.IPv4Interface((ip, int(prefix)))


def _only_ipv4(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        raise AddressError(f"write the mapped address {address} as {address.ipv4_mapped}")
    raise AddressError(f"{address} is IPv6, which this version does not serve yet")


def _refuse_special(address: ipaddress.IPv4Address) -> None:
    if address.is_loopback:
        raise AddressError(f"{address} is in 127/8, which every host has as its own loopback")
    if address.is_multicast:
        raise AddressError(f"{address} is a multicast address")
    if address.is_unspecified or address == _LIMITED_BROADCAST:
        raise AddressError(f"{address} can't belong to a host")


def _mapped(interface: ipaddress.IPv4Interface) -> Address:
    value = int(_MAPPED.network_address) | int(interface.ip)
    return Address(ipaddress.IPv6Address(value), MAPPED_BITS + interface.network.prefixlen)
