"""ICMP: echo of all sizes, errors about others' packets and about ours, and their limits."""

import pytest

from newtos_py.sim import packets
from newtos_py.sim.ip_lab import FENCE, ICMP_ERROR, MAC, OUR, PEER, IpLab
from newtos_py.sim.packets import Ipv4

UDP_PACKET = packets.udp(PEER, 7, OUR, 9, b"x" * 30)


def ping(size: int, dst: str = OUR) -> Ipv4:
    data = bytes(i % 251 for i in range(size))
    return Ipv4(PEER, dst, packets.ICMP, packets.icmp(8, 0, 0x00070001, data), id=9)


@pytest.mark.parametrize("size", [0, 1, 56, 92, 93, 1000, 1472])
def test_echo(lab: IpLab, size: int) -> None:
    lab.learn()
    lab.wire.deliver_ip(packets.ipv4(ping(size)))
    (reply,) = lab.wire.packets()
    assert (reply.src, reply.dst) == (OUR, PEER)
    assert reply.payload == packets.icmp(0, 0, 0x00070001, ping(size).payload[8:])
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)
    assert lab.wire.owner.out == 0


@pytest.mark.parametrize("size", [2000, 20000, 65507])
def test_a_fragmented_ping_comes_back_in_fragments(lab: IpLab, size: int) -> None:
    lab.learn()
    for piece in packets.fragments(ping(size), 1480):
        lab.wire.deliver_ip(piece)
        lab.run()
    replies = lab.wire.packets()
    data = b"".join(reply.payload for reply in replies)
    assert data == packets.icmp(0, 0, 0x00070001, ping(size).payload[8:])
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)


def test_the_reply_is_the_drivers_until_its_fence(lab: IpLab) -> None:
    lab.learn()
    lab.wire.deliver_ip(packets.ipv4(ping(1000)))
    lab.run()
    descs = lab.wire.from_ip.pop_all()
    assert [(desc.kind, desc.tag) for desc in descs] == [(1, 0), (5, 9)]
    lab.run(after_ms=100)
    assert lab.buffers_free() == (47, 12)
    lab.wire.pass_fences(descs)
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)


def test_a_fence_that_a_driver_lost_is_sent_again(lab: IpLab) -> None:
    lab.learn()
    lab.wire.deliver_ip(packets.ipv4(ping(1000)))
    lab.run()
    lost = [desc for desc in lab.wire.from_ip.pop_all() if desc.kind == FENCE]
    assert len(lost) == 1
    lab.run(after_ms=150)
    assert lab.wire.from_ip.pop_all() == []
    lab.run(after_ms=100)
    lab.wire.frames()  # passes it
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)


def test_a_ping_from_an_unknown_neighbour_waits_for_its_mac(lab: IpLab) -> None:
    lab.wire.deliver_ip(packets.ipv4(ping(1000)))
    assert [message.target_ip for message in lab.wire.arps()] == [PEER]
    lab.learn()
    lab.run(after_ms=20)
    assert lab.counter("icmp_out") == 1
    assert lab.buffers_free() == (48, 12)


def test_broadcast_pings_are_not_answered(lab: IpLab) -> None:
    lab.learn()
    lab.wire.deliver_ip(packets.ipv4(ping(56, "10.0.0.255")), dst=packets.BROADCAST_MAC)
    lab.wire.deliver_ip(packets.ipv4(ping(56, "10.0.0.255")), dst=MAC[0])
    assert lab.wire.packets() == []


def test_a_bad_checksum_is_counted(lab: IpLab) -> None:
    message = ping(56).payload
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.ICMP, message[:-1] + b"!")))
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.ICMP, message[:7])))
    assert lab.wire.packets() == []
    assert lab.counter("icmp_bad") == 2


def about(protocol: int, transport: bytes, src: str = OUR) -> bytes:
    """An error of a router about a packet."""
    quote = packets.ipv4(Ipv4(src, "198.51.100.1", protocol, transport))[:28]
    return packets.ipv4(Ipv4("10.0.0.1", OUR, packets.ICMP, packets.icmp(3, 1, 0, quote)))


