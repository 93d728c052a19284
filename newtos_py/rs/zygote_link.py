"""The zygote as rs sees it: asked to fork, watched, replaced when it dies.

A zygote that died takes nobody along: its servers become children of rs (adopt_orphans), and a new
one is started at once. A fork that it was asked for and has not answered fails; whoever asked asks
the next one.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from newtos_py.errors import NewtosError
from newtos_py.kernel.async_link import AsyncLink
from newtos_py.kernel.link import Link, link_pair
from newtos_py.kernel.messages import ZYGOTE_CODEC, Exited, Fork, Forked
from newtos_py.rs.host_log import LogPipe
from newtos_py.rs.process_id import ProcessId, identify

# A zygote that dies before it could fork anything will go on doing so.
_MAX_FRUITLESS_STARTS = 3
_STOP_TIMEOUT_S = 2.0


class ZygoteError(NewtosError):
    """No process can be forked."""


@dataclass(frozen=True, slots=True)
class Child:
    """A forked process."""

    pid: int
    pidfd: int


class Zygote:
    """Keeps one zygote running."""

    def __init__(
        self,
        references: Sequence[str],
        on_line: Callable[[str], None],
        on_exit: Callable[[int, int], None],
        on_start: Callable[[], None],
    ) -> None:
        """`on_exit` hears of children that the zygote reaped: (pid, status)."""
        self._references = tuple(references)
        self._on_line = on_line
        self._on_exit = on_exit
        self._on_start = on_start
        self._asked: dict[int, asyncio.Future[Child]] = {}
        self._nothing_asked = asyncio.Event()
        self._nothing_asked.set()
        self._number = 0
        self._fruitless_starts = 0
        self._problem = ""
        self._process: subprocess.Popen[bytes]
        self._link: AsyncLink
        self._log: LogPipe

    @property
    def process(self) -> ProcessId | None:
        """The zygote that runs now."""
        return identify(self._process.pid)

    def start(self) -> None:
        """Start the process; it answers once it has loaded all servers."""
        ours, theirs = link_pair()
        self._log = LogPipe(self._on_line)
        command = [sys.executable, "-P", "-m", "newtos_py.rs.zygote", str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*command, *self._references],
            stdin=subprocess.DEVNULL,
            stdout=self._log.writer,
            stderr=self._log.writer,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._log.close_writer()
        self._link = AsyncLink(Link(ours, ZYGOTE_CODEC), self._on_message, self._on_end)

    async def fork(self, request: Fork) -> Child:
        """Fork a server; ZygoteError if the zygote dies over it."""
        if self._fruitless_starts > _MAX_FRUITLESS_STARTS:
            raise ZygoteError(self._problem)
        self._number += 1
        number = self._number
        answer: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._nothing_asked.clear()
        self._link.send(replace(request, number=number))
        return await answer

    async def stop(self) -> None:
        """End the zygote; what it was asked for and nobody wants any more is killed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._nothing_asked.wait()
        self._link.close()
        # It ends by itself, with the spare; a stopped one does not.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_TIMEOUT_S)
        self._process.kill()
        self._process.wait()
        self._log.drain()

    def _on_message(self, message: object) -> None:
        match message:
            case Forked():
                self._fruitless_starts = 0
                answer = self._asked.pop(message.number)
                if not self._asked:
                    self._nothing_asked.set()
                if answer.done():  # whoever asked has given up
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(message.pidfd.number, signal.SIGKILL)
                    os.close(message.pidfd.number)
                else:
                    answer.set_result(Child(message.pid, message.pidfd.number))
            case Exited():
                self._on_exit(message.pid, message.status)
            case _:
                raise AssertionError(f"the zygote said {message!r}")

    def _on_end(self) -> None:
        self._process.kill()
        status = self._process.wait()
        self._log.drain()
        self._problem = "\n".join(["the zygote died", *self._log.tail])
        asked, self._asked = self._asked, {}
        self._nothing_asked.set()
        self._fruitless_starts += 1
        if self._fruitless_starts <= _MAX_FRUITLESS_STARTS:
            self._on_line(f"ended with status {status}; starting another")
            self.start()
            self._on_start()
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(ZygoteError(self._problem))
