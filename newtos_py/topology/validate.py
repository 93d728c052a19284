"""What must fit together across a topology: names, addresses, subnets and next hops.

The rules, in order:
1. there is a host;
2. a wire joins two different hosts that exist;
3. no address stands twice, on hosts or on the Linux side of a TAP device; nor does a device;
4. the two ends of a wire (or of a TAP device) share a subnet;
5. within a host, a subnet leads to one interface only, or its connected route would be ambiguous;
6. a next hop is in reach: inside a subnet of an interface, and not the host itself;
7. a host has one route to a network;
8. a host's links, addresses and routes fit the tables of its servers (net/netconf.h).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Network

from newtos_py.topology.address import Address, as_ipv4
from newtos_py.topology.locate import Path
from newtos_py.topology.model import Host, Topology, Wire
from newtos_py.topology.source import Source, dotted, suggest


def validate(topology: Topology) -> None:
    """Check all rules; TopologyError at the first that is broken."""
    source = topology.source
    if not topology.hosts:
        raise source.error((), "there is no host", 'write [host.web] and address = "10.0.0.2/24"')
    names = [host.name for host in topology.hosts]
    for wire in topology.wires:
        _check_ends(source, wire, names)
    _check_unique_addresses(topology)
    _check_unique_devices(topology)
    for wire in topology.wires:
        _check_wire_subnet(topology, wire)
    for host in topology.hosts:
        _check_tap_subnet(source, host)
        links = list(links_of(topology, host))
        _check_one_interface_a_subnet(source, host, links)
        _check_routes(source, host, links)
        _check_table_sizes(source, host, links)


# net/netconf.h: NT_NETCONF_INTERFACES less the loopback, _ADDRESSES, _ROUTES.
MAX_LINKS = 8
MAX_ADDRESSES = 32
MAX_ROUTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """One end of a wire or TAP device: the role of its driver, and the subnets it leads to."""

    role: str
    # The interface's name inside the host.
    name: str
    # Where the topology speaks of it.
    path: Path
    addresses: tuple[Address, ...]
    networks: tuple[IPv6Network, ...]


def links_of(topology: Topology, host: Host) -> Iterator[Link]:
    """Find the links of a host: its wires in file order, then its TAP device."""
    for wire in topology.wires:
        if host.name in wire.hosts:
            others = [topology.host(name) for name in wire.hosts if name != host.name]
            far = {address.network for other in others for address in other.addresses}
            yield _link(host, ("wire", wire.name), ("wire", wire.name, "hosts"), far)
    if host.tap is not None:
        path = ("host", host.name, "tap", "peer")
        yield _link(host, ("tap",), path, {host.tap.peer.network})


def _link(host: Host, words: tuple[str, ...], path: Path, far: set[IPv6Network]) -> Link:
    addresses = tuple(address for address in host.addresses if address.network in far)
    networks = tuple(dict.fromkeys(address.network for address in addresses))
    return Link(".".join(words), words[-1], path, addresses, networks)


def _check_ends(source: Source, wire: Wire, names: list[str]) -> None:
    path = ("wire", wire.name, "hosts")
    for i, name in enumerate(wire.hosts):
        if name not in names:
            raise source.error((*path, i), f'there is no host "{name}"', suggest(name, names))
    if wire.hosts[0] == wire.hosts[1]:
        problem = f'both ends are at "{wire.hosts[0]}"'
        raise source.error(path, problem, "name two different hosts; a host has 127/8 for itself")


def _check_unique_addresses(topology: Topology) -> None:
    seen: dict[str, Path] = {}
    for host in topology.hosts:
        for path, address in _addresses_with_paths(topology.source, host):
            text = str(as_ipv4(address).ip)
            if text in seen:
                problem = f"{text} is taken by {dotted(seen[text])}"
                problem += f" (line {topology.source.lines[seen[text]]})"
                raise topology.source.error(path, problem, "give it an address of its own")
            seen[text] = path


def _addresses_with_paths(source: Source, host: Host) -> Iterator[tuple[Path, Address]]:
    for i, address in enumerate(host.addresses):
        yield address_path(source, host, i), address
    if host.tap is not None:
        yield ("host", host.name, "tap", "peer"), host.tap.peer


def address_path(source: Source, host: Host, index: int) -> Path:
    """Find where a host's address stands: under address, or in the list addresses."""
    single: Path = ("host", host.name, "address")
    return single if single in source.lines else ("host", host.name, "addresses", index)


