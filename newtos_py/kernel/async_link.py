"""A link in an event loop: sending never waits for the other end, receiving calls back.

A server that does not read (it is stopped, or dying) must not hold up rs. What its socket does not
take stays in a queue here, with duplicates of the descriptors, until it does or the link is closed.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable

from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.link import Link, LinkClosedError


class AsyncLink:
    """One end of a link, watched by the running event loop."""

    def __init__(
        self, link: Link, on_message: Callable[[object], None], on_end: Callable[[], None]
    ) -> None:
        self._link = link
        self._on_message = on_message
        self._on_end = on_end
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        link.set_blocking(False)
        self._loop.add_reader(link.fileno(), self._readable)

    def send(self, message: object) -> None:
        """Send, now or later; silently forgotten if the other end is gone."""
        if not self._is_open:
            return
        text, descriptors = self._link.encode(message)
        if not self._unsent and self._try_send(text, descriptors):
            return
        if not self._unsent:
            self._loop.add_writer(self._link.fileno(), self._writable)
        self._unsent.append((text, [os.dup(descriptor) for descriptor in descriptors]))

    def finish(self) -> None:
        """Hear what the other end, now dead, has said last; then close."""
        if self._is_open:
            self._readable()
        self.close()

    def close(self) -> None:
        """Close this end; on_end is not called any more."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._link.fileno())
        self._loop.remove_writer(self._link.fileno())
        self._link.close()
        while self._unsent:
            close_all(self._unsent.popleft()[1])

    def _try_send(self, text: bytes, descriptors: list[int]) -> bool:
        """Send if that can be done at once; what nobody will receive counts as sent."""
        try:
            self._link.send_encoded(text, descriptors)
        except BlockingIOError:
            return False
        except LinkClosedError:
            pass  # its end will be read in a moment
        return True

    def _writable(self) -> None:
        while self._unsent:
            text, descriptors = self._unsent[0]
            if not self._try_send(text, descriptors):
                return
            self._unsent.popleft()
            close_all(descriptors)
        self._loop.remove_writer(self._link.fileno())

    def _readable(self) -> None:
        while self._is_open:
            try:
                message = self._link.receive()
            except BlockingIOError:
                return
            except LinkClosedError:
                self.close()
                self._on_end()
                return
            self._on_message(message)
