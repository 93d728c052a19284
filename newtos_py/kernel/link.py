"""One connection between two of our processes: whole messages with descriptors, in order.

A SOCK_SEQPACKET socket pair. What has been sent reaches the other end even if the sender dies the
next moment, so a sender need not wait to know that a message is safe: only that it is acted upon.
"""

import socket
from collections.abc import Sequence

from newtos_py.errors import NewtosError
from newtos_py.kernel.codec import Codec
from newtos_py.kernel.descriptors import close_all, receive_with, send_with

# A setup names every region of a server (about 100 bytes each) and passes a descriptor for each;
# SCM_MAX_FD is 253.
_MESSAGE_BYTES = 128 * 1024
_MAX_FDS = 253
# One message a connection at a time would do; restarts send a burst, one a socket area.
_BUFFER_BYTES = 1024 * 1024


class LinkClosedError(NewtosError):
    """The other end is gone."""


class Link:
    """One end; non-blocking unless `blocking`."""

    def __init__(self, end: socket.socket, codec: Codec, *, blocking: bool = True) -> None:
        self._socket = end
        self._codec = codec
        end.setblocking(blocking)

    @classmethod
    def from_fd(cls, fd: int, codec: Codec, *, blocking: bool = True) -> "Link":
        """Take over a descriptor that was inherited or received."""
        return cls(socket.socket(fileno=fd), codec, blocking=blocking)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send one message; LinkClosedError if nobody can receive it any more.

        BlockingIOError if a non-blocking link's buffer is full: the other end does not read.
        """
        self.send_encoded(*self.encode(message))

    def encode(self, message: object) -> tuple[bytes, list[int]]:
        """Turn a message into what send_encoded takes, to be sent later."""
        text, descriptors = self._codec.encode(message)
        if len(text) > _MESSAGE_BYTES or len(descriptors) > _MAX_FDS:
            raise NewtosError(f"{type(message).__name__} is too long: {len(text)} bytes")
        return text, descriptors

    def send_encoded(self, text: bytes, descriptors: Sequence[int]) -> None:
        """Send an encoded message; errors as send."""
        try:
            send_with(self._socket, text, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise LinkClosedError("the other end of a link is gone") from None

    def receive(self) -> object:
        """Receive one message; LinkClosedError at the end, BlockingIOError if there is none yet."""
        try:
            text, descriptors, flags = receive_with(self._socket, _MESSAGE_BYTES, _MAX_FDS)
        except ConnectionResetError:
            raise LinkClosedError("the other end of a link is gone") from None
        if not text:
            raise LinkClosedError("the other end of a link is gone")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            close_all(descriptors)
            raise NewtosError("a message was cut off; are there too many open files?")
        return self._codec.decode(text, descriptors)

    def set_blocking(self, blocking: bool) -> None:
        """Choose whether receive and send wait."""
        self._socket.setblocking(blocking)

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def link_pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a link."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return pair
