"""Addresses: 128 bit, IPv4 mapped, and clear about what can't be used."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.topology.address import (
    AddressError,
    as_ipv4,
    parse_interface,
    parse_neighbour,
    parse_network,
)


def test_an_ipv4_address_is_mapped() -> None:
    address = parse_interface("10.0.0.2/24")
    assert address.packed == bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 2])
    assert address.prefix_bits == 120
    assert address.network == ipaddress.IPv6Network("::ffff:10.0.0.0/120")
    assert str(address) == "10.0.0.2/24"


@given(st.integers(1 << 24, (127 << 24) - 1), st.integers(0, 32))
def test_what_parses_reads_back(number: int, prefix: int) -> None:
    text = f"{ipaddress.IPv4Address(number)}/{prefix}"
    try:
        address = parse_interface(text)
    except AddressError as error:
        assert "subnet" in str(error) or "broadcast" in str(error)  # noqa: PT017
        return
    assert str(address) == text
    assert as_ipv4(address) == ipaddress.IPv4Interface(text)


@given(st.text())
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    for parse in (parse_interface, parse_neighbour, parse_network):
        try:
            parse(text)
        except AddressError as error:
            assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.0.0.2", "lacks the length"),
        ("10.0.0.256/24", "no IP address"),
        ("10.0.0.2/33", "must be 0 to 32"),
        ("10.0.0.2/255.255.255.0", "must be 0 to 32"),
        ("10.0.0.0/24", "of the subnet 10.0.0.0/24 itself"),
        ("10.0.0.255/24", "broadcast"),
        ("127.0.0.1/8", "loopback"),
        ("224.0.0.1/24", "multicast"),
        ("0.0.0.0/32", "can't belong to a host"),
        ("255.255.255.255/32", "can't belong to a host"),
        ("fd00::1/64", "IPv6, which this version does not serve yet"),
        ("fd00::1", "IPv6, which this version does not serve yet"),
        ("::ffff:10.0.0.2/120", "as 10.0.0.2"),
    ],
)
def test_bad_interface(text: str, problem: str) -> None:
    with pytest.raises(AddressError, match=problem):
        parse_interface(text)


@pytest.mark.parametrize("text", ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32"])
def test_short_subnets_have_no_broadcast_address(text: str) -> None:
    assert str(parse_interface(text)) == text


def test_neighbour() -> None:
    assert as_ipv4(parse_neighbour("10.0.0.1")).ip == ipaddress.IPv4Address("10.0.0.1")
    with pytest.raises(AddressError, match="single address"):
        parse_neighbour("10.0.0.1/24")


def test_network() -> None:
    assert str(parse_network("10.2.0.0/16")) == "10.2.0.0/16"
    assert str(parse_network("0.0.0.0/0")) == "0.0.0.0/0"
    with pytest.raises(AddressError, match=r"the subnet is 10\.2\.0\.0/16"):
        parse_network("10.2.0.1/16")
    with pytest.raises(AddressError, match="lacks the length"):
        parse_network("10.2.0.0")
