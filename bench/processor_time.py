"""How much processor time running processes have used: what a byte costs all of them together."""

import os
from collections.abc import Iterable
from pathlib import Path

from newtos_py.bench._receive import lib

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CALIBRATION_MS = 20
# proc_pid_stat(5), counted from what follows the program's name: utime and stime.
_UTIME, _STIME = 11, 12


class ProcessorTime:
    """Counts the time of processes from its making on."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._before = self._total()

    def seconds(self) -> float:
        """Of all together, since this was made."""
        return self._total() - self._before

    def _total(self) -> float:
        return sum(map(seconds_of, self._pids))


def seconds_of(pid: int) -> float:
    """Processor time of a process so far, the kernel's on its behalf included; 0 if it is gone."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    fields = told.rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) * _TICK_S


def cycles_a_second() -> int:
    """Of the time stamp counter."""
    return lib.nt_bench_ticks_a_second(_CALIBRATION_MS)
