"""The TAP driver over a fake device: a socket, each message a frame behind its header."""

import errno
import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from newtos_py.drivers.tap._engine import ffi, lib
from newtos_py.drivers.tap.device import DeviceError, open_device
from newtos_py.drivers.tap.server import SERVER

from newtos_py.kernel.server import DevicePlan

# Classes of conftest.py, which is no module that could be imported.
Host = Any
FrameType = Any
Parse = Callable[..., Any]
Die = Callable[[Callable[[], None]], bool]

MS = 1_000_000
NEEDS_CSUM, DATA_VALID = 1, 2
TCPV4, UDPV4, ECN = 1, 3, 0x80
HEADER = struct.Struct("=BBHHHH")
PLAIN = HEADER.pack(0, 0, 0, 0, 0, 0)


class Rig:
    """A host, its TAP driver, and the far side of the fake device."""

    def __init__(self, make_host: Callable[..., Host], **shape: int) -> None:
        self.device, self.far = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        )
        for end in (self.device, self.far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.host = make_host("edge", SERVER, **shape)
        self.reboot()

    def reboot(self) -> None:
        self.host.boot(self.host.context(device_fd=self.device.fileno()))

    def run(self) -> None:
        for _ in range(100):
            if self.host.step() == 0:
                return
        raise AssertionError("the engine does not come to rest")

    def sent(self) -> list[tuple[tuple[int, ...], bytes]]:
        """Take what the driver has written: header and frame of each."""
        frames = []
        while True:
            try:
                data = self.far.recv(1 << 17)
            except BlockingIOError:
                return frames
            frames.append((HEADER.unpack(data[:10]), data[10:]))

    def check_no_buffer_lost(self) -> None:
        self.run()
        count = self.host.view.small_count + self.host.view.large_count
        assert [self.host.view.use[i] & 1 for i in range(count)] == [0] * count

    def close(self) -> None:
        self.device.close()
        self.far.close()


@pytest.fixture
def rig(make_host: Callable[..., Host]) -> Iterator[Rig]:
    made = Rig(make_host)
    yield made
    made.close()


def frame(number: int, size: int = 60) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(size - 18)


def test_counters_have_names_for_each_number() -> None:
    assert len(SERVER.counters) == lib.NT_TAP_COUNTERS


def test_a_frame_is_written_behind_an_empty_header(rig: Rig) -> None:
    rig.host.send(frame(1))
    rig.run()
    assert rig.sent() == [((0, 0, 0, 0, 0, 0), frame(1))]
    assert rig.host.count("tx_frames") == 1
    assert rig.host.count("tx_bytes") == 60


def test_payload_goes_from_the_programs_memory_with_offload(rig: Rig, tcp_frame: FrameType) -> None:
    payload = random.Random(1).randbytes(rig.host.area.size)
    rig.host.area.map[:] = payload
    head = tcp_frame(60_000).header()
    rig.host.send(head, (5, 50_000), (90_000, 10_000), flags=1, gso_size=1448, l4_offset=34)
    rig.run()
    expected = head + payload[5:50_005] + payload[90_000:100_000]
    assert rig.sent() == [((NEEDS_CSUM, TCPV4, len(head), 1448, 34, 16), expected)]
    assert rig.host.count("tx_supers") == 1


def test_observers_see_both_directions_without_the_offload_header(
    rig: Rig, tcp_frame: FrameType
) -> None:
    rig.host.observe()
    head = tcp_frame(3000).header()
    rig.host.area.map[:3000] = b"x" * 3000
    rig.host.send(head, (0, 3000), flags=1, gso_size=1448, l4_offset=34)
    rig.run()
    rig.far.send(PLAIN + frame(2))
    rig.run()
    seen = [(direction, data) for direction, _, data in rig.host.observed()]
    assert seen == [(2, head + b"x" * 3000), (1, frame(2))]


def test_cwr_on_a_super_segment_is_told(rig: Rig, tcp_frame: FrameType) -> None:
    head = tcp_frame(3000, flags=0x98).header()
    rig.host.send(head, (0, 3000), flags=1, gso_size=1448, l4_offset=34)
    rig.run()
    assert rig.sent()[0][0][1] == TCPV4 | ECN


def test_a_udp_checksum_is_left_to_the_device(rig: Rig, tcp_frame: FrameType) -> None:
    head = bytearray(tcp_frame(100).header()[:42])
    head[23] = 17
    rig.host.send(bytes(head), (0, 100), flags=1, l4_offset=34)
    rig.run()
    assert rig.sent()[0][0] == (NEEDS_CSUM, 0, 42, 0, 34, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"l4_offset": 33},
        {"l4_offset": 200},
        {"gso_size": 100, "flags": 0},
        {"inline_len": 40},
    ],
)
def test_an_offload_that_makes_no_sense_is_refused(
    rig: Rig, tcp_frame: FrameType, changes: dict[str, int]
) -> None:
    fields = {"flags": 1, "l4_offset": 34, **changes}
    rig.host.send(tcp_frame(100).header(), (0, 100), **fields)
    rig.host.send(frame(2))
    rig.run()
    assert [data for _, data in rig.sent()] == [frame(2)]
    assert rig.host.count("bad_descriptors") == 1


