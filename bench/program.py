"""A server program on one side of a comparison, running for as long as the block lasts."""

import subprocess
import sys
from collections.abc import Sequence

from newtos_py.bench.report import BenchError
from newtos_py.bench.sides import CLIENT, SERVER, Side

_START_TIMEOUT_S = 15
# Exits when somebody accepts: argv is address, port, seconds.
_AWAIT = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[3])
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()
        break
    except OSError:
        if time.monotonic() > end:
            raise
        time.sleep(0.01)
"""


class ServerProgram:
    """A program that accepts on a port; a context manager."""

    def __init__(self, side: Side, port: int, command: Sequence[str]) -> None:
        self._name = command[0]
        self._process = subprocess.Popen(
            side.on(SERVER, command),
            env=side.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        waiting = [sys.executable, "-P", "-c", _AWAIT, side.address, str(port)]
        try:
            output_of(side, [*waiting, str(_START_TIMEOUT_S)], _START_TIMEOUT_S + 5)
        except BenchError as error:
            self.__exit__()
            raise BenchError(f"{self._name} does not accept on {side.name}: {error}") from None

    def __enter__(self) -> "ServerProgram":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def output_of(side: Side, command: Sequence[str], timeout_s: float) -> str:
    """Run a program on the side's client and return what it prints; BenchError if it fails."""
    try:
        done = subprocess.run(
            side.on(CLIENT, command),
            env=side.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(
            f"{command[0]} on {side.name} did not end within {timeout_s:.0f} s"
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise BenchError(f"{command[0]} on {side.name} ended with status {done.returncode}: {said}")
    return done.stdout
