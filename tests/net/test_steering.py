"""Steering: which lane an arriving segment goes to, design by design (net/steering.h)."""

import random
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest

from newtos_py.net import netconf
from newtos_py.net._net import ffi, lib

# Microsoft, "Verifying the RSS hash calculation": the key, and what it makes of these.
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
VERIFIED = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0xDDE51BBF),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        "fe80::200:f8ff:fe21:67cf",
        38024,
        0x02D1FEEF,
    ),
]
CLIENT, SERVER = "10.0.0.3", "10.0.0.2"


def packed(text: str) -> bytes:
    """A 128-bit address, IPv4 mapped."""
    address = ip_address(text)
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


class Steering:
    """A struct nt_steering."""

    def __init__(self, kind: str, lanes: int, key: bytes = KEY) -> None:
        config = ffi.new("struct nt_steering_config *")
        config.kind = netconf.STEERINGS.index(kind)
        config.lanes = lanes
        config.key = key
        self.raw: Any = ffi.new("struct nt_steering *")
        lib.nt_steering_init(self.raw, config)

    def flow(self, src: str, src_port: int, dst: str, dst_port: int) -> Any:
        self._kept = ffi.from_buffer(packed(src)), ffi.from_buffer(packed(dst))
        return ffi.new("struct nt_flow *", (*self._kept, src_port, dst_port))

    def lane(self, src: str, src_port: int, dst: str, dst_port: int) -> int:
        return lib.nt_steering_lane(self.raw, self.flow(src, src_port, dst, dst_port))

    def is_active(self, src_port: int, dst_port: int) -> bool:
        return lib.nt_steering_rfd_is_active(
            self.raw, self.flow(CLIENT, src_port, SERVER, dst_port)
        )


@pytest.mark.parametrize(("src", "src_port", "dst", "dst_port", "expected"), VERIFIED)
def test_toeplitz_as_published(
    src: str, src_port: int, dst: str, dst_port: int, expected: int
) -> None:
    data = ip_address(src).packed + ip_address(dst).packed
    data += src_port.to_bytes(2, "big") + dst_port.to_bytes(2, "big")
    assert lib.nt_steering_rss_hash(KEY, data, len(data)) == expected
    assert Steering("rss", 8).lane(src, src_port, dst, dst_port) == expected % 128 % 8


@pytest.mark.parametrize("kind", netconf.STEERINGS)
def test_one_lane_is_lane_0(kind: str) -> None:
    assert {Steering(kind, 1).lane(CLIENT, port, SERVER, 80) for port in range(99)} == {0}


@pytest.mark.parametrize("kind", netconf.STEERINGS)
@pytest.mark.parametrize("lanes", [2, 3, 8])
@pytest.mark.parametrize("server_port", [80, 8080])
def test_passive_connections_spread(kind: str, lanes: int, server_port: int) -> None:
    steering = Steering(kind, lanes)
    ports = range(32768, 32768 + 1024 * lanes)
    load = Counter(steering.lane(CLIENT, port, SERVER, server_port) for port in ports)
    assert set(load) == set(range(lanes))
    assert min(load.values()) > 512


@pytest.mark.parametrize("kind", netconf.STEERINGS)
@pytest.mark.parametrize("lanes", [2, 3, 8])
@pytest.mark.parametrize("remote_port", [80, 8080])
def test_an_active_connection_finds_a_port_for_every_lane(
    kind: str, lanes: int, remote_port: int
) -> None:
    steering = Steering(kind, lanes)
    load = Counter(
        steering.lane(SERVER, remote_port, CLIENT, port) for port in range(32768, 32768 + 4096)
    )
    assert set(load) == set(range(lanes))
    assert min(load.values()) > 4096 // lanes // 2


def test_a_flow_group_is_the_low_12_bits_of_the_clients_port() -> None:
    steering = Steering("flow-groups", 4)
    for port in (33000, 33000 + 4096, 33000 + 5 * 4096):
        assert steering.lane(CLIENT, port, SERVER, 80) == 33000 % 4096 % 4
        assert steering.lane(SERVER, 80, CLIENT, port) == 33000 % 4096 % 4
    steering.raw.group[33000 % 4096] = 3
    assert steering.lane(CLIENT, 33000 + 4096, SERVER, 80) == 3


def test_rfd_tells_active_from_passive_by_well_known_ports() -> None:
    steering = Steering("rfd", 4)
    assert steering.is_active(80, 40000)
    assert not steering.is_active(443, 22), "nobody connects from there"
    assert not steering.is_active(40000, 80)


def test_rfd_asks_the_listen_table_last() -> None:
    steering = Steering("rfd", 4)
    assert not steering.is_active(40000, 8080), "below the ephemeral range: listened on"
    assert steering.is_active(8080, 40000)
    listens = ffi.new("uint8_t[8192]")
    listens[40001 // 8] |= 1 << 40001 % 8
    steering.raw.listens = listens
    assert not steering.is_active(8080, 40001)
    assert steering.is_active(8080, 40000)
    assert steering.is_active(40000, 8080), "nobody listens there"


def test_rfd_finds_the_lane_in_bits_of_the_port_that_differ_by_key() -> None:
    random.seed(7)
    chosen = set()
    for _ in range(40):
        steering = Steering("rfd", 8, random.randbytes(40))
        bits = [steering.raw.rfd_bit[i] for i in range(steering.raw.rfd_bits)]
        assert len(set(bits)) == 3
        chosen.add(tuple(bits))
        port = 32768 + 1234
        expected = sum((port >> bit & 1) << i for i, bit in enumerate(bits))
        assert steering.lane(SERVER, 80, CLIENT, port) == expected
    assert len(chosen) > 20


# -- Who does not know the key can aim at no lane ------------------------------------------------

KEYED = [kind for kind in netconf.STEERINGS if kind != "flow-groups"]


@pytest.mark.parametrize("kind", KEYED)
@pytest.mark.parametrize("lanes", [2, 8])
@pytest.mark.parametrize("port", [80, 8080])
def test_a_flood_aimed_by_another_key_spreads(kind: str, lanes: int, port: int) -> None:
    rng = random.Random(lanes)
    guessed = Steering(kind, lanes, rng.randbytes(40))
    flows = []
    while len(flows) < 400:
        source = str(ip_address(rng.getrandbits(31))), rng.choice([443, rng.randrange(65536)])
        if guessed.lane(*source, SERVER, port) == 0:
            flows.append(source)
    for _ in range(20):
        steering = Steering(kind, lanes, rng.randbytes(40))
        load = Counter(steering.lane(*source, SERVER, port) for source in flows)
        # Half are one lane's of two; an eighth of eight.
        assert max(load.values()) < (300 if lanes == 2 else 125)


@pytest.mark.parametrize("kind", KEYED)
@pytest.mark.parametrize("source_port", [80, 443, 40000])
def test_a_flood_from_one_port_spreads(kind: str, source_port: int) -> None:
    rng = random.Random(source_port)
    steering = Steering(kind, 4, rng.randbytes(40))
    load = Counter(
        steering.lane(str(ip_address(rng.getrandbits(31))), source_port, SERVER, 80)
        for _ in range(2000)
    )
    assert min(load.values()) > 300
