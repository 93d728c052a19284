"""A server's process as others see it: its name, its core, and whose death it follows."""

import os
from pathlib import Path

from newtos_py.kernel._kernel import ffi, lib

COMM_BYTES = 15  # TASK_COMM_LEN without its NUL
# Fields of /proc/PID/stat (proc(5)), counted from the one after the command's closing bracket.
ARG_START_FIELD = 48 - 3
ARG_END_FIELD = 49 - 3


def set_name(host: str, role: str) -> None:
    """Call this process newtos:HOST:ROLE in `ps`, and as much of that as fits in `top`."""
    title = f"newtos:{host}:{role}"
    Path("/proc/self/comm").write_text(short_name(host, role))
    set_title(title)


def short_name(host: str, role: str) -> str:
    """Shorten newtos:HOST:ROLE to a command name of Linux; the role is what goes last."""
    for name in (f"newtos:{host}:{role}", f"{host}:{role}"):
        if len(name) <= COMM_BYTES:
            return name
    room = COMM_BYTES - len(role) - 1
    return f"{host[:room]}:{role}" if room > 0 else role[:COMM_BYTES]


def set_title(title: str) -> None:
    """Overwrite this process's command line, which /proc/PID/cmdline reads from its memory.

    Cut to the room that the real one takes, so that the environment behind it stays. Nothing in
    Python looks there again: sys.argv and sys.orig_argv are copies.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[ARG_START_FIELD]), int(fields[ARG_END_FIELD])
    if start == 0 or end <= start + 1:
        return  # not for this kernel to tell (or prctl(PR_SET_MM) has been here)
    room = ffi.buffer(ffi.cast("char *", start), end - start)
    room[:] = title.encode()[: end - start - 1].ljust(end - start, b"\0")


def pin(core: int) -> None:
    """Keep this process on one core; OSError if it may not run there."""
    os.sched_setaffinity(0, {core})


def die_with_parent(signal_number: int, parent: int) -> None:
    """Get a signal when the parent ends; ProcessLookupError if `parent` is gone already.

    "The parent" is the thread that forked (prctl(2), PR_SET_PDEATHSIG).
    """
    error = -lib.nt_process_die_with_parent(signal_number, parent)
    if error:
        raise OSError(error, os.strerror(error))


def adopt_orphans() -> None:
    """Become the parent of orphans among this process's descendants, so as to reap them."""
    error = -lib.nt_process_adopt_orphans()
    if error:
        raise OSError(error, os.strerror(error))
