"""Fragmentation and reassembly: RFC 791, RFC 815, RFC 5722, RFC 3168 §5.3."""

import itertools
import random
import struct

import pytest

from newtos_py.sim import packets
from newtos_py.sim.ip_lab import CSUM_PARTIAL, ICMP_ERROR, OUR, PEER, IpLab, Limits
from newtos_py.sim.packets import DF, MF, Ipv4

PAYLOAD = bytes(i * 7 % 253 for i in range(4000))
WHOLE = Ipv4(PEER, OUR, packets.UDP, packets.udp(PEER, 7, OUR, 9, PAYLOAD), id=0x77)


def deliver(lab: IpLab, pieces: list[bytes]) -> None:
    for piece in pieces:
        lab.wire.deliver_ip(piece)
        lab.run()


def fragment(start: int, data: bytes, *, more: bool, ident: int = 1, tos: int = 0) -> bytes:
    flags = start // 8 | (MF if more else 0)
    return packets.ipv4(Ipv4(PEER, OUR, packets.UDP, data, ident, flags, tos=tos))


# -- Cutting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1473, 2952, 4000, 20000, 65507])
@pytest.mark.parametrize("split", [None, 700])
def test_a_large_datagram_is_cut(lab: IpLab, size: int, split: int | None) -> None:
    lab.learn()
    payload = random.Random(size).randbytes(size)
    length = 8 + size
    partial = ~packets.checksum(packets.pseudo_header(OUR, PEER, packets.UDP, length)) & 0xFFFF
    header = struct.pack(">HHHH", 7, 9, length, partial)
    lab.udp.send(PEER, header, payload, flags=CSUM_PARTIAL, split=split)
    pieces = lab.wire.packets()
    assert len(pieces) == -(-length // 1480)
    assert len({piece.id for piece in pieces}) == 1
    offsets = [(piece.fragment & 0x1FFF) * 8 for piece in pieces]
    assert offsets == list(range(0, length, 1480))
    assert [bool(piece.fragment & MF) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert b"".join(piece.payload for piece in pieces) == packets.udp(OUR, 7, PEER, 9, payload)


def test_inline_bytes_are_cut_too() -> None:
    lab = IpLab(Limits(mtu=68))
    lab.learn()
    data = bytes(range(100))
    lab.udp.send(PEER, data, bytes(range(100, 200)), split=30)
    pieces = lab.wire.packets()
    assert b"".join(piece.payload for piece in pieces) == bytes(range(200))
    assert all(len(piece.payload) <= 48 for piece in pieces)


def test_what_may_not_be_cut_is_told_so(lab: IpLab) -> None:
    lab.learn()
    lab.udp.send(PEER, struct.pack(">HHHH", 7, 9, 2008, 0), bytes(2000), df=True)
    assert lab.wire.packets() == []
    (error,) = lab.udp.received()
    message = packets.parse_ipv4(lab.udp.payload[0])
    assert error.kind == ICMP_ERROR
    assert message.payload[:2] == bytes([3, 4])
    assert struct.unpack_from(">H", message.payload, 6)[0] == 1500
    quote = message.payload[8:]
    assert struct.unpack_from(">H", quote, 6)[0] == DF
    assert quote[20:24] == struct.pack(">HH", 7, 9)


def test_more_fragments_than_fit_are_refused() -> None:
    lab = IpLab(Limits(mtu=576))
    lab.learn()
    lab.udp.send(PEER, bytes(8), bytes(60000))
    assert lab.wire.packets() == []
    assert lab.counter("too_big") == 1


# -- Putting together ------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::3])
def test_any_order(lab: IpLab, order: tuple[int, ...]) -> None:
    pieces = packets.fragments(WHOLE, 1024)
    deliver(lab, [pieces[i] for i in order])
    (packet,) = lab.udp.packets()
    assert packet == WHOLE
    lab.run()
    assert lab.buffers_free() == (48, 12)
    assert lab.wire.owner.out == 0


@pytest.mark.parametrize("piece", [8, 120, 1480])
def test_large_and_tiny_pieces(lab: IpLab, piece: int) -> None:
    whole = Ipv4(PEER, OUR, packets.UDP, packets.udp(PEER, 7, OUR, 9, PAYLOAD[:3000]), id=3)
    deliver(lab, packets.fragments(whole, piece))
    assert lab.udp.packets() == [whole]


def test_the_largest_datagram(lab: IpLab) -> None:
    whole = Ipv4(PEER, OUR, packets.UDP, packets.udp(PEER, 7, OUR, 9, bytes(65507)), id=3)
    deliver(lab, packets.fragments(whole, 1480))
    (packet,) = lab.udp.packets()
    assert packet == whole


def test_duplicates_are_ignored(lab: IpLab) -> None:
    pieces = packets.fragments(WHOLE, 1024)
    deliver(lab, [pieces[0], pieces[0], pieces[1], pieces[0], pieces[1], pieces[3], pieces[2]])
    assert lab.udp.packets() == [WHOLE]
    assert lab.counter("fragments_overlap") == 0


def test_datagrams_do_not_mix(lab: IpLab) -> None:
    other = Ipv4("10.0.0.4", OUR, packets.UDP, WHOLE.payload[::-1], id=WHOLE.id)
    later = Ipv4(PEER, OUR, packets.UDP, WHOLE.payload[:2000], id=WHOLE.id + 1)
    sets = [packets.fragments(packet, 1024) for packet in (WHOLE, other, later)]
    deliver(lab, [piece for group in itertools.zip_longest(*sets) for piece in group if piece])
    assert sorted(lab.udp.packets(), key=lambda packet: packet.src + str(packet.id)) == sorted(
        [WHOLE, other, later], key=lambda packet: packet.src + str(packet.id)
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 64), (56, 64)), ((64, 64), (56, 16)), ((64, 64), (0, 200)), ((0, 64), (32, 96))],
)
def test_an_overlap_discards_the_datagram(
    lab: IpLab, first: tuple[int, int], second: tuple[int, int]
) -> None:
    deliver(lab, [fragment(start, bytes(size), more=True) for start, size in (first, second)])
    assert lab.counter("fragments_overlap") == 1
    assert lab.buffers_free() == (48, 12)


