"""The zygote: a process with Python and all engines loaded, from which servers are forked.

It has one thread and holds nothing but its link to rs, so that what is forked starts clean. It
reaps its children and tells rs how they ended. When rs is gone, so is it; servers stay.

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
from newtos_py.kernel.link import Link, LinkClosedError
from newtos_py.kernel.messages import ZYGOTE_CODEC, Exited, Fork, Forked
from newtos_py.kernel.process import set_title
from newtos_py.kernel.server import ServerSpec
from newtos_py.rs.specs import load_spec


def main(arguments: Sequence[str]) -> None:
    """Serve rs until it is gone."""
    link_fd, *references = arguments
    set_title("newtos:zygote")
    # A terminal's signals go to rs, which decides.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    specs = {reference: load_spec(reference) for reference in dict.fromkeys(references)}
    # What is loaded now is shared with all children: collecting must not touch, so copy, it.
    gc.collect()
    gc.freeze()
    with suppress(LinkClosedError):
        _serve_requests(Link.from_fd(int(link_fd), ZYGOTE_CODEC), specs)


def _serve_requests(link: Link, specs: Mapping[str, ServerSpec]) -> None:
    wake_reader, wake_writer = socket.socketpair()
    wake_reader.setblocking(False)
    wake_writer.setblocking(False)
    signal.set_wakeup_fd(wake_writer.fileno())
    # Only a signal with a handler of Python's is written to the wake-up descriptor.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poller = select.poll()
    poller.register(link, select.POLLIN)
    poller.register(wake_reader, select.POLLIN)
    own = (link.fileno(), wake_reader.fileno(), wake_writer.fileno())
    while True:
        ready = [descriptor for descriptor, _ in poller.poll()]
        if wake_reader.fileno() in ready:
            with suppress(BlockingIOError):
                wake_reader.recv(4096)
            _reap(link)
        if link.fileno() in ready:
            request = link.receive()
            assert isinstance(request, Fork)
            _fork(link, request, specs[request.reference], own)


def _fork(link: Link, request: Fork, spec: ServerSpec, own: Sequence[int]) -> None:
    """Fork one server and tell rs; the child never returns."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            close_all(own)
            serve.main(spec, request.host, request.role, request.link.number, request.log.number)
        finally:
            os._exit(1)
    pidfd = os.pidfd_open(pid)
    link.send(Forked(request.number, pid, Fd(pidfd)))
    close_all((pidfd, request.link.number, request.log.number))


def _reap(link: Link) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        link.send(Exited(pid, status))


if __name__ == "__main__":
    main(sys.argv[1:])
