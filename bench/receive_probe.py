"""An unmodified program that asks an idle connection for bytes, over and over (recvfrom.py).

    python -P -m newtos_py.bench.receive_probe CALLS RUNS

Prints the processor's cycles a call, one line a run.
"""

import socket
import sys

from newtos_py.bench._receive import lib


def main(calls: int, runs: int) -> None:
    """Measure on a loopback connection of wherever this runs."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        listener.accept()[0].detach()  # open until this program ends
        for _ in range(runs + 1):
            ticks = lib.nt_bench_kernel_receives(sock.fileno(), calls)
            print(ticks / calls, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
