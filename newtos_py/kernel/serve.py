"""The main function of every server process (server.py says in which order things happen).

The process is a fresh fork of the zygote: one thread, nothing open but the link to rs and its log.
When rs is gone the link ends; the server then goes on serving without it, because its programs
need it and nothing here depends on rs, until somebody stops it (`newtos clean`).
"""

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.clock import now_ns
from newtos_py.kernel.link import Link, LinkClosedError
from newtos_py.kernel.log import log
from newtos_py.kernel.mapping import make_context
from newtos_py.kernel.process import pin, set_name
from newtos_py.kernel.sched import set_slice
from newtos_py.kernel.server import (
    ArenaUnusableError,
    Memory,
    RunningServer,
    ServerContext,
    ServerSpec,
)
from newtos_py.kernel.shared_parts import SharedParts

# A cffi object.
_C = Any

# A look at the link costs a system call (0.2 us): once a millisecond under load is nothing, and
# nobody waits long for an attach.
CONTROL_PERIOD_NS = 1_000_000
# What keys of a terminal, or its end, send to everybody started from it.
TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


@dataclass(slots=True)
class _Member:
    """One server of this process."""

    spec: ServerSpec
    setup: m.Setup
    context: ServerContext
    parts: SharedParts = field(default_factory=SharedParts)
    running: RunningServer | None = None

    def start(self) -> bool:
        """Start its engine; says whether it was a cold start."""
        assert self.spec.create is not None, f"{self.spec.name} has neither create nor run"
        self.running, cold = _start(self.spec.create, self.context, self.parts)
        _status(self.context.status).state = lib.NT_SERVER_RUNNING
        return cold


def main(specs: Sequence[ServerSpec], host: str, role: str, link_fd: int, log_fd: int) -> None:
    """Run a server, or several fused ones, until killed; returns only if one could not start."""
    # A terminal's signals go to rs, which decides; a dead reader of our log is no reason to die.
    for ignored in (*TERMINAL_SIGNALS, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    set_name(host, role)
    link = Link.from_fd(link_fd, m.SERVER_CODEC)
    try:
        _serve(specs, link)
    except LinkClosedError:
        return  # rs died before this server was anything
    except Exception as error:
        log(traceback.format_exc())
        reason = str(error) if isinstance(error, NewtosError | OSError) else repr(error)
        link.send(m.Failed(reason))


def _serve(specs: Sequence[ServerSpec], link: Link) -> None:
    members = [_receive_member(spec, link) for spec in specs]
    first = members[0]
    if first.spec.run is not None:
        assert len(members) == 1, "only engines can share a process"
        first.spec.run(first.context, link)
        return
    inbox = _Inbox(members, link)
    while not inbox.add_next():
        pass
    cold = [member.start() for member in members]
    link.send(m.Ready(cold[0], tuple(cold[1:])))
    _run(inbox, link)


def _receive_member(spec: ServerSpec, link: Link) -> _Member:
    setup = link.receive()
    assert isinstance(setup, m.Setup)
    _settle(setup.loop)
    context = make_context(setup, keep_status=spec.run is not None)
    _introduce(context.status, setup)
    return _Member(spec, setup, context)


class _Inbox:
    """What rs says, and which server of the process it is for."""

    def __init__(self, members: Sequence[_Member], link: Link) -> None:
        self.members = members
        self._current = members[0]
        self._link = link

    def add_next(self) -> bool:
        """Take the next message of a start; True if it was the last."""
        message = self._link.receive()
        if isinstance(message, m.For):
            self._current = self.members[message.server]
        elif not isinstance(message, m.Start):
            self._current.parts.add(message)
        return isinstance(message, m.Start)

    def obey(self) -> None:
        """Handle all messages that are there, between two steps."""
        while True:
            try:
                message = self._link.receive()
            except BlockingIOError:
                return
            if isinstance(message, m.For):
                self._current = self.members[message.server]
                continue
            problem = ""
            assert self._current.running is not None
            try:
                self._current.parts.add(message)(self._current.running)
            except (NewtosError, OSError) as error:
                problem = str(error)
            number: object = getattr(message, "number", 0)
            if isinstance(number, int) and number:
                self._link.send(m.Done(number, problem))


def _settle(loop: m.LoopPart) -> None:
    pin(loop.core)
    try:
        set_slice(loop.slice_us)
    except OSError as error:
        # Only the wake-up is slower without it, and a sandbox may forbid the call.
        log(f"no scheduler slice: {error.strerror}")


def _introduce(memory: Memory, setup: m.Setup) -> None:
    status = _status(memory)
    status.pid = os.getpid()
    status.generation = setup.generation
    status.state = lib.NT_SERVER_STARTING
    status.core = setup.loop.core
    status.started_ns = now_ns()


def _status(memory: Memory) -> _C:
    return ffi.cast("struct nt_status *", memory.address)


def _start(
    create: Callable[[ServerContext], RunningServer], context: ServerContext, parts: SharedParts
) -> tuple[RunningServer, bool]:
    """Start the engine, from its arena if that can be; says whether it was a cold start."""
    try:
        return _create(create, context, parts), False
    except ArenaUnusableError as error:
        log(f"cold start: {error}")
    assert context.arena is not None, "only an arena can be unusable"
    ffi.buffer(ffi.cast("char *", context.arena.address), context.arena.bytes)[:] = bytes(
        context.arena.bytes
    )
    return _create(create, replace(context, recovered=False), parts), True


def _create(
    create: Callable[[ServerContext], RunningServer], context: ServerContext, parts: SharedParts
) -> RunningServer:
    running = create(context)
    parts.show_all(running)
    running.start()
    return running


def _run(inbox: _Inbox, link: Link) -> None:
    """Run the engines for ever, and between two steps do what rs says."""
    loop = _make_loop(inbox.members)
    loop.control_fd = link.fileno()
    link.set_blocking(False)
    while True:
        assert lib.nt_loop_run(loop) == lib.NT_LOOP_CONTROL, "nothing else ends the loop"
        try:
            inbox.obey()
        except LinkClosedError:
            log("rs is gone; serving on without it")
            loop.control_fd = -1


def _make_loop(members: Sequence[_Member]) -> _C:
    """One loop over all engines, in boot order; rs gave all members the same doorbell."""
    loop = ffi.new("struct nt_loop *")
    engines = [engine for each in members if each.running for engine in each.running.engines]
    for i, engine in enumerate(engines):
        loop.engine[i] = ffi.cast("struct nt_engine *", engine)
    loop.engine_count = len(engines)
    first = members[0]
    loop.doorbell_fd = first.context.doorbell
    loop.status = _status(first.context.status)
    loop.tunables.budget = lib.NT_ENGINE_BUDGET
    loop.tunables.yields = first.setup.loop.yields
    loop.tunables.spin_ns = first.setup.loop.spin_ns
    loop.tunables.control_period_ns = CONTROL_PERIOD_NS
    return loop
