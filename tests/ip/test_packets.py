"""Packets through IP: down with headers in front, up with checks behind; loopback; fences."""

import struct

import pytest

from newtos_py.sim import packets
from newtos_py.sim.ip_lab import (
    CSUM_PARTIAL,
    CSUM_VALID,
    FENCE,
    ICMP_ERROR,
    LOOPBACK,
    MAC,
    OUR,
    PACKET,
    PEER,
    PEER_MAC,
    SEGMENT,
    IpLab,
    Limits,
)
from newtos_py.sim.packets import Ipv4
from newtos_py.sim.world import Desc, Ref, Return

UDP_HEADER = bytes.fromhex("1000200000000000")
TCP_HEADER = bytes.fromhex("1000 2000 00000001 00000002 5010 ffff 0000 0000".replace(" ", ""))
DF = packets.DF


def segment(payload: bytes = b"data") -> bytes:
    return packets.udp(PEER, 7, OUR, 9, payload)


# -- Down ------------------------------------------------------------------------------------


def test_headers_are_put_in_front_and_payload_is_not_touched(lab: IpLab) -> None:
    lab.learn()
    lab.tcp.send(
        PEER, TCP_HEADER, b"payload!", protocol=packets.TCP, df=True, flags=CSUM_PARTIAL, split=3
    )
    (frame,) = lab.wire.frames()
    assert frame.data[:14] == PEER_MAC + MAC[0] + b"\x08\x00"
    assert frame.l4_offset == 34
    assert frame.data[34:] == TCP_HEADER
    assert [(ref.region, ref.len) for ref in frame.refs] == [(16, 3), (16, 5)]
    assert (frame.flags, frame.gso_size, frame.flow_hash) == (CSUM_PARTIAL, 0, 77)
    packet = packets.parse_ipv4(lab.gather(frame)[14:])
    assert packet == Ipv4(OUR, PEER, packets.TCP, TCP_HEADER + b"payload!", 0, DF)


def test_a_super_segment_is_one_frame(lab: IpLab) -> None:
    lab.learn()
    payload = bytes(65415)
    lab.tcp.send(
        PEER, TCP_HEADER, payload, protocol=packets.TCP, df=True, flags=CSUM_PARTIAL, gso_size=1448
    )
    (frame,) = lab.wire.frames()
    assert frame.gso_size == 1448
    assert struct.unpack_from(">H", frame.data, 16)[0] == 20 + 20 + 65415


def test_a_super_segment_larger_than_the_driver_takes_is_dropped() -> None:
    lab = IpLab(Limits(gso_max=0))
    lab.learn()
    lab.tcp.send(PEER, TCP_HEADER, bytes(3000), protocol=packets.TCP, df=True, gso_size=1448)
    assert lab.wire.packets() == []
    assert lab.counter("too_big") == 1


def test_a_driver_without_checksums_gets_complete_ones() -> None:
    lab = IpLab(Limits(csum_tx=False))
    lab.learn()
    payload = b"odd pieces, odd sum"
    whole = packets.udp(OUR, 0x1000, PEER, 0x2000, payload)
    length = 8 + len(payload)
    partial = ~packets.checksum(packets.pseudo_header(OUR, PEER, packets.UDP, length)) & 0xFFFF
    header = struct.pack(">HHHH", 0x1000, 0x2000, length, partial)
    lab.udp.send(PEER, header, payload, flags=CSUM_PARTIAL, split=7)
    lab.udp.send(PEER, header, payload, flags=CSUM_PARTIAL, split=8)
    assert [packet.payload for packet in lab.wire.packets()] == [whole, whole]


def test_identifications_of_packets_that_may_be_cut_differ(lab: IpLab) -> None:
    lab.learn()
    for _ in range(50):
        lab.udp.send(PEER, UDP_HEADER)
    assert len({packet.id for packet in lab.wire.packets()}) == 50


@pytest.mark.parametrize("src", ["10.0.0.77", "0.0.0.0", "fe80::1", "127.0.0.1"])
def test_a_source_that_is_not_ours_is_refused(lab: IpLab, src: str) -> None:
    lab.learn()
    lab.udp.send(PEER, UDP_HEADER, src=src)
    assert lab.wire.frames() == []
    assert lab.counter("bad_source") == 1


def test_no_route_is_told() -> None:
    lab = IpLab(Limits(gateway=False))
    lab.udp.send("198.51.100.7", UDP_HEADER)
    (error,) = lab.udp.received()
    assert error.kind == ICMP_ERROR
    assert packets.parse_ipv4(lab.udp.payload[0]).payload[:2] == bytes([3, 0])
    assert lab.counter("no_route") == 1


