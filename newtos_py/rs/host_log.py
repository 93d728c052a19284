"""A host's log: what rs does, and what its servers print, line by line with time and role.

Servers print to a pipe that rs reads, so that a line of one never lands inside one of another, and
so that the last lines of a server that failed can be shown.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

# What is shown of a server that failed to start: a traceback of ours fits.
TAIL_LINES = 30
_READ_BYTES = 65536


class HostLog:
    """A log file, made with its first line; lines are written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def line(self, role: str, text: str) -> None:
        """Write one line; a full disk loses it, and nothing else."""
        now = time.strftime("%H:%M:%S")
        with contextlib.suppress(OSError):
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            os.write(self._descriptor, f"{now} {role}: {text}\n".encode(errors="replace"))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LogPipe:
    """The reading end of what one process prints."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._reader = reader
        self._on_line = on_line
        self._partial = b""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        asyncio.get_running_loop().add_reader(reader, self._readable)

    def close_writer(self) -> None:
        """Close our copy of the writing end, once the process has its own."""
        os.close(self.writer)

    def drain(self) -> None:
        """Read what is there, when its writer has ended, and close."""
        if self._reader >= 0:
            self._readable()
        self.close()

    def close(self) -> None:
        """Stop reading."""
        if self._reader >= 0:
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1

    def _readable(self) -> None:
        while self._reader >= 0:
            try:
                data = os.read(self._reader, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._partial += b"\n" if self._partial else b""
            *lines, self._partial = (self._partial + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                self.tail.append(text)
                self._on_line(text)
            if not data:
                self.close()
