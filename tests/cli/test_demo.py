"""`newtos demo` from beginning to end: everything it says is right, and nothing of it is left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from newtos_py.cli import demo_programs, main

# Unmodified programs run, with the shim before a sanitizer's run time: not under sanitizers.
pytestmark = pytest.mark.apps()

NEWTOS = Path(sys.executable).parent / "newtos"
SHM = Path("/dev/shm")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo keeps its files (short, for sockets); empty again afterwards."""
    place = Path("/tmp") / f"newtos-demo-test-{os.getpid()}"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", str(place))
    yield place
    left = list(place.iterdir())
    shutil.rmtree(place)
    assert left == []


def check(told: str) -> None:
    lines = [line.strip() for line in told.splitlines()]
    assert [line for line in lines if line.startswith(("✗", "WRONG"))] == []
    passed = [line.partition(" ")[2] for line in lines if line.startswith(("✓", "ok:"))]
    assert "the page is right" in passed
    assert "the download finished: 64 MiB" in passed
    assert any(line.startswith("its checksum is right") for line in passed)
    assert "nothing is left: no process, no shared memory, no file" in passed
    assert told.count("kill -9") == 2


@pytest.mark.apps("lighttpd", "memcached", "curl")
def test_with_real_programs() -> None:
    done = subprocess.run([NEWTOS, "demo"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    check(done.stdout)
    assert "lighttpd and memcached answer; the client is curl" in done.stdout
    assert "memcached stored it and gave it back" in done.stdout


def test_with_what_python_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_programs.shutil, "which", lambda *_, **__: None)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 0, result.output
    check(result.output)
    assert "CPython's http.server answer; the client is CPython's urllib" in result.output
    assert "memcached is not installed" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(number: int, folder: Path) -> None:
    with subprocess.Popen([NEWTOS, "demo"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("3. "):
            assert process.poll() is None
        (instance,) = folder.glob("newtos-*/run/*/")
        regions = f"newtos.{instance.name}.*"
        assert list(SHM.glob(regions))
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert not list(SHM.glob(regions))
