"""A process can name itself, pin itself, and follow its parent's death."""

import os
import signal
import subprocess
import sys

import pytest

from newtos_py.kernel import doorbell
from newtos_py.kernel.process import short_name

NAME_ITSELF = """
import os, pathlib
from newtos_py.kernel.process import set_name
environment = pathlib.Path("/proc/self/environ").read_bytes()
set_name("web", "tcp0")
proc = pathlib.Path("/proc/self")
print((proc / "comm").read_text().strip())
print((proc / "cmdline").read_bytes().rstrip(b"\\0").decode())
set_name("h" * 5000, "tcp0")
print((proc / "environ").read_bytes() == environment, os.environ["MARK"])
"""

PIN = """
import os
from newtos_py.kernel.process import pin
core = max(os.sched_getaffinity(0))
pin(core)
print(os.sched_getaffinity(0) == {core})
"""

# A child that waits for its parent's end: nothing comes through the pipe but its end.
FOLLOW = """
import os, signal
from newtos_py.kernel.process import die_with_parent
parent = os.getpid()
read_end, write_end = os.pipe()
if os.fork() == 0:
    die_with_parent(signal.SIGKILL, parent)
    print("following", flush=True)
    os.close(write_end)
    os.write(1, b"ready\\n")
    signal.pause()
os.close(write_end)
os.read(read_end, 1)
"""


def run_python(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-Pc", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=dict(os.environ, MARK="untouched"),
    )
    return done.stdout.split()


def test_names_in_ps_and_top() -> None:
    assert run_python(NAME_ITSELF) == ["newtos:web:tcp0"] * 2 + ["True", "untouched"]


@pytest.mark.parametrize(
    ("host", "role", "name"),
    [
        ("web", "tcp0", "newtos:web:tcp0"),
        ("client", "syscall", "client:syscall"),
        ("frontend", "wire.lan", "fronte:wire.lan"),
        ("web", "wire.backbone-link", "wire.backbone-l"),
    ],
)
def test_short_names_keep_the_role(host: str, role: str, name: str) -> None:
    assert short_name(host, role) == name


def test_pinned_to_one_core() -> None:
    assert run_python(PIN) == ["True"]


def test_a_child_dies_with_its_parent() -> None:
    # The child holds the standard output open, so its end is the end of both.
    with subprocess.Popen([sys.executable, "-Pc", FOLLOW], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"following\n"
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        assert parent.stdout.read() == b""
    assert parent.returncode == -signal.SIGKILL


def test_a_doorbell_counts_its_rings_and_never_blocks() -> None:
    bell = doorbell.create_doorbell()
    assert doorbell.drain(bell) == 0
    doorbell.ring(bell)
    doorbell.ring(bell)
    assert doorbell.drain(bell) == 2
    os.eventfd_write(bell, 2**64 - 2)
    doorbell.ring(bell)
    assert doorbell.drain(bell) == 2**64 - 2
    os.close(bell)
