"""Routing: the longest prefix, the source address, and what stays on the host."""

import pytest

from newtos_py.kernel.server import InterfaceConfig, LocalAddress, NetConfig, RouteConfig
from newtos_py.net import netconf
from newtos_py.net.addr import pack, pack_prefix, unpack

MAC = bytes.fromhex("020000000001")


def local(text: str, interface: int) -> LocalAddress:
    addr, bits = pack_prefix(text)
    return LocalAddress(addr, bits, interface)


def route(prefix: str, gateway: str | None, interface: int) -> RouteConfig:
    addr, bits = pack_prefix(prefix)
    return RouteConfig(addr, bits, pack(gateway) if gateway else bytes(16), interface)


@pytest.fixture(scope="module")
def conf() -> bytes:
    return netconf.to_bytes(
        NetConfig(
            interfaces=(
                InterfaceConfig(0, "wire.lan", MAC, 1500, gso_max=65000, csum_tx=True),
                InterfaceConfig(1, "tap", MAC, 1400, gso_max=0, csum_tx=False),
            ),
            addresses=(
                local("10.0.0.2/24", 0),
                local("10.0.5.2/24", 0),
                local("10.1.0.2/16", 1),
                local("10.1.200.9/31", 1),
            ),
            routes=(
                route("0.0.0.0/0", "10.1.0.1", 1),
                route("192.0.2.0/24", "10.0.5.1", 0),
                route("192.0.2.128/25", None, 1),
            ),
        )
    )


@pytest.mark.parametrize(
    ("dst", "next_hop", "source", "interface"),
    [
        ("10.0.0.7", "10.0.0.7", "10.0.0.2", 0),
        ("10.0.5.7", "10.0.5.7", "10.0.5.2", 0),
        ("10.1.7.7", "10.1.7.7", "10.1.0.2", 1),
        ("10.1.200.8", "10.1.200.8", "10.1.0.2", 1),
        ("8.8.8.8", "10.1.0.1", "10.1.0.2", 1),
        ("192.0.2.5", "10.0.5.1", "10.0.5.2", 0),
        ("192.0.2.200", "192.0.2.200", "10.1.0.2", 1),
        ("10.0.0.2", "10.0.0.2", "10.0.0.2", netconf.LOOPBACK),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", netconf.LOOPBACK),
        ("127.3.2.1", "127.3.2.1", "127.0.0.1", netconf.LOOPBACK),
        ("10.0.0.255", "10.0.0.255", "10.0.0.2", 0),
        ("255.255.255.255", "255.255.255.255", "10.1.0.2", 1),
        ("224.0.0.1", "224.0.0.1", "10.1.0.2", 1),
    ],
)
def test_path(conf: bytes, dst: str, next_hop: str, source: str, interface: int) -> None:
    path = netconf.find_path(conf, pack(dst))
    assert path is not None
    assert (unpack(path.next_hop), unpack(path.source), path.interface) == (
        next_hop,
        source,
        interface,
    )


def test_path_carries_the_interface_limits(conf: bytes) -> None:
    path = netconf.find_path(conf, pack("10.0.0.7"))
    assert path is not None
    assert (path.mtu, path.gso_max) == (1500, 65000)


def test_without_a_route_there_is_no_path() -> None:
    conf = netconf.to_bytes(
        NetConfig((InterfaceConfig(0, "w", MAC, 1500, 0, False),), (local("10.0.0.2/24", 0),), ())
    )
    assert netconf.find_path(conf, pack("10.0.1.1")) is None
    broadcast = netconf.find_path(conf, pack("255.255.255.255"))
    assert broadcast is not None
    assert broadcast.interface == 0


@pytest.mark.parametrize(
    ("addr", "is_local", "is_broadcast"),
    [
        ("10.0.0.2", True, False),
        ("127.9.9.9", True, False),
        ("::1", True, False),
        ("10.0.0.3", False, False),
        ("10.0.0.255", False, True),
        ("10.1.255.255", False, True),
        ("10.1.200.9", True, False),
        ("10.1.200.8", False, False),
        ("255.255.255.255", False, True),
    ],
)
def test_what_an_address_is(conf: bytes, addr: str, is_local: bool, is_broadcast: bool) -> None:
    assert netconf.is_local(conf, pack(addr)) is is_local
    assert netconf.is_broadcast(conf, pack(addr)) is is_broadcast


def test_too_many_addresses_are_refused() -> None:
    many = tuple(local(f"10.0.{i}.1/24", 0) for i in range(32))
    with pytest.raises(netconf.NetconfError, match="33 addresses"):
        netconf.to_bytes(NetConfig((), many, ()))
