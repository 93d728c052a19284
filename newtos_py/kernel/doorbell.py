"""Doorbells as Python rings them: an eventfd each (doorbell.h says when)."""

import contextlib
import os


def create_doorbell() -> int:
    """Make an eventfd that never blocks: neither who rings it nor who drains it."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def ring(doorbell: int) -> None:
    """Wake its owner, asleep or not."""
    with contextlib.suppress(BlockingIOError):  # full: more wake-ups than can be counted
        os.eventfd_write(doorbell, 1)


def drain(doorbell: int) -> int:
    """Take back all rings so far, and tell how many there were."""
    try:
        return os.eventfd_read(doorbell)
    except BlockingIOError:
        return 0
