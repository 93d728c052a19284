"""The pump: a program that carries bytes for sockets which several processes use at once.

It is started when it is first needed, by the name of its module (no server knows the shim), and is
sent pairs: a socket, and the end of a socket pair whose other end the programs get. It outlives
this server; the next generation starts another for what comes then.
"""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

from newtos_py.kernel.descriptors import send_with

_MODULE = "newtos_py.libc_shim.pump"
_SHIM = "libnewtos.so"


class Pump:
    """The one of this generation."""

    def __init__(self, control_path: str) -> None:
        self._control_path = control_path
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def carry(self, placeholder: int) -> int:
        """Have a socket pumped: a descriptor for who uses it, the caller's; OSError."""
        if self.pid is None:
            self._start()
        assert self._commands is not None
        ours, theirs = socket.socketpair()
        with theirs:
            send_with(self._commands, b"x", (placeholder, theirs.fileno()), socket.MSG_DONTWAIT)
        return ours.detach()

    def _start(self) -> None:
        spec = importlib.util.find_spec(_MODULE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(2, f"{_MODULE} is not installed")
        if self._commands is not None:
            self._commands.close()
        self._commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {key: value for key, value in os.environ.items() if key != "NEWTOS_TOKEN"}
        environ["LD_PRELOAD"] = str(Path(spec.origin).parent / _SHIM)
        environ["NEWTOS_CONTROL"] = self._control_path
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
                env=environ,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