def _check_unique_devices(topology: Topology) -> None:
    seen: dict[str, str] = {}
    for host in topology.hosts:
        if host.tap is None:
            continue
        device = host.tap.device
        if device in seen:
            path = ("host", host.name, "tap", "device")
            problem = f'"{device}" belongs to host {seen[device]} already'
            raise topology.source.error(path, problem, "give each host a device of its own")
        seen[device] = host.name


def _check_wire_subnet(topology: Topology, wire: Wire) -> None:
    near, far = (topology.host(name) for name in wire.hosts)
    if {address.network for address in near.addresses}.isdisjoint(
        address.network for address in far.addresses
    ):
        problem = f"the ends share no subnet ({near.name}: {_listed(near.addresses)}; "
        problem += f"{far.name}: {_listed(far.addresses)})"
        raise topology.source.error(
            ("wire", wire.name, "hosts"),
            problem,
            "give both an address with the same prefix, such as 10.0.0.2/24 and 10.0.0.3/24",
        )


def _check_tap_subnet(source: Source, host: Host) -> None:
    if host.tap is None:
        return
    if all(address.network != host.tap.peer.network for address in host.addresses):
        problem = f"{host.tap.peer} shares no subnet with the host ({_listed(host.addresses)})"
        valid = f"use another address of {as_ipv4(host.addresses[0]).network}"
        raise source.error(("host", host.name, "tap", "peer"), problem, valid)


def _check_one_interface_a_subnet(source: Source, host: Host, links: list[Link]) -> None:
    for i, link in enumerate(links):
        for other in links[:i]:
            for network in link.networks:
                if any(network.overlaps(taken) for taken in other.networks):
                    problem = f"host {host.name} reaches this subnet by {other.role} too"
                    raise source.error(link.path, problem, "give each link a subnet of its own")


def _check_routes(source: Source, host: Host, links: list[Link]) -> None:
    seen: set[Address] = set()
    own = {address.value for address in host.addresses}
    reach = [network for link in links for network in link.networks]
    paths = list(_route_paths(source, host))
    for (to_path, via_path), route in zip(paths, host.routes, strict=True):
        if route.network in seen:
            problem = f"there is a route to {route.network} already"
            raise source.error(to_path, problem, "keep one of them")
        seen.add(route.network)
        hop = as_ipv4(route.via).ip
        if route.via.value in own:
            raise source.error(via_path, f"{hop} is the host itself", "name its neighbour")
        if not any(route.via.value in network for network in reach):
            subnets = ", ".join(str(_as_ipv4_network(network)) for network in reach)
            valid = (
                f"an address in {subnets} is valid" if subnets else "the host needs a wire or tap"
            )
            raise source.error(via_path, f"{hop} is in no subnet of a wire or tap", valid)


def _check_table_sizes(source: Source, host: Host, links: list[Link]) -> None:
    path: Path = ("host", host.name)
    for keys, what, count, limit in (
        ((), "wires and taps", len(links), MAX_LINKS),
        (("addresses",), "addresses", len(host.addresses), MAX_ADDRESSES),
        (("routes",), "routes", len(host.routes), MAX_ROUTES),
    ):
        if count > limit:
            problem = f"{count} {what} are too many for a host"
            raise source.error((*path, *keys), problem, f"at most {limit} are valid")


def _route_paths(source: Source, host: Host) -> Iterator[tuple[Path, Path]]:
    """Where each route's network and next hop stand: gateway first, as parsed."""
    gateway: Path = ("host", host.name, "gateway")
    count = len(host.routes)
    if gateway in source.lines:
        yield gateway, gateway
        count -= 1
    for i in range(count):
        route: Path = ("host", host.name, "routes", i)
        yield (*route, "to"), (*route, "via")


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(str(address) for address in addresses)


def _as_ipv4_network(network: IPv6Network) -> str:
    return str(as_ipv4(Address(network.network_address, network.prefixlen)).network)