def test_broadcasts_and_groups_need_no_neighbour(lab: IpLab) -> None:
    lab.udp.send("10.0.0.255", UDP_HEADER)
    lab.udp.send("255.255.255.255", UDP_HEADER)
    lab.udp.send("224.1.2.3", UDP_HEADER)
    frames = lab.wire.frames() + lab.tap.frames()
    macs = {frame.data[:6] for frame in frames}
    assert macs == {packets.BROADCAST_MAC, bytes.fromhex("01005e010203")}


@pytest.mark.parametrize(
    "desc",
    [
        Desc(SEGMENT, bytes(35)),
        Desc(SEGMENT, bytes(44), (Ref(0, 70000, 16),)),
        Desc(2, bytes(44)),
        Desc(FENCE, tag=0, arg=1),
    ],
)
def test_descriptors_no_transport_makes_are_counted(lab: IpLab, desc: Desc) -> None:
    lab.udp.to_ip.push(desc)
    lab.run()
    assert lab.counter("bad_descriptor") == 1


def test_a_descriptor_of_another_slot_is_counted(lab: IpLab) -> None:
    lab.udp.to_ip.push_raw(Desc(SEGMENT, bytes(44)).pack(check=12345))
    lab.run()
    assert lab.counter("bad_descriptor") == 1


# -- Up --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [packets.TCP, packets.UDP])
def test_a_packet_goes_up_where_it_lies(lab: IpLab, protocol: int) -> None:
    upper = lab.tcp if protocol == packets.TCP else lab.udp
    ref = lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, protocol, bytes(20))), flags=CSUM_VALID)
    (desc,) = upper.received()
    assert desc.kind == PACKET
    assert desc.refs == (Ref(ref.offset + 14, 40, ref.region, ref.use),)  # without the padding
    assert (desc.l4_offset, desc.flags, desc.tag) == (20, CSUM_VALID, 0)
    assert desc.flow_hash != 0
    assert lab.wire.owner.out == 0


def test_both_directions_have_one_flow_hash(lab: IpLab) -> None:
    for src, dst, ports in ((PEER, OUR, (1, 2)), (PEER, OUR, (2, 1))):
        header = struct.pack(">HH", *ports) + bytes(16)
        lab.wire.deliver_ip(packets.ipv4(Ipv4(src, dst, packets.TCP, header)))
    there, back = lab.tcp.received()
    assert there.flow_hash != back.flow_hash


def test_options_are_skipped(lab: IpLab) -> None:
    packet = packets.ipv4(Ipv4(PEER, OUR, packets.UDP, segment()), options=b"\x01" * 8)
    lab.wire.deliver_ip(packet)
    (desc,) = lab.udp.received()
    assert desc.l4_offset == 28


@pytest.mark.parametrize("dst", ["10.0.0.2", "10.0.0.9", "10.1.0.2", "10.0.0.255"])
def test_every_address_of_the_host_is_local(lab: IpLab, dst: str) -> None:
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, dst, packets.UDP, segment())))
    assert [packet.dst for packet in lab.udp.packets()] == [dst]