@pytest.mark.parametrize("protocol", [packets.TCP, packets.UDP])
def test_errors_about_our_packets_go_up(lab: IpLab, protocol: int) -> None:
    upper = lab.tcp if protocol == packets.TCP else lab.udp
    lab.wire.deliver_ip(about(protocol, bytes(20)))
    (desc,) = upper.received()
    assert (desc.kind, desc.l4_offset) == (ICMP_ERROR, 20)
    assert packets.parse_ipv4(upper.payload[0]).payload[:2] == bytes([3, 1])
    assert lab.wire.owner.out == 0


@pytest.mark.parametrize(
    "packet",
    [
        about(packets.UDP, bytes(20), src=PEER),
        about(packets.ICMP, bytes(20)),
        packets.ipv4(Ipv4("10.0.0.1", OUR, packets.ICMP, packets.icmp(3, 1, 0, bytes(27)))),
        packets.ipv4(Ipv4("10.0.0.1", OUR, packets.ICMP, packets.icmp(3, 1, 0, b"\x4f" * 40))),
        packets.ipv4(Ipv4("10.0.0.1", OUR, packets.ICMP, packets.icmp(3, 1, 0, b"\x41" * 40))),
    ],
)
def test_errors_about_nothing_of_ours_do_not(lab: IpLab, packet: bytes) -> None:
    lab.wire.deliver_ip(packet)
    assert lab.udp.received() == lab.tcp.received() == []
    assert lab.counter("icmp_bad") == 1
    assert lab.wire.owner.out == 0


def test_an_unknown_protocol_is_answered(lab: IpLab) -> None:
    lab.learn()
    packet = packets.ipv4(Ipv4(PEER, OUR, 132, bytes(200)))
    lab.wire.deliver_ip(packet)
    (error,) = lab.wire.packets()
    assert error.payload[:2] == bytes([3, 2])
    assert packets.checksum(error.payload) == 0
    assert error.payload[8:] == packet[: len(error.payload) - 8]
    assert len(error.payload) >= 8 + 28


@pytest.mark.parametrize(
    "packet",
    [
        Ipv4(PEER, "10.0.0.255", 132, bytes(20)),
        Ipv4(PEER, OUR, packets.ICMP, packets.icmp(3, 1, 0, bytes(28))),
    ],
)
def test_errors_are_not_answered_where_rfc_1122_forbids_it(lab: IpLab, packet: Ipv4) -> None:
    lab.learn()
    lab.wire.deliver_ip(packets.ipv4(packet))
    assert lab.wire.packets() == []


def test_errors_are_limited(lab: IpLab) -> None:
    lab.learn()
    for _ in range(60):
        lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, 132, bytes(20))))
        lab.run()
        lab.wire.take_back()
    assert len(lab.wire.packets()) == 50
    assert lab.counter("icmp_limited") == 10
    lab.run(after_ms=5)
    for _ in range(10):
        lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, 132, bytes(20))))
        lab.run()
    assert len(lab.wire.packets()) == 5


def test_errors_from_above_share_the_limit(lab: IpLab) -> None:
    lab.learn()
    message = packets.icmp(3, 3, 0, packets.ipv4(Ipv4(PEER, OUR, 17, UDP_PACKET))[:28])
    for _ in range(60):
        lab.udp.send(PEER, message, protocol=packets.ICMP)
        lab.run()
    assert len(lab.wire.packets()) == 50


def test_refusal_on_loopback_reaches_the_sender(lab: IpLab) -> None:
    """UDP's "port unreachable" to a socket of the same host comes up as an error."""
    quote = packets.ipv4(Ipv4("127.0.0.1", "127.0.0.1", 17, UDP_PACKET))[:28]
    lab.udp.send("127.0.0.1", packets.icmp(3, 3, 0, quote), src="127.0.0.1", protocol=packets.ICMP)
    (desc,) = lab.udp.received()
    assert desc.kind == ICMP_ERROR
