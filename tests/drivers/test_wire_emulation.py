"""What a wire does to frames: in virtual time, from a seed, the same every time."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from newtos_py.kernel.server import Emulation

# Classes of conftest.py, which is no module that could be imported.
Link = Any
FrameType = Any
Parse = Callable[..., Any]

MS = 1_000_000
PERCENT = 10_000_000  # in parts per 1e9
FRAMES = 4000


def emulation(**changes: int) -> Emulation:
    fields = dict.fromkeys(Emulation.__slots__, 0)
    fields["seed"] = 42
    return Emulation(**{**fields, **changes})


def frame(number: int, size: int = 60) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(size - 18)


def number(data: bytes) -> int:
    return int.from_bytes(data[14:18], "big")


def run(link: Link, frames: int = FRAMES, spacing_ns: int = 10_000) -> list[tuple[int, int]]:
    """Send frames a to b, one every `spacing_ns`; (time of arrival, number) of each that came."""
    arrived = []
    for i in range(frames):
        link.a.send(frame(i))
        link.pass_time(link.a.now_ns + spacing_ns)
        arrived += [(link.b.now_ns, number(data)) for data in link.b.receive()]
    for _ in range(20):
        link.pass_time(link.a.now_ns + 10 * MS)
        arrived += [(link.b.now_ns, number(data)) for data in link.b.receive()]
    return arrived


def near(seen: int, chance: float, of: int) -> bool:
    """Within four standard deviations of a binomial distribution."""
    return abs(seen - of * chance) < 4 * (of * chance * (1 - chance)) ** 0.5


def test_loss(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(loss_ppb=10 * PERCENT))
    arrived = [n for _, n in run(link)]
    assert arrived == sorted(set(arrived))
    lost = link.b.count("emulated_losses")
    assert len(arrived) + lost == FRAMES
    assert near(lost, 0.1, FRAMES)
    link.check_no_buffer_lost()


def test_duplicates(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(duplicate_ppb=5 * PERCENT))
    arrived = [n for _, n in run(link)]
    twice = link.b.count("emulated_duplicates")
    assert sorted(set(arrived)) == list(range(FRAMES))
    assert len(arrived) == FRAMES + twice
    assert near(twice, 0.05, FRAMES)
    # Duplicates stand beside each other, and in order.
    assert arrived == sorted(arrived)
    link.check_no_buffer_lost()


def test_reordering(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(reorder_ppb=3 * PERCENT))
    arrived = run(link)
    order = [n for _, n in arrived]
    assert sorted(order) == list(range(FRAMES))
    late = {n for at, n in arrived if at > (n + 2) * 10_000}
    assert len(late) == link.b.count("emulated_reorders")
    assert near(len(late), 0.03, FRAMES)
    assert [n for n in order if n not in late] == sorted(set(order) - late)
    # Held back for a millisecond: a hundred frames at this pace.
    positions = [order.index(n) - n for n in sorted(late)[:20]]
    assert all(80 <= moved <= 110 for moved in positions)
    link.check_no_buffer_lost()


def test_latency_is_exact_and_keeps_order(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(latency_ns=5 * MS))
    sent_at = link.a.now_ns
    for i in range(10):
        link.a.send(frame(i))
    link.pass_time(sent_at + 5 * MS - 1)
    assert link.b.receive() == []
    link.pass_time(sent_at + 5 * MS)
    assert [number(data) for data in link.b.receive()] == list(range(10))
    link.check_no_buffer_lost()


def test_rate_spaces_frames(make_link: Callable[..., Link]) -> None:
    """1000 bytes take a millisecond at 8 Mbit/s."""
    link = make_link(emulation(rate_bits=8_000_000, latency_ns=2 * MS))
    start = link.a.now_ns
    for i in range(5):
        link.a.send(frame(i), (0, 940))
    arrivals = []
    for _ in range(100):
        link.pass_time(link.a.now_ns + MS // 10)
        arrivals += [link.b.now_ns - start for _ in link.b.receive()]
    assert arrivals == [3 * MS, 4 * MS, 5 * MS, 6 * MS, 7 * MS]


def test_a_full_queue_drops_at_its_tail(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(rate_bits=8_000_000), small=448, large=64)
    for i in range(400):
        link.a.send(frame(i), (0, 1440))
    seen = []
    for _ in range(700):
        link.pass_time(link.a.now_ns + MS)
        seen += [number(data) for data in link.b.receive()]
    dropped = link.b.count("emulated_queue_drops")
    # 256 KiB of queue hold about 175 frames of 1500 bytes; nobody was made to wait for room.
    assert seen == list(range(len(seen)))
    assert 170 <= len(seen) <= 180
    assert dropped == 400 - len(seen)
    link.check_no_buffer_lost()


def test_a_crowded_pool_drops_instead_of_stopping_the_peer(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(latency_ns=1000 * MS))
    for i in range(200):
        link.a.send(frame(i))
    link.settle()
    assert link.a.count("tx_frames") == 200
    assert link.b.count("emulated_queue_drops") == 200 - 49
    link.pass_time(2000 * MS)
    assert [number(data) for data in link.b.receive()] == list(range(49))
    link.check_no_buffer_lost()


def test_corruption_is_always_noticed(
    make_link: Callable[..., Link], tcp_frame: FrameType, parse: Parse
) -> None:
    link = make_link(emulation(corrupt_ppb=20 * PERCENT))
    payload = random.Random(5).randbytes(1200)
    link.a.area.map[: len(payload)] = payload
    wrong = 0
    for i in range(1000):
        link.a.send(tcp_frame(1200, seq=i).header(), (0, 1200), flags=1, l4_offset=34)
        link.settle()
        (received,) = link.b.take()
        link.b.give_back(received)
        assert received.flags == 0
        try:
            segment = parse(received.data)
        except IndexError:
            wrong += 1
            continue
        right = segment.ip_sum_right and segment.tcp_sum_right
        sent = tcp_frame(1200, seq=i).header()
        intact = received.data[54:] == sent[54:] + payload
        assert intact or not right
        wrong += not right
    corrupted = link.b.count("emulated_corruptions")
    assert near(corrupted, 0.2, 1000)
    # One in 256 writes the value that was there.
    assert corrupted - 5 <= wrong <= corrupted
    link.check_no_buffer_lost()


def test_corrupted_arp_is_lost(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(corrupt_ppb=100 * PERCENT))
    arp = b"\xff" * 6 + b"\x02" * 6 + b"\x08\x06" + bytes(46)
    link.a.send(arp)
    link.settle()
    assert link.b.receive() == []
    link.check_no_buffer_lost()


@pytest.mark.parametrize("payload_bytes", [1, 1448, 1449, 60_000, 65_415])
@pytest.mark.parametrize("corrupt_ppb", [0, 1])
def test_super_segments_are_cut_where_fate_strikes_segments(
    make_link: Callable[..., Link],
    tcp_frame: FrameType,
    parse: Parse,
    payload_bytes: int,
    corrupt_ppb: int,
) -> None:
    """Every segment's headers are right; flags that belong to one end of the data stay there."""
    link = make_link(emulation(reorder_ppb=1, corrupt_ppb=corrupt_ppb), small=128)
    payload = random.Random(6).randbytes(payload_bytes)
    link.a.area.map[:payload_bytes] = payload
    first = payload_bytes // 3
    pieces = [(0, first), (first, payload_bytes - first)]
    fin_psh_cwr = 0x99
    head = tcp_frame(payload_bytes, seq=2**32 - 1000, flags=fin_psh_cwr, ident=65_530).header()
    link.a.send(head, *pieces, flags=1, gso_size=1448, l4_offset=34)
    link.settle()
    frames = link.b.take()
    assert len(frames) == -(-payload_bytes // 1448)
    partial = corrupt_ppb == 0
    segments = [parse(each.data, partial=partial) for each in frames]
    assert b"".join(each.payload for each in segments) == payload
    for i, (each, raw) in enumerate(zip(segments, frames, strict=True)):
        last = i == len(segments) - 1
        assert each.ip_sum_right
        assert each.tcp_sum_right
        assert each.seq == (2**32 - 1000 + i * 1448) % 2**32
        assert each.ident == (65_530 + i) % 2**16
        assert each.flags == 0x10 | (0x80 if i == 0 else 0) | (0x09 if last else 0)
        assert raw.gso_size == 0
        assert raw.flags == (3 if partial else 0)
        link.b.give_back(raw)
    assert link.a.count("segmented_supers") == 1
    link.check_no_buffer_lost()


EVERYTHING = {
    "latency_ns": MS,
    "rate_bits": 1_000_000_000,
    "loss_ppb": 5 * PERCENT,
    "reorder_ppb": 5 * PERCENT,
    "duplicate_ppb": 5 * PERCENT,
    "corrupt_ppb": 5 * PERCENT,
}


def test_a_seed_replays_and_another_does_not(make_link: Callable[..., Link]) -> None:
    first = run(make_link(emulation(**EVERYTHING)), 500)
    again = run(make_link(emulation(**EVERYTHING)), 500)
    other = run(make_link(emulation(**{**EVERYTHING, "seed": 43})), 500)
    assert first == again
    assert first != other


def test_the_two_directions_have_fates_of_their_own(make_link: Callable[..., Link]) -> None:
    link = make_link(emulation(loss_ppb=50 * PERCENT))
    for i in range(40):
        link.a.send(frame(i))
        link.b.send(frame(i))
    link.settle()
    assert [number(data) for data in link.a.receive()] != [
        number(data) for data in link.b.receive()
    ]


@pytest.mark.parametrize("loser", [0, 1])
def test_what_was_lent_before_an_arena_was_lost_is_never_filled(
    make_link: Callable[..., Link], loser: int
) -> None:
    """More of it waits in the channel than the other end takes in a step."""
    link = make_link(emulation(duplicate_ppb=500_000_000), small=200, large=8)
    link.settle()
    for i in range(190):
        link.b.send(frame(i))
    for _ in range(12):
        link.b.step()
    for _ in range(20):
        link.a.step()
        link.a.receive()
    link.hosts[loser].arena.map[:] = bytes(link.a.arena.size)
    link.reboot(loser)
    link.settle()
    link.a.receive()
    link.check_no_buffer_lost()
