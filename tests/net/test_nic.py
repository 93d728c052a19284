"""A card's receive queues, as each driver has them (net/nic.h), and Twenty-Policy's table."""

import random
import struct
from collections import Counter
from typing import Any

import pytest

from newtos_py.net import netconf
from newtos_py.net._net import ffi, lib
from newtos_py.sim import packets
from newtos_py.sim.packets import Ipv4

OUR, PEER = "10.0.0.2", "10.0.0.3"
MAC = bytes(6)
LANES = 4
TCP, FRAME = 6, 1


class Nic:
    """A card of a host with four lanes."""

    def __init__(self, kind: str, key: bytes = bytes(range(7, 47)), lanes: int = LANES) -> None:
        config = ffi.new("struct nt_steering_config *")
        config.kind, config.lanes, config.key = netconf.STEERINGS.index(kind), lanes, key
        self.raw: Any = ffi.new("struct nt_nic *")
        lib.nt_nic_init(self.raw, config, ffi.NULL)

    def receive(self, frame: bytes) -> tuple[int, int]:
        # Exactly as long as it is, so that a sanitizer sees who looks behind its end.
        memory = ffi.new("uint8_t[]", frame)
        choice = lib.nt_nic_receive(self.raw, memory, len(frame))
        return choice.hash, choice.queue

    def queue(self, src_port: int, dst_port: int) -> int:
        _, queue = self.receive(segment(PEER, src_port, OUR, dst_port))
        return queue - 1

    def home(self, src_port: int, dst_port: int) -> int:
        """The lane of the connection, as IP finds it."""
        ends = [ffi.from_buffer(bytes(10) + b"\xff\xff" + bytes([10, 0, 0, n])) for n in (3, 2)]
        flow = ffi.new("struct nt_flow *", (*ends, src_port, dst_port))
        return lib.nt_steering_lane(ffi.addressof(self.raw.steering), flow)

    def send(self, lane: int, src_port: int, dst_port: int, count: int = 1) -> None:
        frame = segment(OUR, src_port, PEER, dst_port)
        desc = ffi.new("struct nt_desc *")
        desc.kind, desc.inline_len, desc.tag = FRAME, len(frame), lane + 1
        ffi.memmove(desc.data, frame, len(frame))
        for _ in range(count):
            lib.nt_nic_sent(self.raw, desc)


def segment(src: str, src_port: int, dst: str, dst_port: int) -> bytes:
    tcp = struct.pack(">HHIIHHHH", src_port, dst_port, 1, 2, 0x5010, 0xFFFF, 0, 0)
    ip = packets.ipv4(Ipv4(src, dst, TCP, tcp))
    return packets.ethernet(MAC, MAC, packets.ETHERTYPE_IPV4, ip)


@pytest.mark.parametrize("kind", netconf.STEERINGS)
def test_segments_spread_over_all_queues(kind: str) -> None:
    nic = Nic(kind)
    load = Counter(nic.queue(port, 80) for port in range(20000, 24000))
    assert sorted(load) == list(range(LANES))
    assert min(load.values()) > 600


@pytest.mark.parametrize("kind", ["rss", "flow-groups", "rfd"])
def test_the_card_puts_segments_where_their_connection_is(kind: str) -> None:
    nic = Nic(kind)
    for port in range(40000, 40200):
        assert nic.queue(port, 80) == nic.home(port, 80)
        assert nic.queue(80, port) == nic.home(80, port)


def test_twenty_policy_begins_as_rss() -> None:
    twenty, rss = Nic("twenty-policy"), Nic("rss")
    right = 0
    for port in range(40000, 40400):
        assert twenty.queue(80, port) == rss.queue(80, port)
        right += twenty.queue(80, port) == twenty.home(80, port)
    assert right < 200, "one in four active connections is where the hash leads"


def test_every_twentieth_packet_teaches_the_card() -> None:
    nic = Nic("twenty-policy")
    port = next(p for p in range(40000, 41000) if nic.queue(80, p) != nic.home(80, p))
    lane = nic.home(80, port)
    nic.send(lane, port, 80, 19)
    assert nic.queue(80, port) != lane
    nic.send((lane + 1) % LANES, 50000, 80, 19)
    assert nic.queue(80, port) != lane, "another lane's packets are counted apart"
    nic.send(lane, port, 80)
    assert nic.queue(80, port) == lane
    assert nic.raw.twenty.updates == 1


def test_what_no_lane_sends_teaches_nothing() -> None:
    nic = Nic("twenty-policy")
    for lane in (-1, LANES, 8):
        nic.send(lane, 40000, 80, 40)
    rss = Nic("rss")
    rss.send(1, 40000, 80, 40)
    assert nic.raw.twenty.updates == rss.raw.twenty.updates == 0


def test_a_table_that_overflows_is_flushed() -> None:
    table: Any = ffi.new("struct nt_twenty *")
    hashes = random.Random(1)
    known = []
    while table.flushes == 0:
        assert len(known) <= lib.NT_TWENTY_FLOWS
        known.append(hashes.randrange(1, 2**32))
        lib.nt_twenty_learn(table, known[-1], 1)
    assert len(known) > lib.NT_TWENTY_FLOWS // 4, "not while most of it is free"
    assert table.used == 1
    assert lib.nt_twenty_find(table, known[-1]) == 1
    assert all(lib.nt_twenty_find(table, old) == lib.NT_TWENTY_QUEUES for old in known[:-1])


def test_a_flow_that_moves_is_learned_anew() -> None:
    table: Any = ffi.new("struct nt_twenty *")
    lib.nt_twenty_learn(table, 77, 1)
    lib.nt_twenty_learn(table, 77, 3)
    assert lib.nt_twenty_find(table, 77) == 3
    assert table.used == 1


def test_other_frames_have_no_queue() -> None:
    nic = Nic("rss")
    whole = segment(PEER, 80, OUR, 40000)
    assert nic.receive(whole)[1] != 0
    udp = packets.ipv4(Ipv4(PEER, OUR, 17, bytes(20)))
    arp = packets.ethernet(MAC, MAC, packets.ETHERTYPE_ARP, bytes(40))
    fragment = bytearray(whole)
    fragment[14 + 6] |= 0x20
    for frame in (packets.ethernet(MAC, MAC, packets.ETHERTYPE_IPV4, udp), arp, bytes(fragment)):
        assert nic.receive(frame) == (0, 0)
    for cut in range(14 + 20 + 4):
        assert nic.receive(whole[:cut]) == (0, 0)


@pytest.mark.parametrize("kind", netconf.STEERINGS)
def test_frames_of_an_attacker_stay_within_the_queues(kind: str) -> None:
    random_ = random.Random(kind)
    nic = Nic(kind, lanes=3)
    for _ in range(2000):
        frame = bytearray(segment(PEER, 80, OUR, 40000))
        for _ in range(random_.randrange(6)):
            frame[random_.randrange(12, len(frame))] = random_.randrange(256)
        _, queue = nic.receive(bytes(frame[: random_.randrange(len(frame) + 1)]))
        assert 0 <= queue <= 3


def test_whoever_does_not_know_the_key_cannot_aim() -> None:
    """Ports that lead to one queue with one key spread with another, drawn at the next boot."""
    for kind in ("rss", "rfd"):
        known = Nic(kind, bytes(range(40)))
        aimed = [port for port in range(32768, 60999) if known.queue(port, 80) == 0][:2000]
        other = Nic(kind, random.Random(5).randbytes(40))
        load = Counter(other.queue(port, 80) for port in aimed)
        assert max(load.values()) < 800, load
