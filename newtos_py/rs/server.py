"""A server of a host through all its generations: start it, watch it, start it again.

Several servers may be fused into one process (topology/placement.py); they live and die together,
so they are one `Server` here: `plans` are its members, and what is said to one of them names it.

A generation goes  starting -> running -> (dies) restarting -> starting ...  until it has died too
often in a row, too soon after its start: then it is failed, and the others live on without it.
rs learns of a death by pidfd and restarts at once; that a server is slow, stopped or does not
answer never holds up anything here.

Whatever programs share with the server (store.py) is handed to each generation before Start. What
is asked of it later and not answered when it dies is covered by that, so it counts as done when
the next generation is ready.
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel.async_link import AsyncLink
from newtos_py.kernel.clock import now_ns
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.link import Link, link_pair
from newtos_py.rs.hang import HangWatch, Verdict, look_at
from newtos_py.rs.host_log import HostLog, LogPipe
from newtos_py.rs.process_id import ProcessId, identify
from newtos_py.rs.records import ServerRecord, ServerState
from newtos_py.rs.zygote_link import Child, ZygoteError
from newtos_py.topology import ServerPlan

# Recovering maps and sweeps all areas; a generation that takes longer hangs.
START_TIMEOUT_S = 10.0
# A generation that ran so long has done something useful, or met a new misfortune.
QUICK_DEATH_NS = 100_000_000
# So many quick deaths in a row are answered at once, then with growing delays, then never.
FREE_RESTARTS = 2
FIRST_DELAY_S = 0.01
LAST_DELAY_S = 2.0
MAX_QUICK_DEATHS = 10
_PIDS = 8


class ServerFailedError(NewtosError):
    """A server did not start."""


def restart_delay_s(quick_deaths: int) -> float | None:
    """How long to wait after so many quick deaths in a row; None: give up."""
    if quick_deaths >= MAX_QUICK_DEATHS:
        return None
    if quick_deaths <= FREE_RESTARTS:
        return 0.0
    delay_s: float = FIRST_DELAY_S * 2 ** (quick_deaths - FREE_RESTARTS - 1)
    return min(delay_s, LAST_DELAY_S)


@dataclass(frozen=True, slots=True)
class ReadyServer:
    """A generation that is ready."""

    role: str
    pid: int
    core: int
    generation: int
    # Its arena could not be recovered.
    cold: bool
    # From the decision to start it.
    taken_ns: int


class Surroundings(Protocol):
    """What a server's host does for it."""

    @property
    def host(self) -> str:
        """The host's name."""

    @property
    def log(self) -> HostLog:
        """The host's log."""

    def fork(self, request: m.Fork) -> Awaitable[Child]:
        """Ask the zygote."""

    def setup_for(self, plan: ServerPlan, generation: int) -> m.Setup:
        """Everything that a generation is made of."""

    def parts_for(self, role: str) -> Iterable[object]:
        """Everything that programs share with it."""

    def changed(self) -> None:
        """The server's record has changed."""

    def became_ready(self, ready: ReadyServer) -> None:
        """A generation is ready."""

    def asked(self, message: object) -> None:
        """The server (the syscall server, that is) asks for something."""


@dataclass(slots=True)
class _Generation:
    """One process."""

    number: int
    link: AsyncLink
    log: LogPipe
    # The process ended; set once.
    ended: asyncio.Event
    # Ready or Failed, or None if it ended before it said either.
    outcome: asyncio.Future[m.Ready | m.Failed | None]
    hang: HangWatch
    child: Child | None = None
    process: ProcessId | None = None
    ready_ns: int = 0


