"""`newtos run` is to a program what env(1) is: invisible, once it has run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from newtos_py.cli import run
from newtos_py.cli.run import environment_on, find_shim
from newtos_py.errors import NewtosError
from newtos_py.kernel.sched import slice_ns
from newtos_py.rs.process_id import own_id
from newtos_py.rs.records import HostRecord
from newtos_py.rs.runtime import RuntimeDir

Record = Callable[..., HostRecord]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that can be preloaded and does nothing: what is tested here is the way there."""
    path = tmp_path_factory.mktemp("shim") / "libnewtos.so"
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=b"int nt_test_shim;", check=True, timeout=60)
    return path


# The command line with another shim.
NEWTOS = """
import sys
from pathlib import Path
from newtos_py.cli import main, run
shim = Path(sys.argv.pop(1))
run.find_shim = lambda: shim
main(prog_name="newtos")
"""


@pytest.fixture
def newtos_run(
    runtime: RuntimeDir, record: Record, shim: Path
) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run a program on the host "web" as a process of its own."""
    core = max(os.sched_getaffinity(0))
    runtime.register([replace(record("web", own_id()), programs_core=core)])

    def run_one(
        *command: str, stdin: bytes = b"", **environ: str
    ) -> subprocess.CompletedProcess[bytes]:
        newtos = [sys.executable, "-Pc", NEWTOS, str(shim), "run", "--host", "web", "--"]
        return subprocess.run(
            [*newtos, *command],
            input=stdin,
            capture_output=True,
            env={**os.environ, **environ},
            check=False,
            timeout=60,
        )

    return run_one


NewtosRun = Callable[..., subprocess.CompletedProcess[bytes]]


def test_a_program_finds_its_host_in_the_environment(
    newtos_run: NewtosRun, runtime: RuntimeDir, shim: Path
) -> None:
    done = newtos_run("env", MINE="stays")
    environ = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    (web,) = runtime.all_hosts()
    assert environ["NEWTOS_HOST"] == "web"
    assert environ["NEWTOS_CONTROL"] == str(runtime.control_path(web.token, "web"))
    assert environ["LD_PRELOAD"].split()[0] == str(shim)
    assert environ["MINE"] == "stays"
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_shim_is_loaded(newtos_run: NewtosRun, shim: Path) -> None:
    assert str(shim).encode() in newtos_run("cat", "/proc/self/maps").stdout


def test_standard_streams_are_the_programs_own(newtos_run: NewtosRun) -> None:
    done = newtos_run("sh", "-c", "cat; echo wrong >&2", stdin=b"in\0out\n")
    assert (done.stdout, done.stderr) == (b"in\0out\n", b"wrong\n")


@pytest.mark.parametrize("status", [0, 1, 3, 125, 255])
def test_the_exit_status_is_the_programs_own(newtos_run: NewtosRun, status: int) -> None:
    assert newtos_run("sh", "-c", f"exit {status}").returncode == status


def test_a_program_that_dies_of_a_signal_does(newtos_run: NewtosRun) -> None:
    assert newtos_run("sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM


def test_the_program_is_the_process_that_was_started(newtos_run: NewtosRun) -> None:
    done = newtos_run("sh", "-c", "echo $PPID; cat /proc/$$/cmdline")
    parent, _, command_line = done.stdout.partition(b"\n")
    assert int(parent) == os.getpid()
    assert command_line.startswith(b"sh\0-c\0echo")


def test_signals_are_as_env_leaves_them(newtos_run: NewtosRun) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; a program must not inherit that."""
    show = ["grep", "^Sig[BIC]", "/proc/self/status"]
    direct = subprocess.run(["env", *show], capture_output=True, check=True, timeout=60)
    assert newtos_run(*show).stdout == direct.stdout


def test_arguments_pass_untouched(newtos_run: NewtosRun) -> None:
    args = ["--host", "x", "-h", "--help", "--", "", "a b", "*"]
    done = newtos_run("printf", "%s|", *args)
    assert done.stdout.decode() == "".join(f"{arg}|" for arg in args)


