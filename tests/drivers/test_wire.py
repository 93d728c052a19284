"""Two wire drivers back to back: frames arrive as they were sent, once, and buffers come home."""

import random
from collections.abc import Callable
from typing import Any

from newtos_py.drivers.wire._engine import ffi, lib

# Classes of conftest.py, which is no module that could be imported.
Link = Any
Host = Any

MS = 1_000_000


def frame(number: int, size: int = 60) -> bytes:
    """An Ethernet frame that says its number."""
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(size - 18)


def numbers(frames: list[bytes]) -> list[int]:
    return [int.from_bytes(data[14:18], "big") for data in frames]


def test_counters_have_names_for_each_number(link: Link) -> None:
    assert len(link.a.spec.counters) == lib.NT_WIRE_COUNTERS


def test_a_frame_arrives_as_it_was_sent(link: Link) -> None:
    link.a.send(frame(7))
    link.settle()
    assert link.b.receive() == [frame(7)]
    assert link.a.receive() == []
    assert link.a.count("tx_frames") == link.b.count("rx_frames") == 1
    assert link.a.count("tx_bytes") == link.b.count("rx_bytes") == 60
    link.check_no_buffer_lost()


def test_payload_is_gathered_from_the_programs_memory(link: Link) -> None:
    area = random.Random(1).randbytes(link.a.area.size)
    link.a.area.map[:] = area
    link.a.send(frame(1), (1000, 900), (500_000, 548))
    link.settle()
    assert link.b.receive() == [frame(1) + area[1000:1900] + area[500_000:500_548]]
    link.check_no_buffer_lost()


def test_a_super_segment_travels_whole(link: Link) -> None:
    area = random.Random(2).randbytes(link.a.area.size)
    link.a.area.map[:] = area
    link.a.send(frame(1), (0, 60_000), (70_000, 5_000), flags=1, gso_size=1448, l4_offset=34)
    link.settle()
    (received,) = link.b.take()
    assert received.data == frame(1) + area[:60_000] + area[70_000:75_000]
    assert received.gso_size == 1448
    assert received.l4_offset == 34
    # The sum is partial still; nobody need verify it.
    assert received.flags == 3
    link.b.give_back(received)
    link.check_no_buffer_lost()


def test_both_ways_at_once_in_order(link: Link) -> None:
    for i in range(300):
        link.a.send(frame(i), (0, 3 * i))
        link.b.send(frame(1000 + i))
    seen: list[list[int]] = [[], []]
    for _ in range(100):
        for host, numbers_seen in zip(link.hosts, seen, strict=True):
            host.step()
            numbers_seen.extend(numbers(host.receive()))
    assert seen == [list(range(1000, 1300)), list(range(300))]
    link.check_no_buffer_lost()


def test_frames_wait_for_buffers_and_are_not_lost(link: Link) -> None:
    """More frames than the receiver has buffers: they wait in IP's channel."""
    for i in range(200):
        link.a.send(frame(i))
    link.settle()
    held = link.b.take()
    assert 64 <= len(held) < 100
    seen = [each.data for each in held]
    for each in held:
        link.b.give_back(each)
    for _ in range(10):
        link.settle()
        seen += link.b.receive()
    assert numbers(seen) == list(range(200))
    assert link.a.count("no_grant_drops") == 0
    link.check_no_buffer_lost()


def test_a_silent_peer_costs_frames_after_ten_milliseconds(link: Link) -> None:
    for i in range(200):
        link.a.send(frame(i))
    link.settle()
    passed = len(link.b.take())
    start = link.a.now_ns
    assert link.a.deadline() == start + 10 * MS
    assert not link.a.has_work()
    link.a.now_ns = start + 10 * MS - 1
    assert link.a.step() == 0
    link.a.now_ns = start + 10 * MS
    while link.a.step():
        pass
    assert link.a.count("no_grant_drops") == 200 - passed
    # From now on nobody waits, until the peer is heard of again.
    link.a.send(frame(200))
    assert link.a.has_work()
    link.a.step()
    assert link.a.count("no_grant_drops") == 201 - passed


def test_a_silent_peer_that_comes_back_is_served(link: Link) -> None:
    for i in range(200):
        link.a.send(frame(i))
    link.settle()
    held = link.b.take()
    for host in link.hosts:
        host.now_ns += 10 * MS
    link.settle()
    for each in held:
        link.b.give_back(each)
    link.settle()
    link.a.send(frame(500))
    link.settle()
    assert numbers(link.b.receive()) == [500]
    link.check_no_buffer_lost()


