"""The shim's part of bench/instructions.py: an ordinary program, run on a host under callgrind.

callgrind counts within recv() and epoll_wait() of the preloaded library; a dump is made at each
call of getprotobyname(), which nothing else here makes, and so ends a case.
"""

import json
import select
import socket

PORT = 4000
CALLS = 200
WAITS = 50
# Within the host, so that both ends are this program's; an area holds 8,192 sockets, and valgrind
# leaves no address space to map another.
CONNECTIONS = 4_000


def connected(count: int) -> list[socket.socket]:
    """Both ends of `count` connections, nonblocking."""
    ends = []
    with socket.create_server(("127.0.0.1", PORT), backlog=128) as listener:
        for _ in range(count):
            ends.append(socket.create_connection(("127.0.0.1", PORT)))
            ends.append(listener.accept()[0])
    for end in ends:
        end.setblocking(False)
    return ends


def receive_nothing(sock: socket.socket) -> int:
    """Receives that find nothing."""
    for _ in range(CALLS):
        try:
            sock.recv(64)
        except BlockingIOError:
            continue
        raise AssertionError("there was something")
    return CALLS


def wait_for_one(ends: list[socket.socket]) -> int:
    """epoll_wait() with one of many sockets ready; level-triggered, so that it stays ready."""
    with select.epoll() as epoll:
        for sock in ends:
            epoll.register(sock, select.EPOLLIN)
        ends[0].send(b"x")
        assert epoll.poll(5, maxevents=64) == [(ends[1].fileno(), select.EPOLLIN)]
        mark()  # that one is not counted
        for _ in range(WAITS):
            assert len(epoll.poll(0, maxevents=64)) == 1
        mark()
    return WAITS


def mark() -> None:
    """End what is counted together."""
    socket.getprotobyname("tcp")


def main() -> None:
    """Run both, in order."""
    ends = connected(CONNECTIONS)
    mark()
    received = receive_nothing(ends[0])
    mark()
    print(json.dumps([received, wait_for_one(ends)]))


if __name__ == "__main__":
    main()
