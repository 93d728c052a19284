"""Processes are told from later ones with the same pid, and signalled only as themselves."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from newtos_py.rs.process_id import (
    ProcessId,
    boot_id,
    identify,
    is_alive,
    own_id,
    send_signal,
    wait_for_exit,
)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that waits until it is killed."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def identity(process: subprocess.Popen[bytes]) -> ProcessId:
    found = identify(process.pid)
    assert found is not None
    return found


def test_a_living_process_is_alive(child: subprocess.Popen[bytes]) -> None:
    assert is_alive(identity(child))
    assert is_alive(own_id())
    assert own_id().pid == os.getpid()


def test_a_reused_pid_is_somebody_else(child: subprocess.Popen[bytes]) -> None:
    earlier = replace(identity(child), start_ticks=identity(child).start_ticks - 1)
    assert not is_alive(earlier)
    assert not send_signal(earlier, signal.SIGKILL)
    assert wait_for_exit(earlier, 0)
    assert child.poll() is None, "the signal must not have hit the pid's new owner"


def test_a_process_is_killed_and_seen_to_end(child: subprocess.Popen[bytes]) -> None:
    process = identity(child)
    assert not wait_for_exit(process, 0)
    assert send_signal(process, signal.SIGKILL)
    assert wait_for_exit(process, 30)
    # Not reaped yet: a zombie, and dead all the same.
    assert identify(child.pid) is None
    assert not send_signal(process, signal.SIGTERM)
    child.wait()
    assert not is_alive(process)


def test_a_name_may_look_like_the_fields_behind_it() -> None:
    program = (
        "import sys; open('/proc/self/comm', 'w').write(') Z 1 (x'); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-Pc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_alive(identity(process))


def test_pids_that_nobody_has() -> None:
    assert identify(2**22 + 1) is None
    assert not send_signal(ProcessId(2**22 + 1, 0), signal.SIGTERM)


def test_the_boot_id_stays() -> None:
    assert boot_id() == boot_id() != ""
