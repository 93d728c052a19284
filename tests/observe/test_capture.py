"""An observer sees what the drivers of a host recorded while it looked."""

import time
from typing import Any

import pytest

from newtos_py.observe.capture import Capture, NoCaptureError
from newtos_py.observe.pcapng import Direction


def test_frames_of_all_interfaces_come_in_order_of_time(host: Any) -> None:
    lan, tap = host.drivers["wire.lan"], host.drivers["tap"]
    with Capture(host.record) as capture:
        assert [interface.name for interface in capture.interfaces] == ["lan", "tap"]
        assert capture.interfaces[0].description == "wire.lan of host web"
        start = time.monotonic_ns()
        lan.record(b"first", at=start)
        lan.record(b"third", at=start + 2)
        tap.record(b"second", direction=1, at=start + 1)
        packets = capture.packets(10)
    assert [packet.frame for packet in packets] == [b"first", b"second", b"third"]
    assert [packet.interface for packet in packets] == [0, 1, 0]
    assert [packet.direction for packet in packets] == [
        Direction.OUT,
        Direction.IN,
        Direction.OUT,
    ]
    assert packets[2].time_ns - packets[0].time_ns == 2
    assert abs(packets[0].time_ns - time.time_ns()) < 10**9


def test_drivers_copy_only_while_somebody_looks(host: Any) -> None:
    driver = host.drivers["wire.lan"]
    assert not driver.wanted
    with Capture(host.record, ["lan"]):
        assert driver.wanted
        assert not host.drivers["tap"].wanted


def test_what_was_there_before_is_not_shown(host: Any) -> None:
    host.drivers["tap"].record(b"old")
    with Capture(host.record) as capture:
        assert capture.packets(10) == []


def test_a_batch_is_bounded(host: Any) -> None:
    with Capture(host.record) as capture:
        for _ in range(5):
            host.drivers["tap"].record(b"x")
        assert len(capture.packets(3)) == 3
        assert len(capture.packets(3)) == 2


def test_each_observer_cuts_at_its_own_snap_length(host: Any) -> None:
    with Capture(host.record, ["tap"], 4) as short, Capture(host.record, ["tap"]) as whole:
        host.drivers["tap"].record(b"0123456789")
        ((cut,), (full,)) = short.packets(1), whole.packets(1)
    assert (cut.frame, cut.original_bytes) == (b"0123", 10)
    assert full.frame == b"0123456789"


def test_what_was_overwritten_is_counted(host: Any) -> None:
    driver = host.drivers["wire.lan"]
    with Capture(host.record) as capture:
        for _ in range(100):
            driver.record(bytes(65_000))
        assert capture.packets(1000) == []
        driver.record(b"next")
        assert [packet.frame for packet in capture.packets(1000)] == [b"next"]
        assert (capture.lost(0), capture.lost(1)) == (100, 0)


def test_an_unknown_interface_is_named_with_what_there_is(host: Any) -> None:
    with pytest.raises(NoCaptureError, match="host web has no interface wan; it has: lan, tap"):
        Capture(host.record, ["wan"])
