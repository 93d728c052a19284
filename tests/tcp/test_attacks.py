"""Blind attacks and old duplicates: RFC 5961, RFC 7323 PAWS, RFC 5927."""

import socket
import struct

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim import packets
from newtos_py.sim.tcp_dialogue import ACK, OURS, RST, SYN, THEIRS, Dialogue, Peer, lib

MSS = 1448


def connected(d: Dialogue, **settings: object) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(5000, to=80, **settings)
    peer.shake_hands()
    sock, _ = listener.accept()
    return sock, peer


def alive(sock: Socket, peer: Peer) -> bool:
    peer.send(ACK, b"?")
    return sock.recv(10) == b"?"


def test_a_reset_must_hit_exactly(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(RST, seq=100)  # in the window
    peer.expect(ACK, seq=1, ack=1)  # challenge
    peer.send(RST, seq=-5)
    peer.send(RST, seq=20_000)
    peer.expect_nothing()
    assert alive(sock, peer)
    peer.send(RST)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_syn_is_challenged(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(SYN, seq=50)
    peer.expect(ACK, seq=1, ack=1)
    peer.send(SYN, seq=0)  # the old one again
    peer.expect(ACK, seq=1, ack=1)
    assert alive(sock, peer)


def test_acks_of_what_was_never_sent(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"evil", ack=1000, seq=1)
    peer.expect(ACK, ack=1)
    peer.send(ACK, b"evil", ack=-100_000_000, seq=1)
    peer.expect(ACK, ack=1)
    assert alive(sock, peer)


def test_data_beyond_the_window(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.send(ACK, b"x" * 100, seq=16385)
    peer.expect(ACK, ack=1)
    peer.send(ACK, b"y" * 100, seq=16335)  # half of it
    peer.expect(ACK, ack=1)
    assert alive(sock, peer)


def test_old_timestamps(d: Dialogue) -> None:
    sock, peer = connected(d)
    peer.ts_value += 100
    peer.send(ACK, b"new")
    d.after(ms=2)
    peer.expect(ACK, ack=4)
    peer.send(ACK, b"old", ts=peer.ts_value - 50)
    peer.expect(ACK, ack=4)
    peer.seq -= 3
    assert sock.recv(10) == b"new"
    assert d.counted("paws_drops", 1)
    assert alive(sock, peer)


def test_timestamps_are_echoed(d: Dialogue) -> None:
    _, peer = connected(d)
    peer.ts_value = 2000
    peer.send(ACK, b"a")
    peer.ts_value = 2005
    peer.send(ACK, b"b")
    d.after(ms=2)
    said = peer.expect(ACK, ack=3)
    assert said.timestamps is not None
    assert said.timestamps[1] == 2000  # the earliest not acknowledged (RFC 7323 §4.3)


def icmp_error(d: Dialogue, peer: Peer, code: int, seq: int, mtu: int = 0) -> None:
    header = struct.pack(">HHI", 80, peer.port, (peer.their_isn + seq) & 0xFFFFFFFF)
    quoted = packets.ipv4(packets.Ipv4(OURS, THEIRS, packets.TCP, header))
    message = packets.icmp(3, code, mtu, quoted)
    packet = packets.ipv4(packets.Ipv4("10.0.0.9", OURS, packets.ICMP, message))
    d.deliver(packet, kind=lib.NT_DESC_ICMP)


def test_path_mtu(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"x" * MSS)
    peer.expect(ACK | 8, MSS)
    icmp_error(d, peer, 4, seq=9999, mtu=1000)  # not in flight
    peer.expect_nothing()
    icmp_error(d, peer, 4, seq=1, mtu=1000)
    peer.expect(ACK, 1000 - 52, seq=1)
    peer.expect(ACK | 8, MSS - 1000 + 52)
    icmp_error(d, peer, 4, seq=1, mtu=68)  # below the floor
    peer.expect(ACK, 552 - 52, seq=1)


def test_unreachable_is_soft_once_connected(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"x")
    peer.expect(ACK | 8, b"x")
    icmp_error(d, peer, 3, seq=1)
    peer.send(ACK)
    assert alive(sock, peer)


def test_unreachable_ends_an_attempt(d: Dialogue) -> None:
    sock = d.socket()
    d.connect(sock, 81)
    port = sock.getsockname()[1]
    peer = d.peer(81, to=port)
    peer.expect(SYN)
    header = struct.pack(">HHI", port, 81, peer.their_isn)
    quoted = packets.ipv4(packets.Ipv4(OURS, THEIRS, packets.TCP, header))
    message = packets.icmp(3, 1, 0, quoted)
    d.deliver(
        packets.ipv4(packets.Ipv4("10.0.0.9", OURS, packets.ICMP, message)), kind=lib.NT_DESC_ICMP
    )
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 113  # EHOSTUNREACH


def test_bad_checksums_and_lengths(d: Dialogue) -> None:
    sock, peer = connected(d)
    good = packets.ipv4(packets.Ipv4(THEIRS, OURS, packets.TCP, b"\x13\x88\0\x50" + bytes(16)))
    d.deliver(good)  # data offset 0
    assert d.counted("bad_segments", 1)
    d.deliver(good[:30])
    assert d.counted("bad_segments", 2)
    d.deliver(packets.ipv4(packets.Ipv4(THEIRS, OURS, packets.TCP, bytes(12) + b"\x50" + bytes(7))))
    assert d.counted("bad_checksums", 1)
    d.expect_nothing()
    assert alive(sock, peer)