class Server:
    """One server."""

    def __init__(
        self,
        surroundings: Surroundings,
        plans: Sequence[ServerPlan],
        references: Sequence[str],
        *,
        polls_for_ever: bool = False,
    ) -> None:
        self.plans = tuple(plans)
        self._roles = [plan.role for plan in plans]
        self._surroundings = surroundings
        self._references = tuple(references)
        self._polls_for_ever = polls_for_ever
        self._state = ServerState.STARTING
        self._number = 0
        self._current: _Generation | None = None
        self._restarts = 0
        self._stopping = False
        self._supervisor: asyncio.Task[None] | None = None
        # Asked of the current generation and not answered; asked while there was none.
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._waiting: list[asyncio.Future[str]] = []
        self._ask_number = 0
        # Of the last few processes: the zygote reports how one ended after the next is there.
        self.pids: deque[int] = deque(maxlen=_PIDS)
        # Processes that died soon after their start, in a row; those killed by us, and by others.
        self._quick_deaths: list[int] = []
        self._condemned: deque[int] = deque(maxlen=_PIDS)
        self._excused: deque[int] = deque(maxlen=_PIDS)

    @property
    def role(self) -> str:
        """Its role in the host; of fused servers, what they are called together."""
        return self.plans[0].process if len(self.plans) > 1 else self._roles[0]

    @property
    def needs(self) -> set[str]:
        """Roles that must be ready before it starts."""
        return {role for plan in self.plans for role in plan.needs} - set(self._roles)

    @property
    def pid(self) -> int:
        """Of the current process; 0 if there is none."""
        child = self._current.child if self._current is not None else None
        return child.pid if child is not None else 0

    def record(self, role: str) -> ServerRecord:
        """What rs has to say about it, or one of its members."""
        process = self._current.process if self._current is not None else None
        core = self.plans[0].core
        return ServerRecord(role, core, self._state, self._number, self._restarts, process)

    async def start(self) -> None:
        """Start the first generation and supervise it; ServerFailedError if it does not start."""
        generation = await self._start_generation()
        self._supervisor = asyncio.create_task(self._supervise(generation))

    def send(self, message: object) -> None:
        """Tell the server something that its next generation need not hear."""
        if self._current is not None:
            self._current.link.send(message)

    def ask(self, role: str, message: m.Part) -> asyncio.Future[str]:
        """Send a numbered message to a member; the answer is "" or what went wrong.

        If there is no generation now, the next is handed the same by parts_for: then there is
        nothing to send. A failed server has nothing mapped, so that is an answer, too.
        """
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self._state is ServerState.FAILED or self._stopping:
            answer.set_result("")
        elif self._current is None or self._current.ended.is_set():
            self._waiting.append(answer)
        else:
            self._ask_number += 1
            self._asked[self._ask_number] = answer
            self._address(self._current, role)
            self._current.link.send(replace(message, number=self._ask_number))
        return answer

    def end_if_it_hangs(self, heartbeat: int) -> None:
        """Look at the process; kill it if it hangs, so that it is started again."""
        generation = self._current
        if generation is None or generation.child is None or self._state is not ServerState.RUNNING:
            return
        look = look_at(generation.child.pid, heartbeat)
        verdict = generation.hang.judge(look) if look is not None else Verdict.FINE
        if verdict is not Verdict.FINE:
            self._surroundings.log.line("rs", f"{self.role} {verdict.value}; it is killed")
            self._send_kill(generation.child)

    def ended_as(self, pid: int, status: int) -> None:
        """Hear how one of `pids` ended: it is not to blame for a SIGKILL that was not ours.

        An operator or a campaign may kill a server as often as they like; what kills itself over
        and over is left down. The pidfd may have told of the death before this, or will after.
        """
        from_outside = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if from_outside and pid not in self._condemned:
            self._excused.append(pid)
            self._quick_deaths = [each for each in self._quick_deaths if each != pid]

    async def stop(self) -> None:
        """Kill it, and wait until it has ended. Everything durable is in shared memory."""
        self._stopping = True
        if self._supervisor is not None:
            self._supervisor.cancel()
        generation = self._current
        if generation is not None:
            if generation.child is not None:
                await self._kill(generation)
            self._bury(generation)
        self._answer_all()

    # -- One generation ----------------------------------------------------------------------

    async def _start_generation(self) -> _Generation:
        """Fork a process and bring it to Ready; ServerFailedError if that does not work out."""
        self._number += 1
        surroundings = self._surroundings
        started_ns = now_ns()
        ours, theirs = link_pair()
        log = LogPipe(lambda line: surroundings.log.line(self.role, line))
        generation = _Generation(
            number=self._number,
            link=AsyncLink(Link(ours, m.SERVER_CODEC), self._on_message, lambda: None),
            log=log,
            ended=asyncio.Event(),
            hang=HangWatch(polls_for_ever=self._polls_for_ever),
            outcome=asyncio.get_running_loop().create_future(),
        )
        request = m.Fork(
            0, surroundings.host, self.role, self._references, Fd(theirs.fileno()), Fd(log.writer)
        )
        # It is sent before there is a process to read it: that saves a round trip.
        for plan in self.plans:
            generation.link.send(surroundings.setup_for(plan, self._number))
        for plan in self.plans:
            self._address(generation, plan.role)
            for part in surroundings.parts_for(plan.role):
                generation.link.send(part)
        generation.link.send(m.Start())
        self._current = generation
        try:
            generation.child = await surroundings.fork(request)
        except ZygoteError as error:
            generation.ended.set()
            self._bury(generation)
            raise ServerFailedError(f"can't start {self.role}: {error}") from None
        finally:
            theirs.close()
            log.close_writer()
        self.pids.append(generation.child.pid)
        generation.process = identify(generation.child.pid)
        asyncio.get_running_loop().add_reader(generation.child.pidfd, self._on_end, generation)
        surroundings.changed()
        ready = await self._await_ready(generation)
        generation.ready_ns = now_ns()
        self._state = ServerState.RUNNING
        surroundings.changed()
        taken_ns = generation.ready_ns - started_ns
        for plan, cold in zip(self.plans, (ready.cold, *ready.also_cold), strict=True):
            surroundings.became_ready(
                ReadyServer(plan.role, self.pid, plan.core, self._number, cold, taken_ns)
            )
        return generation

    def _address(self, generation: _Generation, role: str) -> None:
        """Say for which member the next messages are."""
        if len(self._roles) > 1:
            generation.link.send(m.For(self._roles.index(role)))

    async def _await_ready(self, generation: _Generation) -> m.Ready:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                outcome = await asyncio.shield(generation.outcome)
        except TimeoutError:
            outcome = m.Failed(f"it was not ready after {START_TIMEOUT_S:g} s")
        if isinstance(outcome, m.Ready):
            self._answer_waiting()
            return outcome
        await self._kill(generation)
        self._bury(generation)
        reason = outcome.reason if outcome is not None else "it ended"
        last = "".join(f"\n  {line}" for line in generation.log.tail)
        raise ServerFailedError(f"server {self.role} did not start: {reason}{last}")

    def _on_message(self, message: object) -> None:
        generation = self._current
        assert generation is not None
        match message:
            case m.Ready() | m.Failed():
                if not generation.outcome.done():
                    generation.outcome.set_result(message)
            case m.Done():
                answer = self._asked.pop(message.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(message.error)
            case _:
                self._surroundings.asked(message)

    def _on_end(self, generation: _Generation) -> None:
        """The pidfd says that the process has ended."""
        assert generation.child is not None
        asyncio.get_running_loop().remove_reader(generation.child.pidfd)
        # Ours only if the zygote that forked it is dead.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(generation.child.pid, os.WNOHANG)
        generation.ended.set()
        if not generation.outcome.done():
            generation.outcome.set_result(None)

    def _bury(self, generation: _Generation) -> None:
        """Close what belonged to a generation; what it owed an answer waits for the next."""
        # What it said last still counts: a note that was sent is stored.
        generation.link.finish()
        generation.log.drain()
        if generation.child is not None:
            os.close(generation.child.pidfd)
        if self._current is generation:
            self._current = None
        self._waiting += self._asked.values()
        self._asked.clear()

    # -- From one generation to the next -----------------------------------------------------

    async def _supervise(self, generation: _Generation) -> None:
        """Restart the server whenever it dies, until it has died too often in a row."""
        while True:
            await generation.ended.wait()
            ran_ns = now_ns() - generation.ready_ns
            if ran_ns < QUICK_DEATH_NS:
                self._blame(self.pids[-1])
            else:
                self._quick_deaths.clear()
            self._state = ServerState.RESTARTING
            self._bury(generation)
            self._surroundings.log.line("rs", f"{self.role} died ({ran_ns / 1e9:.3f} s)")
            while True:
                delay_s = restart_delay_s(len(self._quick_deaths))
                if delay_s is None:
                    self._give_up()
                    return
                await asyncio.sleep(delay_s)
                self._restarts += 1
                last = self.pids[-1]
                try:
                    generation = await self._start_generation()
                    break
                except ServerFailedError as error:
                    self._surroundings.log.line("rs", str(error))
                    # No process at all, if the zygote could not fork: nobody killed that.
                    self._blame(self.pids[-1] if self.pids[-1] != last else 0)

    def _blame(self, pid: int) -> None:
        """Count a process as one that died of itself, unless it is known better."""
        if pid not in self._excused:
            self._quick_deaths.append(pid)

    def _give_up(self) -> None:
        self._state = ServerState.FAILED
        self._surroundings.log.line(
            "rs", f"{self.role} died {MAX_QUICK_DEATHS} times in a row; it is left down"
        )
        self._surroundings.changed()
        self._answer_all()

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            if not answer.done():
                answer.set_result("")

    def _answer_all(self) -> None:
        self._waiting += self._asked.values()
        self._asked.clear()
        self._answer_waiting()

    async def _kill(self, generation: _Generation) -> None:
        assert generation.child is not None
        if not generation.ended.is_set():
            self._send_kill(generation.child)
        await generation.ended.wait()

    def _send_kill(self, child: Child) -> None:
        self._condemned.append(child.pid)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
