"""Sending and receiving descriptors beside a message (SCM_RIGHTS).

socket.send_fds and socket.recv_fds of Python 3.11 and 3.12 ignore the flags they are given, and
nothing here can do without them.
"""

import array
import os
import socket
import struct
from collections.abc import Iterable, Sequence

# struct ucred: pid, uid, gid.
UCRED = struct.Struct("iII")


def send_with(end: socket.socket, data: bytes, descriptors: Sequence[int], flags: int = 0) -> None:
    """Send one message of a SOCK_SEQPACKET socket; errors as sendmsg(2). Never raises SIGPIPE."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    end.sendmsg([data], rights if descriptors else [], flags | socket.MSG_NOSIGNAL)


def receive_with(
    end: socket.socket, most_bytes: int, most_descriptors: int, flags: int = 0
) -> tuple[bytes, list[int], int]:
    """Receive one message: data, descriptors (close-on-exec), and the flags that came with it."""
    data, descriptors, came, _ = receive_signed(end, most_bytes, most_descriptors, flags)
    return data, descriptors, came


def receive_signed(
    end: socket.socket, most_bytes: int, most_descriptors: int, flags: int = 0
) -> tuple[bytes, list[int], int, int]:
    """The same, and the process that sent it, as the kernel says; 0 without SO_PASSCRED."""
    room = socket.CMSG_SPACE(UCRED.size)
    room += socket.CMSG_LEN(most_descriptors * array.array("i").itemsize)
    data, ancillary, came, _ = end.recvmsg(most_bytes, room, flags | socket.MSG_CMSG_CLOEXEC)
    received, sender = array.array("i"), 0
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            sender, _, _ = UCRED.unpack(content)
    # The room for a sender that did not come may have taken more descriptors.
    close_all(received[most_descriptors:])
    return data, list(received[:most_descriptors]), came, sender


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors that nobody took, or needs any more."""
    for descriptor in descriptors:
        os.close(descriptor)
