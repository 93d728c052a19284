"""What programs do with a connection and its ends, step by step, for any pair of sockets.

A scenario yields what the program saw. It runs on Linux's own sockets, with a second one as the
peer, on ours with the server played by the test, and on ours with two real TCP engines; all must
see the same.
"""

import errno
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from newtos_py.libc_shim.sockets.program import Socket

ALL_EVENTS = (
    select.POLLIN
    | select.POLLPRI
    | select.POLLOUT
    | select.POLLRDNORM
    | select.POLLWRNORM
    | select.POLLRDHUP
)
WAIT_MS = 2000


class Peer(Protocol):
    """What the other end may do, and the socket under test."""

    sock: "socket.socket | Socket"

    def poll(self) -> int: ...
    def sends(self, data: bytes) -> None: ...
    def shuts(self) -> None: ...
    def resets(self) -> None: ...
    def acknowledges_fin(self) -> None: ...


def kernel_poll(sock: socket.socket) -> int:
    poller = select.poll()
    poller.register(sock, ALL_EVENTS)
    found = poller.poll(0)
    return found[0][1] if found else 0


def wait_until(sock: socket.socket, events: int) -> None:
    """Loopback delivers within the sender's call, except where the kernel defers it."""
    poller = select.poll()
    poller.register(sock, events)
    assert poller.poll(WAIT_MS), "nothing happened on loopback"


class KernelPeer:
    """Both ends are Linux's, on loopback."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.sock = socket.socket()
            self.sock.setblocking(False)
            self.sock.connect_ex(listener.getsockname())
            self.other, _ = listener.accept()
        wait_until(self.sock, select.POLLOUT)

    def poll(self) -> int:
        return kernel_poll(self.sock)

    def sends(self, data: bytes) -> None:
        self.other.send(data)
        wait_until(self.sock, select.POLLIN)

    def shuts(self) -> None:
        self.other.shutdown(socket.SHUT_WR)
        wait_until(self.sock, select.POLLRDHUP)

    def resets(self) -> None:
        self.other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.other.close()
        wait_until(self.sock, select.POLLHUP)

    def acknowledges_fin(self) -> None:
        pass  # the kernel has done that

    def close(self) -> None:
        self.sock.close()
        self.other.close()


def outcome(call: Callable[..., object], *args: object) -> object:
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def receive(peer: Peer, size: int = 100, flags: int = 0) -> object:
    return outcome(lambda: peer.sock.recv(size, flags))


def send(peer: Peer, data: bytes = b"data") -> object:
    return outcome(lambda: peer.sock.send(data, socket.MSG_NOSIGNAL))


def so_error(peer: Peer) -> object:
    return outcome(lambda: peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def shut(peer: Peer, how: int) -> object:
    return outcome(lambda: peer.sock.shutdown(how) or 0)


def named(peer: Peer) -> object:
    return outcome(lambda: peer.sock.getpeername() and "named")


def fresh_connection(peer: Peer) -> Iterator[object]:
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield so_error(peer)
    yield named(peer)
    yield receive(peer, 1, socket.MSG_OOB)
    yield receive(peer, 1, socket.MSG_ERRQUEUE)


def data_and_fin(peer: Peer) -> Iterator[object]:
    peer.sends(b"abcdef")
    yield peer.poll()
    yield receive(peer, 2, socket.MSG_PEEK)
    yield receive(peer, 2)
    peer.shuts()
    yield peer.poll()
    yield receive(peer, 100)
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield so_error(peer)
    yield shut(peer, socket.SHUT_WR)
    peer.acknowledges_fin()
    yield peer.poll()
    yield send(peer)
    yield receive(peer)


def reset(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield peer.poll()
    yield receive(peer)
    yield peer.poll()
    yield receive(peer)
    yield send(peer)
    yield named(peer)
    yield shut(peer, socket.SHUT_RDWR)
    yield so_error(peer)


def reset_seen_by_send(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield send(peer)
    yield send(peer)
    yield receive(peer)
    yield peer.poll()


def reset_seen_by_so_error(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield so_error(peer)
    yield so_error(peer)
    yield receive(peer)
    yield send(peer)


def reset_behind_data(peer: Peer) -> Iterator[object]:
    peer.sends(b"last words")
    peer.resets()
    yield peer.poll()
    yield receive(peer, 4)
    yield receive(peer, 100)
    yield receive(peer)
    yield receive(peer)


def reset_after_fin(peer: Peer) -> Iterator[object]:
    peer.shuts()
    yield receive(peer)
    peer.resets()
    yield peer.poll()
    yield receive(peer)
    yield so_error(peer)
    yield send(peer)


def shut_write(peer: Peer) -> Iterator[object]:
    yield shut(peer, socket.SHUT_WR)
    yield peer.poll()
    yield send(peer)
    yield receive(peer)
    peer.sends(b"still")
    yield peer.poll()
    yield receive(peer)
    yield shut(peer, socket.SHUT_WR)


def shut_read(peer: Peer) -> Iterator[object]:
    yield shut(peer, socket.SHUT_RD)
    yield peer.poll()
    yield receive(peer)
    peer.sends(b"late")
    yield receive(peer)
    yield receive(peer)
    yield send(peer)
    yield shut(peer, socket.SHUT_WR)
    yield peer.poll()


def connect_again(peer: Peer) -> Iterator[object]:
    address = ("127.0.0.1", 1)
    yield outcome(lambda: peer.sock.connect(address))
    yield outcome(lambda: peer.sock.connect(address))
    yield outcome(lambda: peer.sock.accept() and None)


def connect_after_reset(peer: Peer) -> Iterator[object]:
    peer.resets()
    yield outcome(lambda: peer.sock.connect(("127.0.0.1", 1)))
    yield peer.poll()
    yield send(peer)


SCENARIOS = [
    fresh_connection,
    data_and_fin,
    reset,
    reset_seen_by_send,
    reset_seen_by_so_error,
    reset_behind_data,
    reset_after_fin,
    shut_write,
    shut_read,
    connect_again,
    connect_after_reset,
]
