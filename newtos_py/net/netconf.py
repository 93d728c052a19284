"""A host's addresses and routes, made once at boot and handed to every protocol server.

Wire form between processes is the C structure itself (netconf.h), as bytes: all of a host's
servers are one build of one machine.
"""

from dataclasses import dataclass
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import InterfaceConfig, LocalAddress, NetConfig, SteeringConfig
from newtos_py.net import addr as addresses
from newtos_py.net._net import ffi, lib

LOOPBACK = 8  # NT_INTERFACE_LOOPBACK
# 65535 is the largest packet there is: on loopback nothing need ever be cut.
LOOPBACK_MTU = 65535
# What a super-segment may carry so that its IPv4 total length, headers with all options
# included, still fits 16 bits.
GSO_MAX = 65535 - 60 - 60
CSUM_TX = 1  # NT_INTERFACE_CSUM_TX
# enum nt_steering_kind, by name.
STEERINGS = ("rss", "flow-groups", "rfd", "twenty-policy")
# A struct made by any cffi module.
CffiObject = Any
_LO = InterfaceConfig(LOOPBACK, "lo", bytes(6), LOOPBACK_MTU, GSO_MAX, csum_tx=True)


class NetconfError(NewtosError):
    """The topology gives a host more than the servers have room for, or what cannot be."""


@dataclass(frozen=True, slots=True)
class Path:
    """What a look-up answers: struct nt_path."""

    source: bytes
    next_hop: bytes
    interface: int
    mtu: int
    gso_max: int


def to_bytes(net: NetConfig) -> bytes:
    """The bytes of a struct nt_netconf; NetconfError if it does not fit.

    lo and 127.0.0.1/8 are added where `net` does not speak of them.
    """
    interfaces, local = net.interfaces, net.addresses
    if all(interface.index != LOOPBACK for interface in interfaces):
        interfaces = (*interfaces, _LO)
    addr, bits = addresses.pack_prefix("127.0.0.1/8")
    if all(one.address != addr for one in local):
        local = (*local, LocalAddress(addr, bits, LOOPBACK))
    conf = ffi.new("struct nt_netconf *")
    _check_count("addresses", len(local), len(conf.address))
    _check_count("routes", len(net.routes), len(conf.route))
    for interface in interfaces:
        _check_interface(interface)
        entry = conf.interface[interface.index]
        entry.mac = interface.mac
        entry.mtu = interface.mtu
        entry.gso_max = interface.gso_max
        entry.flags = CSUM_TX if interface.csum_tx else 0
        entry.name = interface.name.encode()[: len(entry.name) - 1]
    conf.address_count = len(local)
    conf.route_count = len(net.routes)
    for i, one in enumerate(local):
        conf.address[i] = (one.address, one.prefix_bits, one.interface)
    for i, route in enumerate(net.routes):
        conf.route[i] = (route.prefix, route.gateway, route.prefix_bits, route.interface)
    fill_steering(conf.steering, net.steering)
    return bytes(ffi.buffer(conf))


def fill_steering(raw: CffiObject, steering: SteeringConfig) -> None:
    """Fill a struct nt_steering_config, of any cffi module."""
    raw.kind = STEERINGS.index(steering.kind)
    raw.lanes = steering.lanes
    raw.key = steering.key.ljust(len(raw.key), b"\0")


def find_path(netconf: bytes, dst: bytes) -> Path | None:
    """The path to `dst` as the servers find it; None if there is no route."""
    conf = ffi.from_buffer("struct nt_netconf *", netconf)
    path = ffi.new("struct nt_path *")
    if lib.nt_netconf_path(conf, dst, path) != 0:
        return None
    return Path(bytes(path.source), bytes(path.next_hop), path.interface, path.mtu, path.gso_max)


def is_local(netconf: bytes, addr: bytes) -> bool:
    """Whether packets to `addr` stay on the host."""
    return lib.nt_netconf_is_local(ffi.from_buffer("struct nt_netconf *", netconf), addr)


def is_broadcast(netconf: bytes, addr: bytes) -> bool:
    """Whether `addr` is the broadcast address of an attached network, or of all."""
    return lib.nt_netconf_is_broadcast(ffi.from_buffer("struct nt_netconf *", netconf), addr)


def _check_interface(interface: InterfaceConfig) -> None:
    if not 0 <= interface.index <= LOOPBACK or not 68 <= interface.mtu <= LOOPBACK_MTU:
        raise NetconfError(
            f"interface {interface.name}: at most 8 drivers a host, and an MTU of 68 to 65535"
        )


def _check_count(what: str, count: int, room: int) -> None:
    if count > room:
        raise NetconfError(f"{count} {what} on one host, but there is room for {room}; use fewer")
