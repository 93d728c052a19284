"""The programs of the `connections` experiment (connections.py), on either side.

    python -P -m newtos_py.bench.connections_probe serve PORT
    python -P -m newtos_py.bench.connections_probe ask ADDRESS PORT

`ask` reads commands from its standard input, one a line, and prints a number for each:

    grow COUNT                 connections there are now
    ask AMONG WINDOW MS SEED   requests that were answered meanwhile (connections_bench.h)
    pause                      microseconds that passed without an answer, at most, the last time
"""

import contextlib
import os
import resource
import select
import socket
import sys

from newtos_py.bench._connections import ffi, lib

_BACKLOG = 4096
# So many at a time: accept queues don't overflow, and SYNs aren't lost.
_WINDOW = 128


def raise_limit() -> None:
    """Allow as many descriptors as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(port: int) -> None:
    """Echo until killed."""
    with socket.create_server(("0.0.0.0", port), backlog=_BACKLOG) as listener:
        listener.setblocking(False)
        problem = lib.nt_bench_echo(listener.fileno())
    sys.exit(f"echoing: {os.strerror(-problem)}")


class Asker:
    """Connections to one server."""

    def __init__(self, address: str, port: int) -> None:
        self._to = (address, port)
        self._connections: list[socket.socket] = []
        self._epoll = select.epoll()
        self._pause_ns = ffi.new("uint64_t *")

    def grow(self, count: int) -> int:
        """Connect until there are so many."""
        while (missing := count - len(self._connections)) > 0:
            self._connect(min(missing, _WINDOW))
        return len(self._connections)

    def _connect(self, count: int) -> None:
        fresh = [socket.socket() for _ in range(count)]
        for sock in fresh:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(self._to)
        with select.epoll() as waiting:
            for sock in fresh:
                waiting.register(sock.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)
            left = count
            while left:
                left -= len(waiting.poll())
        for sock in fresh:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._connections += fresh

    def ask(self, among: int, window: int, ms: int, seed: int) -> int:
        """Ask for so long; how many requests were answered."""
        fds = ffi.new("int[]", [sock.fileno() for sock in self._connections])
        epoll, ns = self._epoll.fileno(), ms * 1_000_000
        done = lib.nt_bench_ask(epoll, fds, among, window, ns, seed, self._pause_ns)
        if done < 0:
            raise OSError(-done, os.strerror(-done))
        return int(done)

    def pause_us(self) -> int:
        """The longest time without an answer while it last asked."""
        return int(self._pause_ns[0]) // 1000


def answer(asker: Asker, words: list[str]) -> int:
    """Obey a command."""
    match words:
        case ["grow", count]:
            return asker.grow(int(count))
        case ["ask", *numbers]:
            among, window, ms, seed = (int(number) for number in numbers)
            return asker.ask(among, window, ms, seed)
        case ["pause"]:
            return asker.pause_us()
    raise ValueError(f"no command: {words}")


def main(words: list[str]) -> None:
    """Serve, or ask."""
    raise_limit()
    match words:
        case ["serve", port]:
            serve(int(port))
        case ["ask", address, port]:
            asker = Asker(address, int(port))
            for line in sys.stdin:
                print(answer(asker, line.split()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
