"""Two idle hosts, with an idle lighttpd, use less than 1 % of a core."""

import threading
import time
from pathlib import Path

import pytest
from real_hosts import HOSTS, RealHosts, Site

SECONDS = 5.0
MOST = 0.01


def cpu_seconds(pid: int) -> float:
    """What a process has used, to the nanosecond; stat's clock ticks are 10 ms."""
    return sum(
        int(path.read_text().split()[0]) / 1e9
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


@pytest.mark.apps("lighttpd", "curl")
def test_an_idle_host_uses_no_core(hosts: RealHosts, site: Site) -> None:
    with hosts.serving(site.folder) as lighttpd:
        pids = {
            process.pid
            for host in HOSTS
            for record in [hosts.scratch.record(host)]
            for process in (record.rs, *record.processes)
        } | {lighttpd.pid}
        before, start = {pid: cpu_seconds(pid) for pid in pids}, time.monotonic()
        threading.Event().wait(SECONDS)
        used = {pid: cpu_seconds(pid) - before[pid] for pid in pids}
        share = sum(used.values()) / (time.monotonic() - start)
        most = max(used, key=used.__getitem__)
        print(f"{len(pids)} processes of two hosts: {share:.3%} of a core; most: {most}, {used}")
        assert share < MOST, used
