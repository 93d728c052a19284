"""The scheduler slice of servers and programs (sched.h says what it is good for)."""

import os

from newtos_py.kernel._kernel import lib


def set_slice(slice_us: int, pid: int = 0) -> None:
    """Give a process (0: the calling one) slices of `slice_us`; OSError if the kernel refuses."""
    error = -lib.nt_sched_set_slice(pid, slice_us * 1000)
    if error:
        raise OSError(error, os.strerror(error))


def slice_ns(pid: int = 0) -> int:
    """Tell the slice of a process (0: the calling one); 0 where the kernel does not say."""
    return lib.nt_sched_slice(pid)
