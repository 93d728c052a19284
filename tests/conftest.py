"""What all tests share: who may run, and a report of who did not and why.

Markers: `root` (needs root's capabilities), `apps("lighttpd", "curl")` (needs programs),
`slow` (only with --slow). A skipped test is never silent: the last lines of a run say how
many were skipped for which reason.
"""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21


def _has_capabilities(*wanted: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return all(effective >> cap & 1 for cap in wanted)
    return False


def _find_program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("--slow"):
        pytest.skip("slow: run by make check")
    if item.get_closest_marker("root") and not _has_capabilities(CAP_NET_ADMIN, CAP_SYS_ADMIN):
        pytest.skip("needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN)")
    for mark in item.iter_markers("apps"):
        missing = [name for name in mark.args if _find_program(name) is None]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        where = report.longrepr
        reasons[where[2] if isinstance(where, tuple) else str(where)] += 1
    if not reasons:
        terminalreporter.write_line("skipped: nothing")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped: {count} — {reason.removeprefix('Skipped: ')}")