@pytest.mark.parametrize(
    "pieces",
    [
        [fragment(0, bytes(60), more=True)],  # no multiple of eight
        [fragment(64, b"", more=True)],
        [fragment(65528, bytes(8), more=False)],  # beyond 65535
        [fragment(64, bytes(64), more=True), fragment(8, bytes(48), more=False)],  # ends before
        [fragment(64, bytes(8), more=False), fragment(80, bytes(8), more=True)],  # begins behind
        [fragment(64, bytes(8), more=False), fragment(128, bytes(8), more=False)],  # two ends
    ],
)
def test_nonsense_is_discarded(lab: IpLab, pieces: list[bytes]) -> None:
    deliver(lab, pieces)
    assert lab.counter("fragments_bad") == 1
    assert lab.buffers_free() == (48, 12)
    assert lab.udp.received() == []


def test_too_many_holes_discard(lab: IpLab) -> None:
    deliver(lab, [fragment(i * 16, bytes(8), more=True) for i in range(60)])
    assert lab.counter("fragments_bad") == 1
    # The 49th range was too many; the rest began the datagram anew.
    assert lab.buffers_free() == (48, 11)


def test_memory_is_bounded(lab: IpLab) -> None:
    deliver(lab, [fragment(8, bytes(64), more=True, ident=i) for i in range(1, 40)])
    assert lab.buffers_free() == (48, 12 - 8)
    assert lab.counter("reassembly_evicted") == 39 - 8


def test_what_never_becomes_whole_is_given_up(lab: IpLab) -> None:
    lab.learn()
    pieces = packets.fragments(WHOLE, 1024)
    deliver(lab, pieces[:1])
    lab.run(after_ms=29_000)
    assert lab.buffers_free() == (48, 11)
    lab.run(after_ms=1_100)
    assert lab.counter("reassembly_timeout") == 1
    assert lab.buffers_free() == (48, 12)
    (error,) = lab.wire.packets()
    assert (error.protocol, error.dst, error.payload[:2]) == (packets.ICMP, PEER, bytes([11, 1]))
    assert error.payload[8:][:20][12:16] == packets.v4(PEER)


def test_without_the_first_fragment_nobody_is_told(lab: IpLab) -> None:
    lab.learn()
    deliver(lab, packets.fragments(WHOLE, 1024)[1:])
    lab.run(after_ms=31_000)
    assert lab.counter("reassembly_timeout") == 1
    assert lab.wire.packets() == []


@pytest.mark.parametrize(
    ("seen", "result"),
    [((0, 0), 0), ((2, 2), 2), ((2, 3), 3), ((3, 3), 3), ((1, 3), 3), ((0, 3), None)],
)
def test_congestion_marks_are_kept(lab: IpLab, seen: tuple[int, int], result: int | None) -> None:
    deliver(
        lab,
        [
            fragment(0, bytes(64), more=True, tos=seen[0]),
            fragment(64, bytes(8), more=False, tos=seen[1]),
        ],
    )
    assert [packet.tos & 3 for packet in lab.udp.packets()] == ([] if result is None else [result])
    assert lab.buffers_free() == (48, 12)


def test_a_reassembly_survives_a_restart(lab: IpLab) -> None:
    pieces = packets.fragments(WHOLE, 1024)
    deliver(lab, pieces[:2])
    lab.runner.boot(recovered=True)
    deliver(lab, pieces[2:])
    assert lab.udp.packets() == [WHOLE]
