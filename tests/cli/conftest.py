"""A runtime directory for `newtos`, and hosts in it whose rs is a process of the test."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newtos_py.rs.process_id import ProcessId, boot_id, identify
from newtos_py.rs.records import HostRecord, ServerRecord
from newtos_py.rs.runtime import RuntimeDir, new_token, open_runtime_dir

Start = Callable[..., ProcessId]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[RuntimeDir]:
    """A runtime directory that the command line finds; short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="newtos-test-"))
    monkeypatch.setenv("NEWTOS_RUNTIME_DIR", str(path))
    yield open_runtime_dir(path)
    shutil.rmtree(path)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that wait, and end them after the test.

    `start("prog", "arg")`; with `says_ready` answers once the process has printed "ready".
    """
    running: list[subprocess.Popen[bytes]] = []

    def start_one(*command: str, says_ready: bool = False) -> ProcessId:
        process = subprocess.Popen(
            command or ("sleep", "60"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        running.append(process)
        if says_ready:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        found = identify(process.pid)
        assert found is not None
        return found

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def make_record(host: str, rs: ProcessId, *servers: ServerRecord, core: int = 0) -> HostRecord:
    """Make the record of a host with an instance of its own."""
    return HostRecord(
        host=host,
        token=new_token(),
        boot_file="net.toml",
        boot_id=boot_id(),
        rs=rs,
        programs_core=core,
        slice_us=100,
        helpers=(),
        servers=servers,
    )


@pytest.fixture
def record() -> Callable[..., HostRecord]:
    """Answer make_record; test files can't import each other."""
    return make_record
