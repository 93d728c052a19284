"""Sending and receiving descriptors beside a message (SCM_RIGHTS).

socket.send_fds and socket.recv_fds of Python 3.11 and 3.12 ignore the flags they are given, and
nothing here can do without them.
"""

import array
import os
import socket
from collections.abc import Iterable, Sequence


def send_with(end: socket.socket, data: bytes, descriptors: Sequence[int], flags: int = 0) -> None:
    """Send one message of a SOCK_SEQPACKET socket; errors as sendmsg(2). Never raises SIGPIPE."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    end.sendmsg([data], rights if descriptors else [], flags | socket.MSG_NOSIGNAL)


def receive_with(
    end: socket.socket, most_bytes: int, most_descriptors: int, flags: int = 0
) -> tuple[bytes, list[int], int]:
    """Receive one message: data, descriptors (close-on-exec), and the flags that came with it."""
    room = socket.CMSG_LEN(most_descriptors * array.array("i").itemsize)
    data, ancillary, came, _ = end.recvmsg(most_bytes, room, flags | socket.MSG_CMSG_CLOEXEC)
    received = array.array("i")
    for level, kind, rights in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(rights[: len(rights) - len(rights) % received.itemsize])
    return data, list(received), came


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody took, or needs any more."""
    for descriptor in descriptors:
        os.close(descriptor)