def test_the_program_runs_on_the_hosts_core_with_its_slice(newtos_run: NewtosRun) -> None:
    program = """
import os
from newtos_py.kernel.sched import slice_ns
print(sorted(os.sched_getaffinity(0)), slice_ns())
"""
    done = newtos_run(sys.executable, "-Pc", program)
    cores, slice_of_program = done.stdout.decode().rsplit(maxsplit=1)
    assert cores == str([max(os.sched_getaffinity(0))])
    if slice_ns() != 0:  # otherwise the kernel has no slices
        assert slice_of_program == "100000"


def test_a_program_that_does_not_exist(newtos_run: NewtosRun) -> None:
    done = newtos_run("no-such-program")
    assert done.returncode == 127
    assert done.stderr == b"newtos run: no-such-program: No such file or directory\n"
    assert newtos_run("/no/such/program").returncode == 127
    assert newtos_run("/etc/passwd/program").returncode == 127


def test_a_program_that_cannot_be_invoked(newtos_run: NewtosRun, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    text.chmod(0o600)
    done = newtos_run(str(text))
    assert done.returncode == 126
    assert done.stderr == f"newtos run: {text}: Permission denied\n".encode()
    assert newtos_run(str(tmp_path)).returncode == 126


def test_a_script_without_interpreter_is_the_shells_as_with_env(
    newtos_run: NewtosRun, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1 $NEWTOS_HOST"\n')
    script.chmod(0o700)
    assert newtos_run(str(script), "on").stdout == b"on web\n"
    assert newtos_run("script", "on", PATH=f"{tmp_path}:/usr/bin:/bin").stdout == b"on web\n"


def test_a_script_with_an_interpreter(newtos_run: NewtosRun, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\necho $NEWTOS_HOST\n")
    script.chmod(0o700)
    assert newtos_run(str(script)).stdout == b"web\n"


def test_a_program_that_the_shim_cannot_reach_is_refused(
    newtos_run: NewtosRun, tmp_path: Path
) -> None:
    """It would talk to the kernel's network without a word."""
    program = tmp_path / "static"
    command = ["cc", "-static", "-nostdlib", "-x", "c", "-", "-o", str(program)]
    subprocess.run(command, input=b"void _start(void) { for (;;) {} }", check=True, timeout=60)
    done = newtos_run(str(program))
    assert done.returncode == 126
    assert b"statically linked" in done.stderr


def test_a_host_that_does_not_run(newtos_run: NewtosRun) -> None:
    done = subprocess.run(
        [sys.executable, "-Pc", NEWTOS, "/shim", "run", "--host", "wbe", "--", "true"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 125
    assert b"no host wbe is running; running: web" in done.stderr
    assert newtos_run("true").returncode == 0


@pytest.mark.parametrize("args", [["run"], ["run", "--host", "web"], ["run", "true"]])
def test_wrong_usage_is_an_error_of_newtos_not_the_programs(args: list[str]) -> None:
    command = [sys.executable, "-Pc", NEWTOS, "/shim", *args]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 125
    assert b"Usage: newtos run" in done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "/lib/libnewtos.so"),
        ("/lib/a.so", "/lib/libnewtos.so /lib/a.so"),
        ("/lib/a.so:/lib/b.so c.so", "/lib/libnewtos.so /lib/a.so /lib/b.so c.so"),
        ("/other/libnewtos.so /lib/a.so", "/lib/libnewtos.so /lib/a.so"),
    ],
)
def test_what_was_preloaded_stays_behind_the_shim(record: Record, before: str, after: str) -> None:
    web = record("web", own_id())
    environ = environment_on(web, Path("/c"), Path("/lib/libnewtos.so"), {"LD_PRELOAD": before})
    assert environ["LD_PRELOAD"] == after


def test_a_shim_that_cannot_be_named_in_ld_preload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    monkeypatch.setattr("importlib.resources.files", lambda _: folder)
    with pytest.raises(NewtosError, match="is missing; install"):
        find_shim()
    (folder / run.SHIM).touch()
    with pytest.raises(NewtosError, match="a space or a colon"):
        find_shim()
