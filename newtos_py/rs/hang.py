"""Telling a server that hangs from one that waits.

A loop that finds work or wakes up counts its heartbeat (status.h). So a server hangs if its
heartbeat stands still while it uses the processor: 50 ms of its own CPU time, in which a step of
16 inputs a source would have ended a thousand times over. Waiting for a core costs no CPU time, so
a loaded machine makes no server hang; neither does sleeping. A stopped process (state T) hangs, if
it is seen so twice: somebody may be about to continue it.

A server that is told to poll for ever uses CPU time without a heartbeat, so only T counts for it.
"""

import os
from dataclasses import dataclass
from enum import Enum

PERIOD_S = 0.5
CPU_LIMIT_NS = 50_000_000
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_STAT_BYTES = 1024
_STOPPED = b"T"
# proc(5), stat: the fields after "pid (name)", so field 3 has index 0.
_STATE, _UTIME, _STIME = 0, 11, 12


class Verdict(Enum):
    """What a look has shown."""

    FINE = "fine"
    STOPPED = "is stopped"
    SPINNING = "uses the processor without getting anywhere"


@dataclass(frozen=True, slots=True)
class Look:
    """A process at one moment."""

    heartbeat: int
    is_stopped: bool
    cpu_ns: int


def look_at(pid: int, heartbeat: int) -> Look | None:
    """Look at a process; None if it has ended."""
    try:
        # Not through Path: this runs for every server, for ever.
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            stat = os.read(descriptor, _STAT_BYTES)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    ticks = int(fields[_UTIME]) + int(fields[_STIME])
    return Look(heartbeat, fields[_STATE] == _STOPPED, ticks * _NS_PER_TICK)


class HangWatch:
    """Remembers what the last looks at one process have shown."""

    def __init__(self, *, polls_for_ever: bool) -> None:
        self._polls_for_ever = polls_for_ever
        # The first look at the present heartbeat, and the last look of all.
        self._since: Look | None = None
        self._last: Look | None = None

    def judge(self, look: Look) -> Verdict:
        """Say what another look means."""
        last, self._last = self._last, look
        if last is not None and last.is_stopped and look.is_stopped:
            return Verdict.STOPPED
        if self._since is None or self._since.heartbeat != look.heartbeat:
            self._since = look
        elif not self._polls_for_ever and look.cpu_ns - self._since.cpu_ns > CPU_LIMIT_NS:
            return Verdict.SPINNING
        return Verdict.FINE
