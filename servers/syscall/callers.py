"""Call servers: processes that do the socket calls of one program each (the papers' baselines).

They are started by the name of their folder (no server knows the shim). Each ends with its
program, or with this server: it holds the other end of a socket that says so.
"""

import importlib.util
import socket
import subprocess
from pathlib import Path

_PACKAGE = "newtos_py.libc_shim"
_PROGRAM = "calls/newtos-calls"


class Callers:
    """Those of this generation."""

    def __init__(self) -> None:
        self._life, self._theirs = socket.socketpair()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, by_kernel: bool) -> int:
        """Start one for a program: a socket to it, the caller's to close; OSError."""
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(2, f"{_PACKAGE} is not installed")
        self._processes = [process for process in self._processes if process.poll() is None]
        program = Path(spec.origin).parent / _PROGRAM
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptors = (theirs.fileno(), self._theirs.fileno())
            mode = "syscall" if by_kernel else "channel"
            self._processes.append(
                subprocess.Popen(
                    [program, mode, *(str(number) for number in descriptors)],
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        return ours.detach()
