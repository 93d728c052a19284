"""Each installed header compiles by itself, from where a server outside of this tree finds it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import newtos_py

SITE = Path(newtos_py.__file__).parents[1]
HEADERS = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("newtos_py/*/*.h"))
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wconversion", "-Werror"]


def test_there_are_headers() -> None:
    assert "newtos_py/kernel/clock.h" in HEADERS


@pytest.mark.parametrize("compiler", [os.environ.get("CC", "cc"), "clang"])
@pytest.mark.parametrize("header", HEADERS)
def test_header_stands_alone(compiler: str, header: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"not installed: {compiler}")
    # Twice: a header without a guard would define its types twice.
    source = f'#include "{header}"\n' * 2
    command = [compiler, *FLAGS, f"-I{SITE}", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
