"""Slices are set, inherited and refused by the kernel itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from newtos_py.kernel.sched import set_slice, slice_ns

# EEVDF's own slices came with Linux 6.12; before, the kernel accepts and ignores them.
RELEASE = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
needs_slices = pytest.mark.skipif(RELEASE < (6, 12), reason="Linux older than 6.12: no slices")

SET_AND_SHOW = """
import os, subprocess, sys
from newtos_py.kernel.sched import set_slice, slice_ns
set_slice(300)
print(slice_ns(), os.getpriority(os.PRIO_PROCESS, 0), flush=True)
os.execv(sys.executable, [sys.executable, "-Pc", \"\"\"
import os
from newtos_py.kernel.sched import slice_ns
pid = os.fork()
if pid == 0:
    print(slice_ns(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
\"\"\"])
"""


def run_python(program: str, nice: int = 0) -> list[str]:
    done = subprocess.run(
        ["nice", "-n", str(nice), sys.executable, "-Pc", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.split()


@needs_slices
def test_a_slice_survives_exec_and_fork_and_keeps_the_nice_value() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert run_python(SET_AND_SHOW, nice=3) == ["300000", str(nice), "300000"]


@needs_slices
def test_what_is_not_scheduled_fairly_is_left_alone() -> None:
    program = """
import os
from newtos_py.kernel.sched import set_slice, slice_ns
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
set_slice(300)
print(os.sched_getscheduler(0) == os.SCHED_IDLE, slice_ns())
"""
    assert run_python(program) == ["True", "0"]


def test_a_process_that_does_not_exist() -> None:
    past_the_last = int(Path("/proc/sys/kernel/pid_max").read_text())
    with pytest.raises(ProcessLookupError):
        set_slice(100, pid=past_the_last)
    assert slice_ns(past_the_last) == 0
