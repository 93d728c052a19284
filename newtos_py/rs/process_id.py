"""Processes by pid and start time, so that a reused pid is never taken for the old process.

A record on disk outlives what it names: by the time someone reads it, the pid may belong to a
stranger. The kernel's start time (proc(5), stat field 22) tells the two apart. Signals go through
a pidfd that is opened *before* the start time is compared: whoever the pidfd stands for is then
known to be the one meant, and stays it.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# proc(5): the fields after "pid (name)", so field 3 has index 0.
_STATE = 0
_START_TICKS = 19
_DEAD_STATES = "ZXx"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for ever: its pid, and its start in clock ticks after the machine's boot."""

    pid: int
    start_ticks: int


def identify(pid: int) -> ProcessId | None:
    """Find the process that has this pid now; None if there is none, or only a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold anything, parentheses and spaces included.
    fields = stat[stat.rindex(")") + 1 :].split()
    if fields[_STATE] in _DEAD_STATES:
        return None
    return ProcessId(pid, int(fields[_START_TICKS]))


def own_id() -> ProcessId:
    """Identify the calling process."""
    process = identify(os.getpid())
    assert process is not None, "/proc shows the calling process; is it mounted?"
    return process


def is_alive(process: ProcessId) -> bool:
    """Tell whether exactly this process still runs."""
    return identify(process.pid) == process


def boot_id() -> str:
    """Name this run of the machine; start times compare only within one."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def send_signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False if it is gone. PermissionError as kill(2)."""
    with _pidfd(process) as pidfd:
        if pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        return True


def wait_for_exit(process: ProcessId, timeout_s: float) -> bool:
    """Wait until the process has ended; False if it still runs after `timeout_s` seconds."""
    with _pidfd(process) as pidfd:
        if pidfd is None:
            return True
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))


@contextmanager
def _pidfd(process: ProcessId) -> Iterator[int | None]:
    """Hold a pidfd that certainly stands for `process`, or None if it is gone."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd if is_alive(process) else None
    finally:
        os.close(pidfd)