def test_a_bad_reference_costs_only_its_frame(link: Link) -> None:
    link.a.send(frame(1))
    link.a.send(frame(2), (link.a.area.size - 10, 11))
    link.a.send(frame(3), (2**64 - 1, 100))
    link.a.send(frame(4), (0, 2**32 - 1))
    link.a.send(frame(5))
    link.settle()
    assert numbers(link.b.receive()) == [1, 5]
    assert link.a.count("bad_references") == 2
    assert link.a.count("bad_descriptors") == 1
    link.check_no_buffer_lost()


def test_bad_descriptors_from_ip_are_counted(link: Link) -> None:
    link.a.send(frame(1), check=1)
    link.a.send(frame(2), kind=200)
    link.a.send(frame(3), inline_len=137)
    link.a.send(frame(4), ref_count=3)
    link.a.send(b"short")
    link.a.fence(16, 1)
    link.a.send(frame(5))
    link.settle()
    assert numbers(link.b.receive()) == [5]
    assert link.a.count("bad_descriptors") == 6
    link.check_no_buffer_lost()


def test_stale_returns_are_counted_and_ignored(link: Link) -> None:
    link.a.send(frame(1))
    link.settle()
    (received,) = link.b.take()
    link.b.give_back(received, use=received.use + 2)
    link.b.give_back(received, buffer=5000)
    link.b.give_back(received, region=1)
    link.b.give_back(received, by="udp")
    link.b.give_back(received, by="ip")
    # A buffer that is lent to the peer can't be given back by anyone here.
    link.b.give_back(received, buffer=(received.buffer + 1) % 64, use=1)
    link.settle()
    assert link.b.count("stale_returns") == 5
    link.check_no_buffer_lost()


def test_fences_are_published_in_order_with_what_stood_before_them(link: Link) -> None:
    link.a.send(frame(1))
    link.a.fence(0, 5)
    link.a.fence(8, 9)
    link.a.fence(0, 4)
    assert link.a.fence_seen(0) == 0
    link.settle()
    assert (link.a.fence_seen(0), link.a.fence_seen(8), link.a.fence_seen(1)) == (5, 9, 0)
    assert link.a.count("fences") == 3


def test_a_fence_waits_behind_a_frame_that_waits(link: Link) -> None:
    for i in range(100):
        link.a.send(frame(i))
    link.a.fence(0, 1)
    link.settle()
    assert link.a.fence_seen(0) == 0
    for _ in range(5):
        link.b.receive()
        link.settle()
    assert link.a.fence_seen(0) == 1


IP_BELL, PEER_BELL = 0, 1


def test_frames_ring_who_gets_them_and_nobody_else(make_link: Callable[..., Link]) -> None:
    link = make_link(small=448, large=64)
    link.settle()
    for host in link.hosts:
        host.take_rung()
    link.a.send(frame(1))
    link.a.step()
    assert link.a.take_rung() == {PEER_BELL}
    link.b.step()
    assert link.b.take_rung() == {IP_BELL}
    # The buffer comes home and is lent again: the peer has plenty, and is left alone.
    link.b.receive()
    link.b.step()
    assert link.b.take_rung() == set()


def test_a_peer_that_may_be_short_of_buffers_is_rung(link: Link) -> None:
    for i in range(100):
        link.a.send(frame(i))
    link.settle()
    link.b.take_rung()
    link.b.receive()
    link.b.step()
    assert link.b.take_rung() == {PEER_BELL}


def test_a_peer_that_waits_for_large_buffers_is_rung(make_link: Callable[..., Link]) -> None:
    """Many come home at once, so that there are plenty in the moment they are lent."""
    link = make_link(small=448, large=64)
    for i in range(70):
        link.a.send(frame(i), (0, 4000))
    link.settle()
    assert not link.a.has_work()
    held = link.b.take()
    assert len(held) == 64
    link.b.take_rung()
    for i, each in enumerate(held[:48]):
        link.b.give_back(each, by=("ip", "tcp0", "udp")[i % 3])
    link.b.step()
    assert link.b.take_rung() == {PEER_BELL}
    link.settle()
    assert numbers(link.b.receive()) == list(range(64, 70))


def test_ip_is_rung_when_its_channel_was_nearly_full(link: Link) -> None:
    link.settle()
    for i in range(1000):
        link.a.send(frame(i))
    link.a.take_rung()
    link.a.step()
    assert link.a.take_rung() == {IP_BELL, PEER_BELL}
    link.a.step()
    for _ in range(100):
        link.settle()
        link.b.receive()
    link.a.take_rung()
    link.a.send(frame(1))
    link.a.step()
    assert link.a.take_rung() == {PEER_BELL}


