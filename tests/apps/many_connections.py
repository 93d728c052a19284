"""Many connections at once: one side listens and echoes, the other connects; both then wait.

    many_connections.py serve PORTS...
    many_connections.py connect ADDRESS FIRST COUNT PORTS...

FIRST and COUNT say which of all connections this program makes; they go to the ports in turn. Both
print a line for what they reached and read commands from their standard input, one a line:

    ask N SEED   (connect) exchange N bytes with connections picked at random, each its own text
    open         (serve) how many connections are open
    end          go
"""

import contextlib
import random
import resource
import selectors
import socket
import sys

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


def serve(ports: list[int]) -> None:
    poller = selectors.EpollSelector()
    poller.register(sys.stdin.fileno(), selectors.EVENT_READ)
    for port in ports:
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


def connect(address: str, first: int, count: int, ports: list[int]) -> None:
    poller = selectors.EpollSelector()
    connections: list[socket.socket] = []
    pending = 0
    made = 0
    while made < count:
        while pending < WINDOW and len(connections) < count:
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect((address, ports[(first + len(connections)) % len(ports)]))
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
            case ["ask", number, seed]:
                say("answered", ask(connections, int(number), int(seed)))
            case _:
                return


def ask(connections: list[socket.socket], number: int, seed: int) -> int:
    rng = random.Random(seed)
    for i in range(number):
        chosen = rng.randrange(len(connections))
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
    return number


if __name__ == "__main__":
    allow_descriptors()
    if sys.argv[1] == "serve":
        serve([int(port) for port in sys.argv[2:]])
    else:
        connect(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), [int(p) for p in sys.argv[5:]])
