"""Who has which address: asking, answering, waiting, giving up (RFC 826, RFC 5227)."""

import pytest

from newtos_py.sim import packets
from newtos_py.sim.ip_lab import ICMP_ERROR, LOOPBACK, MAC, OUR, PEER, PEER_MAC, IpLab
from newtos_py.sim.packets import Arp

NOBODY = bytes(6)
REQUEST, REPLY = 1, 2
OTHER_MAC = bytes.fromhex("0200000000aa")
HEADER = b"\x10\x00\x20\x00\x00\x0c\x00\x00"


def test_addresses_are_announced_once() -> None:
    lab = IpLab()
    announced = [message.sender_ip for message in lab.wire.arps()]
    assert announced == ["10.0.0.2", "10.0.0.9"]
    assert lab.tap.arps() == [Arp(REQUEST, MAC[1], "10.1.0.2", NOBODY, "10.1.0.2")]
    lab.runner.boot(recovered=True)
    assert lab.wire.arps() == []


@pytest.mark.parametrize("target", ["10.0.0.2", "10.0.0.9", "10.1.0.2"])
def test_a_request_for_an_address_of_ours_is_answered(lab: IpLab, target: str) -> None:
    lab.wire.deliver_arp(Arp(REQUEST, PEER_MAC, PEER, NOBODY, target))
    (frame,) = lab.wire.frames()
    assert frame.data[:6] == PEER_MAC
    assert packets.parse_arp(frame.data[14:]) == Arp(REPLY, MAC[0], target, PEER_MAC, PEER)


def test_a_request_for_others_is_not(lab: IpLab) -> None:
    lab.wire.deliver_arp(Arp(REQUEST, PEER_MAC, PEER, NOBODY, "10.0.0.77"))
    lab.wire.deliver_arp(Arp(REQUEST, PEER_MAC, PEER, NOBODY, "127.0.0.1"))
    assert lab.wire.frames() == []


