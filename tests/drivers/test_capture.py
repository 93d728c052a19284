"""What observers are shown of a driver's frames: both directions, as they are at the device."""

from typing import Any

Link = Any

IN, OUT = 1, 2


def frame(number: int, size: int = 60) -> bytes:
    return b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(size - 18)


def test_each_end_of_a_wire_shows_what_it_sends_and_receives(link: Link) -> None:
    for host in link.hosts:
        host.now_ns = 1234
        host.observe()
    link.a.area.map[:4] = b"data"
    link.a.send(frame(1), (0, 4))
    link.settle()
    link.b.send(frame(2))
    link.settle()
    assert link.a.observed() == [(OUT, 1234, frame(1) + b"data"), (IN, 1234, frame(2))]
    assert link.b.observed() == [(IN, 1234, frame(1) + b"data"), (OUT, 1234, frame(2))]


def test_nothing_is_copied_while_nobody_looks(link: Link) -> None:
    link.b.observe()
    link.a.send(frame(1))
    link.settle()
    assert len(link.b.observed()) == 1
    assert bytes(link.a.capture.map[8192:]) == bytes(len(link.a.capture.map) - 8192)


def test_a_driver_that_is_started_again_goes_on(link: Link) -> None:
    link.a.observe()
    link.a.send(frame(1))
    link.settle()
    link.reboot(0)
    link.a.send(frame(2))
    link.settle()
    assert [data for _, _, data in link.a.observed()] == [frame(1), frame(2)]
    assert link.a.observer.lost == 0


def test_a_frame_with_a_bad_reference_was_never_at_the_device(link: Link) -> None:
    link.a.observe()
    link.a.send(frame(1), (2**40, 4))
    link.settle()
    assert link.a.observed() == []
