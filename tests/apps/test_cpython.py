"""CPython's own tests of sockets: each case ends on newtos as it does on Linux.

The interpreter and its tests are Debian's (package libpython3.11-testsuite). Every module is run
twice: natively, in a network namespace whose one interface is loopback, and on a host. Compared are
the outcomes case by case; what may differ stands in cpython_differences.py.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .cpython_differences import DIFFERENCES, NOT_RUN, Difference

PYTHON = Path("/usr/bin/python3.11")
SUITE = Path("/usr/lib/python3.11/test/test_socket.py")
PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
MODULE_DEADLINE_S = 500  # test_asyncio takes 80 s on a machine that does nothing else

# Those that take a second or two in every run, the others with --slow.
QUICK = ("test_epoll", "test_select", "test_httplib", "test_httpservers", "test_smtplib")
SLOW = (
    "test_poll", "test_selectors", "test_socket", "test_socketserver", "test_asyncio",
    "test_ftplib", "test_ssl", "test_xmlrpc", "test_asynchat", "test_asyncore", "test_docxmlrpc",
    "test_imaplib", "test_nntplib", "test_os", "test_poplib", "test_robotparser", "test_telnetlib",
    "test_urllib2_localnet", "test_wsgiref",
)  # fmt: skip

# From worst to best: a case with subtests is listed once for each that failed.
OUTCOMES = ("hung", "error", "failure", "skipped", "passed")

programs = [
    pytest.mark.root,
    pytest.mark.apps("ip"),
    pytest.mark.skipif(
        not (PYTHON.exists() and SUITE.exists()), reason="not installed: libpython3.11-testsuite"
    ),
]


def newtos() -> str:
    return str(Path(sys.executable).parent / "newtos")


def outcomes(report: Path) -> dict[str, str]:
    """What each case of a JUnit file came to."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "")
        came_to = next((child.tag for child in case if child.tag in OUTCOMES), "passed")
        found[name] = min(came_to, found.get(name, "passed"), key=OUTCOMES.index)
    return found


def unfinished(log: str) -> dict[str, str]:
    """The case at which a run stopped, of a run that wrote no report."""
    started = re.findall(r"^\w+ \(([\w.]+)\) \.\.\. (?!ok$|skipped )", log, re.MULTILINE)
    return {started[-1]: "hung"} if started else {}


