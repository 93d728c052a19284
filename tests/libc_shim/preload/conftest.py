"""A fake host for the shim, and the scenario programs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RunOnHost = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def shim() -> str:
    return str(files("newtos_py.libc_shim") / "libnewtos.so")


def preload(shim: str) -> str:
    """The shim, behind what is preloaded already: make sanitize puts its run time first."""
    return " ".join([*os.environ.get("LD_PRELOAD", "").split(), shim])


@pytest.fixture
def fake_host(tmp_path: Path) -> Iterator[str]:
    """The control socket of a running fake host."""
    path = str(tmp_path / "control")
    with subprocess.Popen(
        [sys.executable, HERE / "fake_host.py", path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(HERE)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield path
            assert process.poll() is None, "the fake host died"
        finally:
            process.kill()


@pytest.fixture
def on_host(fake_host: str, shim: str) -> RunOnHost:
    """Runs a program on the fake host; what it printed is in the result."""

    def run(*command: str, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env=dict(os.environ, NEWTOS_CONTROL=fake_host, LD_PRELOAD=preload(shim), **env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program scenarios/*.c."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("not installed: a C compiler")
    program = tmp_path_factory.mktemp("scenarios") / "scenarios"
    sources = sorted((HERE / "scenarios").glob("*.c"))
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-D_GNU_SOURCE"]
    # Wrong counts are what some scenarios are about.
    command += ["-Wno-stringop-overflow", "-Wno-stringop-overread"]
    subprocess.run([*command, "-o", program, *sources, "-lpthread"], check=True)
    return str(program)
