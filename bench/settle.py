"""Run a program as `newtos run` would place it, but on Linux's own network.

    python -P -m newtos_py.bench.settle CORE SLICE_US PROGRAM ARGS...

Same core, same scheduler slice: so that what a comparison shows is the network, and other load on
the machine meets both sides alike.
"""

import os
import sys
from contextlib import suppress

from newtos_py.kernel.sched import set_slice


def main(core: int, slice_us: int, command: list[str]) -> None:
    """Become the program."""
    os.sched_setaffinity(0, {core})
    # As newtos run does: a sandbox may forbid it.
    with suppress(OSError):
        set_slice(slice_us)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
