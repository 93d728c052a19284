"""The zygote: a process with Python and all engines loaded, from which servers are forked.

It has one thread and holds nothing but its link to rs, so that what is forked starts clean. One
child is always forked ahead and waits to be told which server it is (the spare): a restart then
costs no fork. The zygote reaps its children and tells rs how they ended. When rs is gone, so are
the zygote and the spare; servers stay.

    python -P -m newtos_py.rs.zygote LINK_FD REFERENCE...        (only rs starts it)
"""

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from newtos_py.kernel import serve
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.link import Link, LinkClosedError, link_pair
from newtos_py.kernel.messages import SERVER_CODEC, ZYGOTE_CODEC, Exited, Fork, Forked
from newtos_py.kernel.process import set_title
from newtos_py.kernel.serve import TERMINAL_SIGNALS
from newtos_py.kernel.server import ServerSpec
from newtos_py.rs.specs import load_spec


def main(arguments: Sequence[str]) -> None:
    """Serve rs until it is gone."""
    link_fd, *references = arguments
    set_title("newtos:zygote")
    # A terminal's signals go to rs, which decides.
    for ignored in (*TERMINAL_SIGNALS, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    SERVER_CODEC.warm_up()
    specs = {reference: load_spec(reference) for reference in dict.fromkeys(references)}
    # What is loaded now is shared with all children: collecting must not touch, so copy, it.
    gc.collect()
    gc.freeze()
    with suppress(LinkClosedError):
        Zygote(Link.from_fd(int(link_fd), ZYGOTE_CODEC), specs).run()


# The spare is forked when nothing has been asked for so long: not beside a server's first steps.
QUIET_MS = 20


class Zygote:
    """The loop of the zygote."""

    def __init__(self, link: Link, specs: Mapping[str, ServerSpec]) -> None:
        self._link = link
        self._specs = specs
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        signal.set_wakeup_fd(self._wake_writer.fileno())
        # Only a signal with a handler of Python's is written to the wake-up descriptor.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # Its pid, and the link through which it hears what it is to be.
        self._spare: tuple[int, Link] | None = None

    def run(self) -> None:
        """Fork what rs asks for, until it is gone."""
        poller = select.poll()
        poller.register(self._link, select.POLLIN)
        poller.register(self._wake_reader, select.POLLIN)
        try:
            while True:
                timeout_ms = QUIET_MS if self._spare is None else None
                ready = [descriptor for descriptor, _ in poller.poll(timeout_ms)]
                if self._wake_reader.fileno() in ready:
                    with suppress(BlockingIOError):
                        self._wake_reader.recv(4096)
                    self._reap()
                if self._link.fileno() in ready:
                    self._fork(self._link.receive())
                if not ready:
                    self._spare = self._fork_spare()
        finally:
            self._drop_spare()

    def _fork(self, request: object) -> None:
        """Turn the spare into what rs asks for."""
        assert isinstance(request, Fork)
        pid, link = self._spare or self._fork_spare()
        self._spare = None
        pidfd = os.pidfd_open(pid)
        # If somebody has killed it this moment, rs sees a server that died at once.
        with suppress(LinkClosedError):
            link.send(request)
        link.close()
        self._link.send(Forked(request.number, pid, Fd(pidfd)))
        close_all((pidfd, request.link.number, request.log.number))

    def _fork_spare(self) -> tuple[int, Link]:
        """Fork a process that waits for its Fork message; the child never returns."""
        ours, theirs = link_pair()
        pid = os.fork()
        if pid:
            theirs.close()
            return pid, Link(ours, ZYGOTE_CODEC)
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            ours.close()
            self._wake_reader.close()
            self._wake_writer.close()
            self._link.close()
            _become_server(Link(theirs, ZYGOTE_CODEC), self._specs)
        finally:
            os._exit(1)

    def _drop_spare(self) -> None:
        if self._spare is not None:
            pid, link = self._spare
            link.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if self._spare is not None and pid == self._spare[0]:
                    self._spare[1].close()
                    self._spare = None
                self._link.send(Exited(pid, status))


def _become_server(link: Link, specs: Mapping[str, ServerSpec]) -> None:
    set_title("newtos:spare")
    try:
        request = link.receive()
    except LinkClosedError:
        return
    assert isinstance(request, Fork)
    link.close()
    serve.main(
        [specs[reference] for reference in request.references],
        request.host,
        request.role,
        request.link.number,
        request.log.number,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
