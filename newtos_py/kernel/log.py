"""One line for the host's log, from whichever server.

Standard error of a server is a pipe that rs reads. If rs does not, or is gone, the line is lost:
no server waits for its log, or dies of it.
"""

import contextlib
import os

_STANDARD_ERROR = 2


def log(text: str) -> None:
    """Write a line."""
    with contextlib.suppress(OSError):
        os.write(_STANDARD_ERROR, f"{text}\n".encode(errors="replace"))