def damaged(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


GOOD = packets.ipv4(Ipv4(PEER, OUR, packets.UDP, segment(b"x" * 40)))


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        (GOOD[:19], "in_truncated"),
        (GOOD[:40], "in_truncated"),
        (damaged(GOOD, 0, 0x65), "in_malformed"),
        (damaged(GOOD, 0, 0x44), "in_malformed"),
        (damaged(GOOD, 8, 1), "in_checksum"),
        (packets.ipv4(Ipv4("224.0.0.1", OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4("10.0.0.255", OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4("127.0.0.1", OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4(OUR, OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4("0.0.0.0", OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4("241.0.0.1", OUR, 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4(PEER, "127.0.0.1", 17, segment())), "in_martian"),
        (packets.ipv4(Ipv4(PEER, "10.0.0.77", 17, segment())), "not_local"),
        (packets.ipv4(Ipv4(PEER, "8.8.8.8", 17, segment())), "not_local"),
        (packets.ipv4(Ipv4(PEER, OUR, 99, segment())), "no_protocol"),
        (packets.ipv4(Ipv4(PEER, "10.0.0.255", 6, bytes(20))), "in_martian"),
    ],
)
def test_bad_packets_are_counted_and_dropped(lab: IpLab, packet: bytes, counter: str) -> None:
    before = lab.counters()
    lab.wire.deliver_ip(packet if len(packet) >= 40 else packet.ljust(46, b"\0"))
    assert lab.udp.received() == lab.tcp.received() == []
    assert lab.counter(counter) == before.get(counter, 0) + 1, lab.counters()
    assert lab.wire.owner.out == 0


def test_frames_for_others_are_passed_over(lab: IpLab) -> None:
    lab.wire.deliver_ip(GOOD, dst=bytes.fromhex("0200000000ee"))
    lab.wire.deliver_ip(GOOD, dst=packets.BROADCAST_MAC)
    lab.wire.deliver(b"\x02short")
    lab.wire.deliver(packets.ethernet(MAC[0], PEER_MAC, 0x86DD, bytes(60)))
    assert lab.udp.received() == []
    counters = lab.counters()
    assert (counters["other_station"], counters["in_martian"], counters["bad_ethernet"]) == (
        1,
        1,
        2,
    )
    assert lab.wire.owner.out == 0


def test_a_reference_that_is_out_of_bounds_or_stale_is_dropped(lab: IpLab) -> None:
    ref = lab.wire.owner.put(packets.ethernet(MAC[0], PEER_MAC, 0x800, GOOD))
    for bad in (
        Ref(1 << 40, 60, ref.region, ref.use),
        Ref(ref.offset, 1 << 20, ref.region, ref.use),
        Ref(ref.offset, ref.len, ref.region, ref.use + 2),
        Ref(ref.offset, ref.len, ref.region + 1, ref.use),
        Ref(ref.offset, ref.len, 400, ref.use),
    ):
        lab.wire.to_ip.push(Desc(1, refs=(bad,)))
    lab.run()
    counters = lab.counters()
    assert (counters["stale_reference"], counters["bad_descriptor"]) == (3, 2)
    assert lab.udp.received() == []


def test_a_full_channel_upwards_drops_and_returns_the_buffer(lab: IpLab) -> None:
    """No correct TCP lets its channel fill up: there are more slots than buffers."""
    while lab.counter("up_full") == 0:
        ref = lab.wire.deliver_ip(GOOD)
        lab.run()
        if lab.wire.owner.out:  # as if it had given the buffer back without reading the descriptor
            lab.wire.owner.give_back(Return(lab.wire.owner.buffer_of(ref), ref.use, ref.region))
    assert len(lab.udp.from_ip.pop_all()) == 1024
    assert lab.wire.owner.out == 0


# -- Loopback --------------------------------------------------------------------------------


@pytest.mark.parametrize("dst", ["127.0.0.1", "127.8.9.1", OUR, "10.1.0.2"])
def test_packets_to_oneself_come_back(lab: IpLab, dst: str) -> None:
    lab.udp.send(dst, UDP_HEADER, b"echo", src=dst, flags=CSUM_PARTIAL, split=1)
    (desc,) = lab.udp.received()
    assert (desc.kind, desc.flags) == (PACKET, LOOPBACK | CSUM_VALID)
    packet = packets.parse_ipv4(lab.udp.payload[0])
    assert (packet.src, packet.dst, packet.payload) == (dst, dst, UDP_HEADER + b"echo")
    lab.run()
    assert lab.buffers_free() == (48, 12)
    assert lab.wire.frames() == lab.tap.frames() == []


def test_ipv6_comes_back_from_oneself(lab: IpLab) -> None:
    lab.udp.send("::1", UDP_HEADER, b"echo", src="::1", flags=CSUM_PARTIAL, split=1)
    (desc,) = lab.udp.received()
    assert (desc.kind, desc.flags, desc.l4_offset) == (PACKET, LOOPBACK | CSUM_VALID, 40)
    (packet,) = lab.udp.payload
    one = bytes(15) + b"\x01"
    assert packet == struct.pack(">IHBB", 6 << 28, 12, 17, 64) + one + one + UDP_HEADER + b"echo"
    lab.run()
    assert lab.buffers_free() == (48, 12)


@pytest.mark.parametrize(
    ("src", "dst", "counter"),
    [("::1", "fd00::1", "no_route"), ("::1", OUR, "bad_source"), (OUR, "::1", "bad_source")],
)
def test_ipv6_goes_nowhere_else(lab: IpLab, src: str, dst: str, counter: str) -> None:
    lab.udp.send(dst, UDP_HEADER, b"x", src=src)
    lab.run()
    assert lab.counter(counter) == 1
    assert lab.wire.frames() == lab.udp.received() == []


def test_an_ipv6_packet_can_be_too_long_for_its_header(lab: IpLab) -> None:
    lab.udp.send("::1", UDP_HEADER, bytes(65535 - 40 - 8), src="::1")
    (desc,) = lab.udp.received()
    assert desc.refs[0].len == 65535
    lab.udp.send("::1", UDP_HEADER, bytes(65535 - 40 - 7), src="::1")
    assert lab.udp.received() == []
    assert lab.counter("too_big") == 1


def test_a_super_segment_loops_back_whole(lab: IpLab) -> None:
    lab.tcp.send(
        OUR, TCP_HEADER, b"q" * 60000, protocol=packets.TCP, df=True, flags=CSUM_PARTIAL,
        gso_size=1448,
    )  # fmt: skip
    (desc,) = lab.tcp.received(keep=True)
    assert (desc.gso_size, desc.refs[0].len) == (1448, 60040)
    assert lab.buffers_free() == (48, 11)
    lab.tcp.give_back(desc)
    lab.run()
    assert lab.buffers_free() == (48, 12)


def test_an_exhausted_pool_drops(lab: IpLab) -> None:
    for _ in range(60):
        lab.udp.send(OUR, UDP_HEADER, b"x")
    descs = lab.udp.received(keep=True)
    assert (len(descs), lab.counter("no_buffer")) == (48, 12)
    for desc in descs:
        lab.udp.give_back(desc)
    lab.run()
    assert lab.buffers_free() == (48, 12)


def test_a_stale_return_is_ignored(lab: IpLab) -> None:
    lab.udp.send(OUR, UDP_HEADER, b"x")
    (desc,) = lab.udp.received()
    lab.udp.give_back(desc)
    lab.run()
    assert lab.counter("stale_returns") == 1
    assert lab.buffers_free() == (48, 12)


def test_a_bad_reference_in_a_looped_packet_costs_no_buffer(lab: IpLab) -> None:
    meta = bytes(10) + b"\xff\xff" + packets.v4(OUR)
    data = meta + meta + bytes([17, 0, 0, 0]) + UDP_HEADER
    lab.udp.to_ip.push(Desc(SEGMENT, data, (Ref(1 << 30, 8, 16),)))
    lab.run()
    assert lab.counter("bad_descriptor") == 1
    assert lab.buffers_free() == (48, 12)


# -- Fences and backpressure -----------------------------------------------------------------


def test_a_fence_goes_to_every_driver_behind_what_came_before(lab: IpLab) -> None:
    lab.learn()
    lab.tcp.send(PEER, TCP_HEADER, b"x", protocol=packets.TCP)
    lab.tcp.fence(5)
    lab.tcp.send(PEER, TCP_HEADER, b"y", protocol=packets.TCP)
    lab.run()
    assert [desc.kind for desc in lab.wire.from_ip.pop_all()] == [1, FENCE, 1]
    (fence,) = lab.tap.from_ip.pop_all()
    assert (fence.kind, fence.tag, fence.arg) == (FENCE, 0, 5)


def fill(lab: IpLab) -> int:
    """Send until IP takes no more."""
    sent = 0
    while lab.udp.to_ip.push(
        Desc(SEGMENT, bytes(10) + b"\xff\xff" + packets.v4(OUR) + bytes(10) + b"\xff\xff"
             + packets.v4(PEER) + bytes([17, 0, 0, 0]) + UDP_HEADER)
    ):  # fmt: skip
        sent += 1
        if sent % 64 == 0:
            lab.runner.settle()
        if sent > 2048:
            break
    return sent


def test_nothing_is_taken_from_above_while_a_driver_is_full(lab: IpLab) -> None:
    lab.learn()
    fill(lab)
    sent = lab.counter("out_packets")
    assert 900 <= sent <= 1024 - 64
    assert not lab.runner.has_work()
    lab.wire.from_ip.pop_all()
    lab.runner.settle()
    assert lab.counter("out_packets") > sent
    assert lab.counter("driver_full") == 0


def test_a_driver_that_hangs_is_not_waited_for(lab: IpLab) -> None:
    """Its packets are dropped, its fences kept for it; the others go on."""
    lab.learn()
    lab.learn(driver=1, ip="10.1.0.7")
    fill(lab)
    lab.tcp.fence(7)
    lab.tcp.fence(8)
    lab.tcp.send("10.1.0.7", TCP_HEADER, b"x", protocol=packets.TCP, src="10.1.0.2")
    lab.runner.run(after_ms=100)
    assert lab.tap.from_ip.pop_all() == []
    lab.runner.run(after_ms=150)
    kinds = [desc.kind for desc in lab.tap.from_ip.pop_all()]
    assert kinds == [FENCE, FENCE, 1]
    assert lab.counter("driver_full") > 0
    frames = lab.wire.from_ip.pop_all()
    if frames[-1].kind != FENCE:
        lab.runner.settle()
        frames += lab.wire.from_ip.pop_all()
    assert [(desc.tag, desc.arg) for desc in frames if desc.kind == FENCE][-1] == (0, 8)
