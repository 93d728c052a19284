"""What all tests share: who may run, and a report of who did not and why.

Markers: `root` (needs root's capabilities), `apps("lighttpd", "curl")` (needs programs),
`slow` (only with --slow). A skipped test is never silent: the last lines of a run say how
many were skipped for which reason.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A machine that is busy with something else is no failure.
settings.register_profile("newtos", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("newtos")

# A shell ignores it for what it puts in the background, and so would every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session")
def c_program(pytestconfig: pytest.Config) -> Callable[[str, str], list[str]]:
    """Builds a program of tests/meson.build: (name, sanitizer) -> the command that runs it.

    The sanitizer is one of meson's b_sanitize values: none, thread, address,undefined. Each
    has a build directory of its own in the clone, so that only the first run compiles.
    """
    root = pytestconfig.rootpath
    # meson and cffi-gen-src stand beside this Python, even where PATH does not name it.
    env = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    # make sanitize preloads ASan into Python; compilers and other sanitizers can do without.
    env.pop("LD_PRELOAD", None)

    def build(name: str, sanitizer: str) -> list[str]:
        build_dir = root / f"build-test-{sanitizer.replace(',', '-')}"
        setup = ["meson", "setup", build_dir, root, "-Dtest_programs=true",
                 f"-Db_sanitize={sanitizer}"]  # fmt: skip
        # ninja, because meson compile does not see a target that is new since the set-up.
        compile_one = ["ninja", "-C", build_dir, f"tests/{name}"]
        commands = [compile_one] if (build_dir / "build.ninja").exists() else [setup, compile_one]
        for command in commands:
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        program = ["env", "--unset=LD_PRELOAD", str(build_dir / "tests" / name)]
        # TSan lays out the address space itself and cannot where Linux randomizes it widely.
        return ["setarch", "--addr-no-randomize", *program] if "thread" in sanitizer else program

    return build
