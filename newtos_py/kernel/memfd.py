"""Memory that programs share with servers: anonymous, sealed, handed over by SCM_RIGHTS.

A memfd has no name, so it works for a program after setuid, chroot or under seccomp, and it is gone
with its last descriptor. It is sealed against shrinking (a peer that truncated it would turn every
access into a SIGBUS) and growing, and against changing the seals. Who only reads it gets a
descriptor that was opened for reading, from which no writable mapping can be made.

Socket areas are sparse: tens of gigabytes of address space, of which only what is used is memory.
They are never allocated in advance.
"""

import fcntl
import os


def create_memfd(name: str, size: int) -> int:
    """Make a sealed memfd of `size` zero bytes, sparse, readable and writable.

    `name` shows in /proc/PID/maps. The descriptor is close-on-exec. OSError as memfd_create(2).
    """
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        # Without a mode for others, only its owner can open it anew through /proc.
        os.fchmod(descriptor, 0o600)
        os.truncate(descriptor, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def reopen_read_only(descriptor: int) -> int:
    """Open a memfd again, for reading only: what a reader is handed. Close-on-exec."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
