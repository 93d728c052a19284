"""How often the kernel switches between processes: the hand-overs that a request costs.

A switch is counted with the process that gives up the processor, of its own will (it sleeps or
yields) or not. Sums are over the processes of one side: servers, server program, load.
"""

import resource
from collections.abc import Iterable
from pathlib import Path

_FIELDS = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")


class SwitchCounter:
    """Counts the switches of running processes, and of children that end meanwhile."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)
        self._before = self._total()

    def count(self) -> int:
        """Switches since this was made."""
        return self._total() - self._before

    def _total(self) -> int:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return sum(map(switches_of, self._pids)) + ended.ru_nvcsw + ended.ru_nivcsw


def switches_of(pid: int) -> int:
    """All switches of a process's main thread so far; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return sum(int(told[field]) for field in _FIELDS)