def test_a_bad_reference_costs_only_its_frame(rig: Rig) -> None:
    rig.host.send(frame(1), (rig.host.area.size, 1))
    rig.host.send(frame(2))
    rig.run()
    assert [data for _, data in rig.sent()] == [frame(2)]
    assert rig.host.count("bad_references") == 1


@pytest.mark.parametrize("size", [14, 60, 1998, 1999, 2000, 65_549])
def test_a_frame_of_any_size_is_received(rig: Rig, size: int) -> None:
    data = random.Random(size).randbytes(size)
    rig.far.send(PLAIN + data)
    rig.run()
    (received,) = rig.host.take()
    assert received.data == data
    assert (received.flags, received.gso_size, received.l4_offset) == (0, 0, 0)
    assert (received.buffer < rig.host.view.small_count) == (size <= 1998)
    rig.host.give_back(received)
    rig.check_no_buffer_lost()


def test_what_the_device_says_about_a_frame_is_passed_up(rig: Rig, tcp_frame: FrameType) -> None:
    head = tcp_frame(20_000).header()
    rig.far.send(HEADER.pack(NEEDS_CSUM, TCPV4 | ECN, 66, 1448, 34, 16) + head + bytes(20_000))
    rig.far.send(HEADER.pack(DATA_VALID, 0, 0, 0, 0, 0) + frame(2))
    rig.far.send(HEADER.pack(NEEDS_CSUM, 0, 0, 0, 34, 16) + head)
    rig.run()
    said = [(each.flags, each.gso_size, each.l4_offset) for each in rig.host.take()]
    assert said == [(3, 1448, 34), (2, 0, 0), (3, 0, 34)]
    assert rig.host.count("rx_supers") == 1


@pytest.mark.parametrize(
    "header",
    [
        (0, TCPV4, 66, 1448, 0, 0),  # large, but its checksum is said to be done
        (NEEDS_CSUM, UDPV4, 66, 1448, 34, 6),
        (NEEDS_CSUM, TCPV4, 66, 0, 34, 16),
        (NEEDS_CSUM, 0, 0, 0, 34, 60),
        (NEEDS_CSUM, 0, 0, 0, 65_535, 65_535),
    ],
)
def test_a_header_that_makes_no_sense_is_counted(rig: Rig, header: tuple[int, ...]) -> None:
    rig.far.send(HEADER.pack(*header) + frame(1))
    rig.far.send(PLAIN + frame(2))
    rig.far.send(PLAIN + b"runt")
    rig.far.send(b"less")
    rig.far.send(PLAIN + frame(3))
    for _ in range(3):
        rig.run()
    assert rig.host.receive() == [frame(2), frame(3)]
    assert rig.host.count("bad_device_headers") == 2
    rig.check_no_buffer_lost()