def test_the_first_packet_asks_and_waits(lab: IpLab) -> None:
    lab.udp.send(PEER, HEADER, b"data")
    assert lab.wire.arps() == [Arp(REQUEST, MAC[0], OUR, NOBODY, PEER)]
    lab.wire.deliver_arp(Arp(REPLY, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    (frame,) = lab.wire.frames()
    assert frame.data[:6] == PEER_MAC
    assert packets.parse_ipv4(lab.gather(frame)[14:]).payload == HEADER + b"data"
    lab.udp.send(PEER, HEADER, b"more")
    assert [packet.payload for packet in lab.wire.packets()] == [HEADER + b"more"]


def test_what_waits_is_a_copy(lab: IpLab) -> None:
    """A fence passes at once: the program may overwrite what it sent."""
    lab.udp.send(PEER, HEADER, b"first")
    lab.udp.fence(1)
    lab.run()
    assert [desc.kind for desc in lab.wire.from_ip.pop_all()] == [1, 5]
    lab.world.write(lab.area, 0, b"FIRST")
    lab.learn()
    lab.udp.send(PEER, HEADER, b"next")
    assert lab.counter("waiting_dropped") == 0
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)


def test_waiting_packets_keep_their_order(lab: IpLab) -> None:
    for number in range(5):
        lab.udp.send(PEER, HEADER, b"packet %d" % number)
    lab.run()
    lab.wire.deliver_arp(Arp(REPLY, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    payloads = [packet.payload[8:] for packet in lab.wire.packets()]
    assert payloads == [b"packet %d" % number for number in range(5)]
    lab.run(after_ms=20)
    assert lab.buffers_free() == (48, 12)


def test_too_many_waiting_packets_drop_the_oldest(lab: IpLab) -> None:
    for number in range(11):
        lab.udp.send(PEER, HEADER, b"packet %02d" % number)
    lab.run()
    assert lab.counter("waiting_dropped") == 3
    lab.wire.deliver_arp(Arp(REPLY, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    assert [packet.payload[8:] for packet in lab.wire.packets()] == [
        b"packet %02d" % number for number in range(3, 11)
    ]


def test_waiting_for_many_neighbours_is_bounded(lab: IpLab) -> None:
    for host in range(10, 60):
        lab.udp.send(f"10.0.0.{host}", HEADER, b"x")
    lab.run()
    small, _ = lab.buffers_free()
    assert small == 48 - 32
    assert lab.counter("waiting_dropped") == 50 - 32


def test_a_super_segment_waits_too(lab: IpLab) -> None:
    lab.tcp.send(
        PEER, bytes(12) + b"\x50" + bytes(7), b"z" * 20000, protocol=6, df=True, flags=1,
        gso_size=1460,
    )  # fmt: skip
    assert len(lab.wire.arps()) == 1
    lab.wire.deliver_arp(Arp(REPLY, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    (frame,) = lab.wire.frames()
    assert (frame.gso_size, frame.flags, len(frame.data)) == (1460, 1, 14 + 20 + 20)
    assert lab.gather(frame)[54:] == b"z" * 20000


def test_nobody_answers(lab: IpLab) -> None:
    """Three requests, a second apart; then the sender hears of it (RFC 1122 §2.3.2.2)."""
    lab.udp.send(PEER, HEADER, b"lost")
    lab.udp.send(PEER, HEADER, b"lost too")
    assert len(lab.wire.arps()) == 1
    lab.run(after_ms=999)
    assert lab.wire.arps() == []
    lab.run(after_ms=1)
    assert len(lab.wire.arps()) == 1
    lab.run(after_ms=1000)
    assert len(lab.wire.arps()) == 1
    assert lab.udp.received() == []
    lab.run(after_ms=1000)
    assert lab.wire.arps() == []
    errors = lab.udp.received()
    assert [(desc.kind, desc.flags & LOOPBACK) for desc in errors] == [(ICMP_ERROR, LOOPBACK)] * 2
    for error, data in zip(errors, lab.udp.payload, strict=True):
        packet = packets.parse_ipv4(data)
        assert packet.payload[:2] == bytes([3, 1])  # host unreachable
        assert packet.payload[error.l4_offset - 20 + 8 :][12:20] == packets.v4(OUR) + packets.v4(
            PEER
        )
    lab.udp.send(PEER, HEADER, b"again")
    assert len(lab.wire.arps()) == 1


def test_a_neighbour_is_confirmed_while_packets_go_on(lab: IpLab) -> None:
    lab.learn()
    lab.run(after_ms=61_000)
    lab.udp.send(PEER, HEADER, b"still known")
    first, second = lab.wire.frames()
    # By unicast, so that a station that is there need not be shouted for.
    assert (first.data[:6], first.data[12:14]) == (PEER_MAC, b"\x08\x06")
    assert second.data[12:14] == b"\x08\x00"
    lab.wire.deliver_arp(Arp(REPLY, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    lab.run(after_ms=5000)
    lab.udp.send(PEER, HEADER, b"and again")
    assert len(lab.wire.packets()) == 1
    assert lab.counter("neighbour_failed") == 0


def test_a_neighbour_that_is_gone_is_asked_for_again(lab: IpLab) -> None:
    lab.learn()
    lab.run(after_ms=61_000)
    lab.udp.send(PEER, HEADER, b"into the dark")
    lab.run(after_ms=3500)
    lab.wire.frames()
    lab.udp.send(PEER, HEADER, b"who?")
    assert [message.target_ip for message in lab.wire.arps()] == [PEER]
    assert lab.counter("neighbour_failed") == 1


def test_a_known_station_that_moves_is_followed(lab: IpLab) -> None:
    lab.learn()
    lab.wire.deliver_arp(Arp(REQUEST, OTHER_MAC, PEER, NOBODY, PEER))
    lab.udp.send(PEER, HEADER, b"to the new one")
    (frame,) = lab.wire.frames()
    assert frame.data[:6] == OTHER_MAC


def test_an_announcement_of_a_stranger_is_not_remembered(lab: IpLab) -> None:
    lab.wire.deliver_arp(Arp(REQUEST, OTHER_MAC, PEER, NOBODY, PEER))
    lab.udp.send(PEER, HEADER, b"who?")
    assert [message.target_ip for message in lab.wire.arps()] == [PEER]


def test_a_conflict_is_counted_and_defended_seldom(lab: IpLab) -> None:
    for _ in range(3):
        lab.wire.deliver_arp(Arp(REQUEST, OTHER_MAC, OUR, NOBODY, OUR))
    assert lab.wire.arps() == [Arp(REQUEST, MAC[0], OUR, NOBODY, OUR)]
    assert lab.counter("arp_conflict") == 3
    lab.run(after_ms=10_001)
    lab.wire.deliver_arp(Arp(REPLY, OTHER_MAC, OUR, MAC[0], OUR))
    assert len(lab.wire.arps()) == 1


def test_a_probe_is_answered_but_teaches_nothing(lab: IpLab) -> None:
    lab.wire.deliver_arp(Arp(REQUEST, OTHER_MAC, "0.0.0.0", NOBODY, OUR))
    assert [message.operation for message in lab.wire.arps()] == [REPLY]
    assert lab.counter("arp_bad") == 0


@pytest.mark.parametrize(
    "message",
    [
        Arp(REQUEST, PEER_MAC, "192.168.7.7", NOBODY, OUR),
        Arp(REQUEST, PEER_MAC, "10.1.0.7", NOBODY, OUR),
        Arp(REQUEST, PEER_MAC, "10.0.0.255", NOBODY, OUR),
        Arp(REQUEST, PEER_MAC, "127.0.0.5", NOBODY, OUR),
        Arp(9, PEER_MAC, PEER, NOBODY, OUR),
    ],
)
def test_nonsense_is_counted(lab: IpLab, message: Arp) -> None:
    lab.wire.deliver_arp(message)
    assert lab.wire.frames() == []
    assert lab.counter("arp_bad") + lab.counter("arp_conflict") == 1


def test_the_cache_is_bounded(lab: IpLab) -> None:
    """More stations than it has room for: the longest unused go, the newest is known."""
    for index, prefix in enumerate(("10.0.0", "10.1.0")):
        for host in range(10, 240):
            lab.learn(bytes([2, 0, 0, index, 0, host]), f"{prefix}.{host}", index)
            lab.run(after_ms=1)
    assert lab.counter("neighbour_evicted") >= 2 * 230 - 256
    lab.udp.send("10.1.0.239", HEADER, b"known", src="10.1.0.2")
    assert [frame.data[5] for frame in lab.tap.frames()] == [239]


# -- Whoever makes us ask for addresses where nobody is ------------------------------------------


def answer_nobody(lab: IpLab, packets: int = 500) -> None:
    """Answer a flood: packets to all addresses of the wire where nobody is."""
    for number in range(packets):
        lab.udp.send(f"10.0.0.{10 + number % 240}", HEADER, b"to nobody")
    lab.run()
    lab.wire.frames()


def test_a_flood_makes_no_known_station_forgotten(lab: IpLab) -> None:
    lab.learn()
    for _ in range(20):
        answer_nobody(lab)
        lab.udp.send(PEER, HEADER, b"known")
        assert [packet.payload[8:] for packet in lab.wire.packets()] == [b"known"]
        lab.run(after_ms=50)
    assert lab.counter("neighbour_refused") > 0


def test_a_station_that_speaks_is_known_in_a_flood(lab: IpLab) -> None:
    answer_nobody(lab)
    for host in range(10, 60):
        address, mac = f"10.0.0.{host}", bytes([2, 0, 0, 0, 0, host])
        lab.learn(mac, address)
        lab.wire.frames()
        answer_nobody(lab)
        lab.udp.send(address, HEADER, b"known")
        assert [frame.data[5] for frame in lab.wire.frames()] == [host]


def test_who_is_asked_for_in_a_flood_gets_a_turn(lab: IpLab) -> None:
    answer_nobody(lab)
    lab.run(after_ms=150)
    lab.udp.send("10.0.0.250", HEADER, b"now")
    assert [message.target_ip for message in lab.wire.arps()] == ["10.0.0.250"]


def test_a_flood_over_one_wire_leaves_another_its_places(lab: IpLab) -> None:
    answer_nobody(lab)
    for host in range(20, 30):
        address = f"10.1.0.{host}"
        lab.udp.send(address, HEADER, b"first", src="10.1.0.2")
        assert [message.target_ip for message in lab.tap.arps()] == [address]
        answer_nobody(lab)
        mac = bytes([2, 0, 0, 1, 0, host])
        lab.tap.deliver_arp(Arp(REPLY, mac, address, MAC[1], "10.1.0.2"), dst=MAC[1])
        lab.tap.frames()
        lab.udp.send(address, HEADER, b"second", src="10.1.0.2")
        assert [frame.data[5] for frame in lab.tap.frames()] == [host]


def test_the_gateway_is_asked_for_and_used(lab: IpLab) -> None:
    lab.udp.send("192.0.2.1", HEADER, b"far away", src="10.1.0.2")
    assert [message.target_ip for message in lab.tap.arps()] == ["10.1.0.1"]
    lab.learn(ip="10.1.0.1", driver=1)
    lab.udp.send("198.51.100.1", HEADER, b"farther", src="10.1.0.2")
    assert [packet.dst for packet in lab.tap.packets()] == ["198.51.100.1"]