class Liar:
    """The sending end of a wire, played by a test that does not keep to the rules."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.frames = ffi.new("struct nt_producer *")
        region = link.frames[0]
        assert lib.nt_producer_open(self.frames, region.base, region.size, 192) == 0
        grants = ffi.new("struct nt_consumer *")
        region = link.grants[1]
        assert lib.nt_consumer_open(grants, region.base, region.size, 8) == 0
        grant = ffi.new("struct nt_return *")
        self.granted = []
        while lib.nt_consumer_pop(grants, grant):
            self.granted.append((grant.buffer, grant.use))

    def send(self, buffer: int, use: int, size: int = 60, at: int = 50, **changes: int) -> None:
        desc = ffi.new("struct nt_desc *")
        desc.kind = desc.ref_count = 1
        desc.check = ((self.frames.page.tail * 2654435761) & 0xFFFFFFFF) ^ 0x6E746F73
        desc.ref[0].offset = lib.nt_pool_offset(self.link.b.view, buffer) + at
        desc.ref[0].len = size
        desc.ref[0].use = use
        for name, value in changes.items():
            setattr(desc.ref[0] if name == "offset" else desc, name, value)
        assert lib.nt_producer_push(self.frames, desc)


def test_what_a_lying_peer_sends_is_counted_and_harms_nobody(link: Link) -> None:
    link.b.step()
    liar = Liar(link)
    (first, first_use), (second, second_use), (third, third_use) = liar.granted[:3]
    liar.send(first, first_use)
    liar.send(first, first_use)  # twice the same buffer
    liar.send(second, second_use + 2)  # not lent with that count
    liar.send(second, second_use, size=2000)  # beyond the buffer's end
    liar.send(second, second_use, offset=2**64 - 8)
    liar.send(second, second_use, offset=0)  # the pool's header
    liar.send(second, second_use, kind=2)
    liar.send(second, second_use, ref_count=2)
    liar.send(second, second_use, check=0)
    assert link.b.step()
    assert link.b.count("bad_peer_descriptors") == 8
    # These name a buffer that is rightly out, so it comes home.
    liar.send(second, second_use, size=13)
    liar.send(third, third_use, l4_offset=60)
    link.b.step()
    assert link.b.count("bad_peer_descriptors") == 10
    assert len(link.b.take()) == 1
    states = [state for _, state in buffer_states(link.b)]
    assert states.count(1) == 1
    assert states.count(2) == len(states) - 1


def buffer_states(host: Host) -> list[tuple[int, int]]:
    header = ffi.cast("struct nt_arena_header *", host.arena.base)
    state = ffi.cast("struct nt_uplink_state *", host.arena.base + header.body_offset)
    count = host.view.small_count + host.view.large_count
    return [(state.record[i].use, state.record[i].state) for i in range(count)]


def test_grants_for_buffers_that_do_not_exist_are_counted(link: Link) -> None:
    lender = ffi.new("struct nt_producer *")
    region = link.grants[1]
    assert lib.nt_producer_open(lender, region.base, region.size, 8) == 0
    for buffer, use in ((5000, 1), (80, 1), (3, 2)):
        grant = ffi.new("struct nt_return *", {"buffer": buffer, "use": use})
        assert lib.nt_producer_push(lender, grant)
    link.a.step()
    assert link.a.count("bad_grants") == 3


def test_both_ends_start_again_without_losing_anything(link: Link) -> None:
    for i in range(40):
        link.a.send(frame(i))
    seen = []
    for round_number in range(60):
        link.a.step()
        link.reboot(0)
        link.b.step()
        if round_number % 3 == 0:
            link.reboot(1)
        seen += link.b.receive()
    assert numbers(seen) == list(range(40))
    link.check_no_buffer_lost()


def test_an_end_without_its_arena_is_lent_buffers_anew(link: Link) -> None:
    link.settle()
    link.a.send(frame(1))
    link.settle()
    link.a.arena.map[:] = bytes(link.a.arena.size)
    link.reboot(0)
    assert numbers(link.b.receive()) == [1]
    link.settle()
    assert link.b.count("peer_cold_starts") == 1
    for i in range(100):
        link.a.send(frame(i))
        link.b.send(frame(i))
        link.settle()
        assert numbers(link.b.receive()) == [i]
        assert numbers(link.a.receive()) == [i]
    link.check_no_buffer_lost()