def test_an_exhausted_pool_drops_and_recovers(rig: Rig) -> None:
    for i in range(200):
        rig.far.send(PLAIN + frame(i))
        rig.run()
    held = rig.host.take()
    # Small ones first; then large ones take what is left.
    assert len(held) == 64 + 16
    assert rig.host.count("no_buffer_drops") == 120
    assert [each.data for each in held] == [frame(i) for i in range(80)]
    for each in held:
        rig.host.give_back(each)
    rig.run()
    rig.far.send(PLAIN + frame(500))
    rig.run()
    assert rig.host.receive() == [frame(500)]
    rig.check_no_buffer_lost()


def test_large_frames_without_a_large_buffer_are_dropped(rig: Rig) -> None:
    for i in range(20):
        rig.far.send(PLAIN + frame(i, 5000))
        rig.run()
    assert len(rig.host.take()) == 16
    assert rig.host.count("no_buffer_drops") == 4
    rig.far.send(PLAIN + frame(30))
    rig.run()
    assert rig.host.receive() == [frame(30)]


def fill_device(rig: Rig) -> None:
    """Write to the far side until it takes no more."""
    while True:
        try:
            rig.device.send(bytes(1000))
        except OSError as error:
            assert error.errno == errno.EAGAIN  # noqa: PT017
            return


def test_a_blocked_device_is_tried_again_and_then_given_up(rig: Rig) -> None:
    fill_device(rig)
    rig.host.send(frame(1))
    start = rig.host.now_ns
    assert rig.host.step() == 0
    assert rig.host.deadline() == start + MS
    assert not rig.host.has_work()
    rig.host.now_ns = start + 5 * MS
    assert rig.host.step() == 0
    rig.host.now_ns = start + 10 * MS
    assert rig.host.step() == 1
    assert rig.host.count("blocked_drops") == 1
    rig.sent()
    rig.host.now_ns += 2 * MS
    rig.host.send(frame(2))
    rig.run()
    assert [data for _, data in rig.sent()] == [frame(2)]
    assert rig.host.deadline() == 2**64 - 1


def test_a_device_that_is_gone_refuses(rig: Rig) -> None:
    rig.far.close()
    rig.host.send(frame(1))
    rig.run()
    assert rig.host.count("refused_drops") == 1


def test_killed_at_every_crash_point_no_buffer_is_lost(
    make_host: Callable[..., Host], die_in_child: Die
) -> None:
    """The device may repeat a frame; channels are exactly once, and each buffer has one owner."""
    for n in range(1, 1000):
        rig = Rig(make_host)
        for i in range(3):
            rig.far.send(PLAIN + frame(i))
        rig.run()
        rig.host.receive()
        rig.far.send(PLAIN + frame(10))
        rig.far.send(PLAIN + frame(11, 4000))
        for i in range(3):
            rig.host.send(frame(20 + i))
        rig.host.fence(0, 3)

        def scenario(rig: Rig = rig, n: int = n) -> None:
            lib.nt_tap_crash_at(ffi.cast("struct nt_engine *", rig.host.face.engines[0]), n)
            rig.host.step()

        killed = die_in_child(scenario)
        rig.reboot()
        rig.host.audit()
        rig.far.send(PLAIN + frame(12))
        rig.run()
        # What was read from the device before the crash may be lost, but nothing comes twice.
        received = rig.host.receive()
        assert received[-1] == frame(12)
        assert received == [
            each for each in (frame(10), frame(11, 4000), frame(12)) if each in received
        ]
        sent = [data for _, data in rig.sent()]
        assert sorted(set(sent)) == [frame(20), frame(21), frame(22)]
        assert len(sent) == 3 or killed
        assert rig.host.fence_seen(0) == 3
        rig.check_no_buffer_lost()
        rig.close()
        if not killed:
            assert n > 20
            return
    raise AssertionError("the scenario has no end")


def test_without_permission_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    plan = DevicePlan("edge", "newtos0", bytes(10) + b"\xff\xff\x0a\x01\x00\x01", 120, 1500)
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(DeviceError, match=r"host edge, TAP device newtos0: needs root"):
        open_device(plan)
