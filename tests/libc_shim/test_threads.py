"""Threads that share sockets, under the sanitizers."""

import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_threads_share_sockets(c_program: Callable[[str, str], list[str]], sanitizer: str) -> None:
    done = subprocess.run(
        c_program("socket_stress", sanitizer), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
