"""Every parser, and all that IP, UDP and TCP read, under damaged input; with ASan and UBSan.

Truncated, oversized, overlapping and random input, a program that scribbles over all it may write:
after each step the engine's audit must pass, and at the end no buffer may be missing. A failure
prints what replays it: the target's own arguments.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# A few seconds each.
COUNTS = {"parsers": 50_000, "ip": 3_000, "udp": 1_500, "tcp": 1_500, "tcp_crash": 1_000}
SANITIZER = "address,undefined"


@pytest.mark.timeout(300)  # the first one builds the sanitized tree
@pytest.mark.parametrize("target", COUNTS)
def test_seeded_inputs(c_program: Callable[[str, str], list[str]], target: str) -> None:
    command = c_program(f"fuzz_{target}", SANITIZER)
    done = subprocess.run(
        [*command, "20", str(COUNTS[target])],
        env=dict(os.environ, UBSAN_OPTIONS="halt_on_error=1", ASAN_OPTIONS="detect_leaks=1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang's libFuzzer")
@pytest.mark.parametrize("target", COUNTS)
def test_libfuzzer(target: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    env = dict(os.environ)
    env.pop("LD_PRELOAD", None)
    done = subprocess.run(
        ["sh", "tests/fuzz/libfuzzer.sh", target, "20", str(tmp_path / "corpus")],
        cwd=pytestconfig.rootpath,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
