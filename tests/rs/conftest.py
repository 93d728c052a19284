"""Hosts without servers: records in a runtime directory, whose rs is a process of the test."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from newtos_py.rs.process_id import ProcessId, identify

# Does what its arguments say (map a file, or open it), says so, and waits to be killed.
WAITING = """
import mmap, sys
kept = []
for way, path in zip(sys.argv[1::2], sys.argv[2::2]):
    file = open(path, "rb" if way == "observe" else "r+b")
    if way == "open":
        kept.append(file)
    else:
        access = mmap.ACCESS_READ if way == "observe" else mmap.ACCESS_WRITE
        kept.append(mmap.mmap(file.fileno(), 0, access=access))
        file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start() -> Iterator[Callable[..., ProcessId]]:
    """Start waiting processes, `start("map", path)`, and end them after the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start_one(*arguments: str | Path) -> ProcessId:
        process = subprocess.Popen(
            [sys.executable, "-Pc", WAITING, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = identify(process.pid)
        assert found is not None
        return found

    yield start_one
    for process in running:
        process.kill()
        process.communicate()
