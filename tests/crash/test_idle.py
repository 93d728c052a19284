"""Two idle hosts, with an idle lighttpd, use less than 1 % of a core."""

import os
import threading
import time
from pathlib import Path

import pytest
from real_hosts import HOSTS, RealHosts, Site

SECONDS = 5.0
MOST = 0.01


def cpu_seconds(pid: int) -> float:
    """What a process has used: utime and stime (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.apps("lighttpd", "curl")
def test_an_idle_host_uses_no_core(hosts: RealHosts, site: Site) -> None:
    with hosts.serving(site.folder) as lighttpd:
        pids = {
            process.pid
            for host in HOSTS
            for record in [hosts.scratch.record(host)]
            for process in (record.rs, *record.processes)
        } | {lighttpd.pid}
        # Interval timers of the fetch before (delayed ACKs, TIME-WAIT) may go off: they are few.
        before, start = {pid: cpu_seconds(pid) for pid in pids}, time.monotonic()
        threading.Event().wait(SECONDS)
        used = {pid: cpu_seconds(pid) - before[pid] for pid in pids}
        share = sum(used.values()) / (time.monotonic() - start)
        print(f"{len(pids)} processes of two hosts: {share:.2%} of a core")
        assert share < MOST, used
