"""Drivers of hosts with several lanes say which queue of their card a frame arrived in."""

import struct
from collections.abc import Callable
from typing import Any

import pytest

from newtos_py.kernel.server import NetConfig, SteeringConfig
from newtos_py.sim import packets
from newtos_py.sim.packets import Ipv4

# A class of conftest.py, which is no module that could be imported.
Link = Any

A, B = "10.0.0.2", "10.0.0.3"
LANES = 2


def segment(src: str, src_port: int, dst: str, dst_port: int) -> bytes:
    tcp = struct.pack(">HHIIHHHH", src_port, dst_port, 1, 2, 0x5010, 0xFFFF, 0, 0)
    ip = packets.ipv4(Ipv4(src, dst, 6, tcp))
    return packets.ethernet(bytes(6), bytes(6), packets.ETHERTYPE_IPV4, ip)


@pytest.fixture
def link(make_link: Callable[..., Link]) -> Link:
    """A wire whose host b has a card with two queues and Twenty-Policy."""
    made = make_link()
    made.b.net = NetConfig((), (), (), SteeringConfig("twenty-policy", LANES, bytes(range(40))))
    made.reboot(1)
    return made


def queue_at_b(link: Link, port: int) -> int:
    """Where the answer to b's `port` arrives."""
    link.a.send(segment(A, 80, B, port))
    link.settle()
    (frame,) = link.b.take()
    link.b.give_back(frame)
    assert frame.nic[0] != 0
    return int(frame.nic[1]) - 1


def test_a_frame_says_its_queue(link: Link) -> None:
    assert {queue_at_b(link, port) for port in range(40000, 40020)} == set(range(LANES))


def test_with_one_lane_it_says_nothing(make_link: Callable[..., Link]) -> None:
    link = make_link()
    link.a.send(segment(A, 80, B, 40000))
    link.settle()
    (frame,) = link.b.take()
    assert frame.nic == (0, 0)


def test_what_is_sent_teaches_the_card_until_its_driver_dies(link: Link) -> None:
    port = next(port for port in range(40000, 40100) if queue_at_b(link, port) == 0)
    for i in range(20):
        assert queue_at_b(link, port) == 0, f"after {i} packets"
        link.b.send(segment(B, port, A, 80), tag=1 + 1)
        link.settle()
        link.a.receive()
    assert queue_at_b(link, port) == 1
    link.reboot(1)
    assert queue_at_b(link, port) == 0, "a restarted driver begins anew"
    link.check_no_buffer_lost()
