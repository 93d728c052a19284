"""Killed at every crash point of a step, IP loses nothing and repeats nothing.

Each scenario is played once undisturbed; then again for every crash point of the step that handles
it, with a death there and a new generation that goes on. What came out must be the same.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from newtos_py.sim import packets
from newtos_py.sim.ip_lab import CSUM_PARTIAL, MAC, OUR, PEER, PEER_MAC, IpLab
from newtos_py.sim.packets import Arp, Ipv4

TCP_HEADER = bytes.fromhex("10002000000000010000000250 10ffff00000000".replace(" ", ""))
UDP_HEADER = bytes.fromhex("1000200000000000")


@dataclass(frozen=True)
class Outcome:
    """All that neighbours saw."""

    wire: list[bytes]
    tap: list[bytes]
    tcp: list[tuple[int, bytes]]
    udp: list[tuple[int, bytes]]
    fences: list[tuple[int, int, int]]  # a new generation may send one again: it says the same
    buffers_free: tuple[int, int]
    not_returned: int


def outcome(lab: IpLab) -> Outcome:
    wire = [lab.gather(desc) for desc in lab.wire.frames()]
    tap = [lab.gather(desc) for desc in lab.tap.frames()]
    tcp = lab.tcp.received()
    udp = lab.udp.received()
    lab.run(after_ms=20)
    return Outcome(
        wire, tap,
        [(desc.kind, data) for desc, data in zip(tcp, lab.tcp.payload, strict=True)],
        [(desc.kind, data) for desc, data in zip(udp, lab.udp.payload, strict=True)],
        sorted(set(lab.fences)), lab.buffers_free(), lab.wire.owner.out + lab.tap.owner.out,
    )  # fmt: skip


def known(lab: IpLab) -> None:
    lab.learn()
    lab.learn(driver=1, ip="10.1.0.1")


def sends(lab: IpLab) -> None:
    known(lab)
    lab.tcp.send(PEER, TCP_HEADER, b"x" * 3000, protocol=6, df=True, flags=1, gso_size=1448)
    lab.tcp.fence(3)
    lab.udp.send(PEER, UDP_HEADER, bytes(range(200)) * 20, flags=0, split=999)
    lab.udp.send("198.51.100.1", UDP_HEADER, b"by the gateway", src="10.1.0.2")
    lab.udp.send("fe80::1", UDP_HEADER, b"no route")
    lab.udp.fence(4)


def loops(lab: IpLab) -> None:
    for number in range(4):
        lab.udp.send(OUR, UDP_HEADER, b"%d" % number, src=OUR)
    lab.tcp.send("127.0.0.1", TCP_HEADER, b"y" * 30000, src="127.0.0.1", protocol=6, gso_size=1448)


def receives(lab: IpLab) -> None:
    known(lab)
    for number in range(3):
        datagram = packets.udp(PEER, 1, OUR, number, b"data")
        lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.UDP, datagram)))
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, TCP_HEADER)), flags=2)
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, 132, bytes(60))))
    lab.wire.deliver_ip(b"\x45" + bytes(50))
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, 1, packets.icmp(8, 0, 1, bytes(56)))))
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, 1, packets.icmp(8, 0, 2, bytes(1200)))))


def reassembles(lab: IpLab) -> None:
    known(lab)
    ping = Ipv4(PEER, OUR, packets.ICMP, packets.icmp(8, 0, 3, bytes(4000)), id=5)
    for piece in packets.fragments(ping, 1480):
        lab.wire.deliver_ip(piece)
    whole = Ipv4(PEER, OUR, packets.UDP, packets.udp(PEER, 1, OUR, 2, bytes(3000)), id=6)
    pieces = packets.fragments(whole, 1024)
    for piece in (pieces[2], pieces[0], pieces[0], pieces[1]):
        lab.wire.deliver_ip(piece)
    lab.wire.deliver_ip(packets.fragments(Ipv4(PEER, OUR, 17, bytes(3000), id=7), 1024)[0])


def resolves(lab: IpLab) -> None:
    """Packets that wait, the answer they wait for, and a neighbour that asks."""
    for number in range(3):
        lab.udp.send(PEER, UDP_HEADER, b"waits %d" % number)
    lab.tcp.send(PEER, TCP_HEADER, b"z" * 5000, protocol=6, flags=CSUM_PARTIAL, gso_size=1448)
    lab.run()
    lab.wire.deliver_arp(Arp(2, PEER_MAC, PEER, MAC[0], OUR), dst=MAC[0])
    lab.wire.deliver_arp(Arp(1, PEER_MAC, PEER, bytes(6), "10.0.0.9"))
    lab.udp.send("10.0.0.77", UDP_HEADER, b"asks")


SCENARIOS = [sends, loops, receives, reassembles, resolves]


def prepared(scenario: Callable[[IpLab], None]) -> IpLab:
    lab = IpLab()
    for driver in lab.drivers:
        driver.frames()
    scenario(lab)
    return lab


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_death_at_any_point_changes_nothing(scenario: Callable[[IpLab], None]) -> None:
    expected = outcome(prepared(scenario))
    assert expected.not_returned == 0
    point = 0
    while True:
        point += 1
        lab = prepared(scenario)
        if not lab.runner.die_at(point):
            break
        assert outcome(lab) == expected, f"died at crash point {point}"
    assert point > 20


@pytest.mark.parametrize("seed", range(12))
def test_dying_again_and_again_changes_nothing(seed: int) -> None:
    def everything(lab: IpLab) -> None:
        for scenario in (resolves, sends, receives, loops, reassembles):
            scenario(lab)

    expected = outcome(prepared(everything))
    chance = random.Random(seed)
    lab = prepared(everything)
    for _ in range(12):
        lab.runner.die_at(chance.randrange(1, 60), budget=chance.randrange(1, 17))
    assert outcome(lab) == expected


def test_an_arena_of_somebody_else_is_refused(lab: IpLab) -> None:
    lab.world.write(lab.arena, 12, b"\1\2\3\4")
    with pytest.raises(Exception, match="the arena is not the IP server's"):
        lab.runner.boot(recovered=True)


def test_after_a_cold_start_everything_is_free_and_old_returns_are_stale(lab: IpLab) -> None:
    lab.udp.send(OUR, UDP_HEADER, b"held", src=OUR)
    (held,) = lab.udp.received(keep=True)
    lab.world.write(lab.arena, 0, bytes(lab.arena.bytes))
    lab.runner.boot()
    assert lab.buffers_free() == (48, 12)
    lab.udp.give_back(held)
    lab.udp.send(OUR, UDP_HEADER, b"new life", src=OUR)
    assert [packet.payload[8:] for packet in lab.udp.packets()] == [b"new life"]
    lab.run()
    assert lab.counter("stale_returns") == 1
