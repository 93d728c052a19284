"""Names and interfaces of a host: what RESOLVE and IFADDRS answer.

Resolved are numeric addresses, localhost, the hosts of the topology, and what /etc/hosts has; in
this order, so that a topology can call its hosts what it likes.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path

from newtos_py.kernel.server import HostName, InterfaceConfig, NetConfig

HOSTS_FILE = Path("/etc/hosts")
LOOPBACK = "127.0.0.1"
_MAPPED_BITS = 96
# netdevice(7).
_IFF_UP, _IFF_BROADCAST, _IFF_LOOPBACK, _IFF_RUNNING, _IFF_MULTICAST = 1, 2, 8, 0x40, 0x1000
_LOOPBACK_LINE = f"lo {LOOPBACK}/8 {_IFF_UP | _IFF_LOOPBACK | _IFF_RUNNING} 65535"
_OTHER_FLAGS = _IFF_UP | _IFF_BROADCAST | _IFF_RUNNING | _IFF_MULTICAST


def resolve(name: str, hosts: Sequence[HostName], hosts_file: Path = HOSTS_FILE) -> list[str]:
    """Find the addresses of a name, as text, best first; none if it is not known."""
    try:
        return [str(ipaddress.ip_address(name))]
    except ValueError:
        pass
    wanted = name.rstrip(".").lower()
    if wanted == "localhost" or wanted.endswith(".localhost"):  # RFC 6761 §6.3
        return [LOOPBACK]
    for host in hosts:
        if host.name.lower() == wanted:
            return [_text(address) for address in host.addresses]
    return list(dict.fromkeys(_in_hosts_file(wanted, hosts_file)))


def interface_lines(net: NetConfig) -> list[str]:
    """Describe all addresses: "name address/prefix flags mtu", and " mac" where there is one."""
    by_index = {interface.index: interface for interface in net.interfaces}
    lines = [_LOOPBACK_LINE]
    for local in net.addresses:
        interface: InterfaceConfig | None = by_index.get(local.interface)
        name, mtu = (interface.name, interface.mtu) if interface is not None else ("lo", 65535)
        flags = _OTHER_FLAGS if interface is not None else _IFF_UP | _IFF_LOOPBACK | _IFF_RUNNING
        bits = local.prefix_bits - _MAPPED_BITS
        mac = f" {interface.mac.hex(':')}" if interface is not None else ""
        lines.append(f"{name} {_text(local.address)}/{bits} {flags} {mtu}{mac}")
    return lines


def _in_hosts_file(wanted: str, hosts_file: Path) -> Iterator[str]:
    """hosts(5): an address, then names; the rest of a line after # is a comment."""
    try:
        text = hosts_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if wanted in (name.lower() for name in names):
            try:
                yield str(ipaddress.ip_address(address))
            except ValueError:
                continue


def _text(address: bytes) -> str:
    packed = ipaddress.IPv6Address(address)
    return str(packed.ipv4_mapped or packed)
