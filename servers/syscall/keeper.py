"""What this server has rs keep for it: the asking side of messages.py's Keep and Drop.

An answer comes when every server that has to map something has done so. Notes need none: what has
been sent is kept (link.py).
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel.async_link import AsyncLink
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.link import Link

Numbered = (
    m.KeepProgram
    | m.DropProgram
    | m.KeepArea
    | m.DropArea
    | m.KeepQueue
    | m.KeepListener
    | m.DropListener
)


class KeepError(NewtosError):
    """rs could not do what it was asked for, or is gone."""


class Keeper:
    """The link to rs after Start."""

    def __init__(self, link: Link, on_restarted: Callable[[m.Restarted], None]) -> None:
        self._link = AsyncLink(link, self._on_message, self._on_end)
        self._on_restarted = on_restarted
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._number = 0
        self._is_gone = False

    async def do(self, message: Numbered) -> None:
        """Have something kept or dropped, and wait until that is so everywhere; KeepError."""
        if self._is_gone:
            raise KeepError("rs is gone")
        self._number += 1
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[self._number] = answer
        self._link.send(replace(message, number=self._number))
        problem = await answer
        if problem:
            raise KeepError(problem)

    def tell(self, message: Numbered) -> None:
        """Have something kept that nobody has to map: sent is kept (link.py)."""
        self._link.send(message)

    def note(self, key: str, text: str) -> None:
        """Keep a text under a key; an empty one removes it."""
        self._link.send(m.KeepNote(key, text))

    def keep_file(self, key: str, descriptor: int | None) -> None:
        """Keep a descriptor under a key; None removes it."""
        self._link.send(m.KeepFile(key, Fd(descriptor) if descriptor is not None else None))

    def ready(self) -> None:
        """Tell rs that this server is."""
        self._link.send(m.Ready(cold=False))

    def _on_message(self, message: object) -> None:
        match message:
            case m.Done():
                answer = self._asked.pop(message.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(message.error)
            case m.Restarted():
                self._on_restarted(message)
            case _:
                raise AssertionError(f"rs said {message!r}")

    def _on_end(self) -> None:
        """Connections that exist go on without rs; nothing new can be mapped."""
        self._is_gone = True
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            if not answer.done():
                answer.set_result("rs is gone")
