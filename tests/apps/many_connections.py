"""Many connections at once: one side listens and echoes, the other connects; both then wait.

    many_connections.py serve PORT
    many_connections.py connect PORT COUNT ADDRESS...

The COUNT connections go to the addresses in turn: there are 28,232 ports for each. Both print a
line for what they reached and read commands from their standard input, one a line:

    ask N SEED   (connect) N times, exchange a text over a connection picked at random
    ask all SEED (connect) the same, once over each
    open         (serve) how many connections are open
    end          go
"""

import contextlib
import random
import resource
import selectors
import socket
import sys
from collections.abc import Sequence

# Of the connections that are being made, so that no accept queue overflows.
WINDOW = 256
BACKLOG = 4096


def allow_descriptors() -> None:
    """As many as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 18
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(*words: object) -> None:
    print(*words, flush=True)


def serve(port: int) -> None:
    poller = selectors.EpollSelector()
    poller.register(sys.stdin.fileno(), selectors.EVENT_READ)
    listener = socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    listener.setblocking(False)
    poller.register(listener, selectors.EVENT_READ, "listener")
    open_now = 0
    say("ready")
    while True:
        for key, _ in poller.select():
            if key.data == "listener":
                with contextlib.suppress(BlockingIOError):
                    while True:
                        connection, _ = key.fileobj.accept()
                        connection.setblocking(False)
                        poller.register(connection, selectors.EVENT_READ, "connection")
                        open_now += 1
            elif key.data == "connection":
                with contextlib.suppress(BlockingIOError):
                    if data := key.fileobj.recv(65536):
                        key.fileobj.sendall(data)
                    else:
                        poller.unregister(key.fileobj)
                        key.fileobj.close()
                        open_now -= 1
            else:
                words = sys.stdin.readline().split()
                if words == ["open"]:
                    say("open", open_now)
                else:
                    return


def connect(port: int, count: int, addresses: list[str]) -> None:
    poller = selectors.EpollSelector()
    connections: list[socket.socket] = []
    pending = 0
    made = 0
    while made < count:
        while pending < WINDOW and len(connections) < count:
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect((addresses[len(connections) % len(addresses)], port))
            poller.register(sock, selectors.EVENT_WRITE)
            connections.append(sock)
            pending += 1
        for key, _ in poller.select():
            poller.unregister(key.fileobj)
            error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                say("failed", error, "after", made)
                return
            pending -= 1
            made += 1
    say("connected", made)
    for line in sys.stdin:
        match line.split():
            case ["ask", "all", seed]:
                say("answered", ask(connections, range(len(connections)), int(seed)))
            case ["ask", number, seed]:
                rng = random.Random(seed)
                chosen = [rng.randrange(len(connections)) for _ in range(int(number))]
                say("answered", ask(connections, chosen, int(seed)))
            case _:
                return


def ask(connections: list[socket.socket], whom: Sequence[int], seed: int) -> int:
    for i, chosen in enumerate(whom):
        text = f"{seed} {i} {chosen}".encode()
        sock = connections[chosen]
        sock.setblocking(True)
        sock.sendall(text)
        answer = b""
        while len(answer) < len(text):
            more = sock.recv(len(text))
            if not more:
                return i
            answer += more
        if answer != text:
            return i
    return len(whom)


if __name__ == "__main__":
    allow_descriptors()
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        connect(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