@dataclass(frozen=True, slots=True)
class Sides:
    """A namespace, and a host that is booted in it."""

    directory: Path
    namespace: str
    host: str

    @property
    def env(self) -> dict[str, str]:
        left_out = ("LD_PRELOAD", "PYTHONSAFEPATH", "PYTHONPATH")
        plain = {key: value for key, value in os.environ.items() if key not in left_out}
        return plain | {"NEWTOS_RUNTIME_DIR": str(self.directory / "run")}

    def command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *words]

    def start(self, side: str, module: str) -> "subprocess.Popen[bytes]":
        place = self.directory / side / module
        place.mkdir(parents=True)
        words = [str(PYTHON), "-E", "-m", "test", "-v", "-u", "network"]
        words += ["--timeout", str(MODULE_DEADLINE_S), "--junit-xml", str(place / "report.xml")]
        for pattern in NOT_RUN.values():
            words += ["-i", pattern]
        words.append(module)
        if side == "newtos":
            words = [newtos(), "run", "--host", self.host, "--", *words]
        with (place / "log").open("wb") as log:
            return subprocess.Popen(
                self.command(*words), env=self.env | {"TMPDIR": str(place)}, cwd=place,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def result(self, side: str, module: str) -> dict[str, str]:
        place = self.directory / side / module
        report = place / "report.xml"
        log = (place / "log").read_text(errors="replace")
        found = outcomes(report) if report.exists() else unfinished(log)
        assert found, f"{side}: {log[-3000:]}"
        return found

    def run(self, module: str) -> tuple[dict[str, str], dict[str, str]]:
        """Both at the same time: most of it is waiting."""
        both = [self.start(side, module) for side in ("linux", "newtos")]
        try:
            for process in both:
                process.wait(MODULE_DEADLINE_S + 20)
        finally:
            for process in both:
                process.kill()
                process.wait()
        return self.result("linux", module), self.result("newtos", module)


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    directory = Path(tempfile.mkdtemp(prefix="newtos-cpython-"))
    made = Sides(directory, f"ntcpython{os.getpid()}", f"cpython{os.getpid()}")
    (directory / "run").mkdir(mode=0o700)
    topology = directory / "one.toml"
    topology.write_text(
        f'[host.{made.host}]\naddress = "10.0.0.2/24"\n'
        f'[host.{made.host}x]\naddress = "10.0.0.3/24"\n'
        f'[wire.lan]\nhosts = ["{made.host}", "{made.host}x"]\n'
    )
    subprocess.run(["ip", "netns", "add", made.namespace], check=True)
    try:
        subprocess.run(made.command("ip", "link", "set", "lo", "up"), check=True)
        boot = made.command(newtos(), "boot", "--detach", str(topology))
        subprocess.run(boot, env=made.env, check=True, capture_output=True)
        yield made
        subprocess.run([newtos(), "down", "--all"], env=made.env, check=True, capture_output=True)
    finally:
        subprocess.run(["ip", "netns", "del", made.namespace], check=True)
    shutil.rmtree(directory)


def compare(
    module: str,
    linux: dict[str, str],
    newtos_: dict[str, str],
    table: tuple[Difference, ...] = DIFFERENCES,
) -> list[str]:
    """What is not as it should be, in lines."""
    differing = {
        name: f"{name}: {linux.get(name)} on Linux, {newtos_.get(name)} on newtos"
        for name in sorted(linux.keys() | newtos_.keys())
        if linux.get(name) != newtos_.get(name)
    }
    unexplained = [
        said
        for name, said in differing.items()
        if not any(fnmatchcase(name, difference.tests) for difference in table)
    ]
    unneeded = [
        f"{difference.tests} ({difference.name}): ends as on Linux, take it out of the table"
        for difference in table
        if difference.tests.startswith(f"test.{module}.")
        and not difference.races
        and not any(fnmatchcase(name, difference.tests) for name in differing)
    ]
    return unexplained + unneeded


class TestOnBothSides:
    """Each module, natively and on a host."""

    pytestmark = programs

    @pytest.mark.parametrize("module", QUICK)
    def test_quick(self, sides: Sides, module: str) -> None:
        assert compare(module, *sides.run(module)) == []

    @pytest.mark.slow
    @pytest.mark.timeout(MODULE_DEADLINE_S + 60)
    @pytest.mark.parametrize("module", SLOW)
    def test_slow(self, sides: Sides, module: str) -> None:
        assert compare(module, *sides.run(module)) == []


def test_a_difference_is_found_and_an_entry_that_nothing_needs() -> None:
    ftp = "test.test_ftplib.TestFTPClass"
    linux = {f"{ftp}.test_abort": "passed", f"{ftp}.test_quit": "passed"}
    newtos_ = {f"{ftp}.test_abort": "error", f"{ftp}.test_quit": "passed"}
    table = (Difference("a-reason", f"{ftp}.test_abort"),)
    assert compare("test_ftplib", linux, newtos_, table) == []
    (unneeded,) = compare("test_ftplib", linux, linux, table)
    assert "take it out" in unneeded
    (unexplained,) = compare("test_ftplib", linux, {**newtos_, f"{ftp}.test_quit": "hung"}, table)
    assert "test_quit: passed on Linux, hung on newtos" in unexplained


def test_the_page_and_the_table_name_the_same_differences() -> None:
    section = PAGE.read_text().split("\n## CPython's tests\n")[1].split("\n## ")[0]
    explained = set(re.findall(r"^\* `([a-z0-9-]+)`", section, re.MULTILINE))
    assert explained == {difference.name for difference in DIFFERENCES} | NOT_RUN.keys()
