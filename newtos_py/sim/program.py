"""Programs on simulated hosts: coroutines over the socket layer that the preloaded libc uses.

    async def client(program: SimProgram) -> None:
        sock = await program.socket()
        await sock.connect(("10.0.1.1", 80))
        await sock.send_all(b"hello")
        sock.close()

A program is one node of the simulation and any number of tasks (its threads). It sleeps as the shim
does: it names event queue 1 for its sockets, raises the queue's flag, looks again, sleeps; and only
what the ready bitmaps name is looked at when it wakes. So a server that forgets to tell a program
leaves it asleep here, too.
"""

import errno
import os
import socket as libc
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass

from newtos_py.libc_shim.sockets import program as shim
from newtos_py.libc_shim.sockets._sockets import ffi as sockets_ffi
from newtos_py.libc_shim.sockets.program import Address, Area, Identity
from newtos_py.sim._world import ffi, lib
from newtos_py.sim.control import Place, Region, Reply, Wanted
from newtos_py.sim.simulation import TCP, UDP, CData, SimHost, SimulationError, span

POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP = 1, 4, 8, 16, 0x2000
_BROKEN = POLLERR | POLLHUP
_NEVER = (1 << 64) - 1
_QUEUE = 1
# A program that is chosen to run lets so many tasks go on, at most.
_TASKS_A_TURN = 4
_CALL_NS = 500


@dataclass(frozen=True, slots=True)
class Wait:
    """What a task waits for: `ready` says whether it has come; asked when `sock` has news."""

    what: str
    ready: Callable[[], bool]
    sock: "shim.Socket | None" = None
    until_ns: int = _NEVER
    # Asked each time that the program runs: ends the wait, too.
    unless: Callable[[], bool] = lambda: False


@types.coroutine
def _wait(wait: Wait) -> Generator[Wait, None, None]:
    yield wait


@dataclass(eq=False, slots=True)
class Task:
    """A thread of a program."""

    name: str
    coroutine: Coroutine[Wait, None, None]
    wait: Wait | None = None


class SimProgram:
    """A program: its areas, its tasks."""

    def __init__(self, host: SimHost, slots: int) -> None:
        self.host = host
        self.sim = host.sim
        self.random = host.sim.random
        self.node: int = lib.nt_world_program_new(host.host)
        self.name = f"{host.name}.program{self.node}"
        self.program = shim.Program(self._ring)
        # By protocol and lane.
        self.areas: dict[tuple[int, int], int] = {}
        self.tasks: list[Task] = []
        self.alive = True
        self._due: list[Task] = []
        self._attached = 0
        for lane in range(host.lanes):
            self._attach(TCP, lane, slots)
        self._attach(UDP, 0, slots)
        self._queues = [shim.Queue(self.program, number) for number in (0, _QUEUE)]
        self._sleeping = False

    def _attach(self, protocol: int, lane: int, slots: int) -> None:
        control = self.host.control
        number = control.attach(self.node, protocol, lane, slots, self._on_attached)
        raw = self.host.host
        parts = [span(lib.nt_world_area_part(raw, number, i)) for i in range(3)]
        area = Area(parts[0], parts[1], parts[2], slots, number, lane=lane)
        flag = int(ffi.cast("uintptr_t", lib.nt_world_server_sleeping(raw, protocol, lane)))
        sleeping = sockets_ffi.cast("uint32_t *", flag)
        node = lib.nt_world_server_node(raw, protocol, lane)
        self.program.attach(area, protocol, sleeping, node)
        self.areas[protocol, lane] = number

    def _on_attached(self, reply: Reply) -> None:
        if reply.error != 0:
            raise SimulationError(f"{self.name}: attaching: {os.strerror(reply.error)}")
        self._attached += 1
        self.wake()

    def _ring(self, node: int) -> None:
        lib.nt_world_wake(self.sim.world, node)

    # -- Tasks --

    def start(self, coroutine: Coroutine[Wait, None, None], name: str = "main") -> Task:
        """Run a coroutine as a task; the first begins when the areas are attached."""
        task = Task(name, coroutine)
        if not self.tasks and self._attached < len(self.areas):
            task.wait = Wait("attach", lambda: self._attached == len(self.areas))
        else:
            self._due.append(task)
        self.tasks.append(task)
        self.wake()
        return task

    def wake(self) -> None:
        """Let the program run soon."""
        lib.nt_world_wake(self.sim.world, self.node)

    def kill(self) -> None:
        """The program is gone, from one moment to the next; its tasks are thrown away."""
        self.alive = False
        self.sim.note(f"{self.name} is killed")
        for task in self.tasks:
            task.coroutine.close()
        self.tasks.clear()
        self._due.clear()
        lib.nt_world_program_end(self.host.host, self.node)
        self.host.control.program_died(self.areas)

    def turn(self) -> None:
        """Run for a while; called when the scheduler has chosen this program."""
        if self._sleeping:
            self._wake_queues()
        self._look()
        for _ in range(self.random.randint(1, _TASKS_A_TURN)):
            if not self._due:
                break
            self._step(self._due.pop(self.random.randrange(len(self._due))))
            if not self.alive:
                return
        if not self._due:
            self._sleep()

    def _step(self, task: Task) -> None:
        lib.nt_world_spend(self.sim.world, self.random.randrange(_CALL_NS))
        try:
            task.wait = task.coroutine.send(None)
        except StopIteration:
            self.tasks.remove(task)
            self._look_at(lambda wait: wait.sock is None)
            return
        if task.wait.sock is not None:
            task.wait.sock.set_queue(_QUEUE)
        if task.wait.ready():
            self._due.append(task)

    def _look(self) -> None:
        """Find the tasks that can go on: by what the bitmaps name, and by the clock."""
        named: set[shim.Socket] = set()
        for queue in self._queues:
            while found := queue.collect():
                named.update(found)
        # What is no socket's news (a reply, a grant, a task's end) is asked for each time.
        self._look_at(lambda wait: wait.sock is None or wait.sock in named)

    def _look_at(self, asked: Callable[[Wait], bool]) -> None:
        now = self.sim.now_ns
        for task in self.tasks:
            wait = task.wait
            if wait is None or task in self._due:
                continue
            if wait.until_ns <= now or wait.unless() or (asked(wait) and wait.ready()):
                self._due.append(task)

    def _sleep(self) -> None:
        idle = [queue.sleep() for queue in self._queues]
        self._sleeping = True
        if not all(idle):
            self._wake_queues()
            return  # awake: something came meanwhile
        until = min((t.wait.until_ns for t in self.tasks if t.wait is not None), default=_NEVER)
        lib.nt_world_sleep(self.sim.world, self.node, until)

    def _wake_queues(self) -> None:
        for queue in self._queues:
            queue.wake()
        self._sleeping = False

    def describe(self) -> list[str]:
        """What each task waits for."""
        return [
            f"{self.name}/{task.name} for {task.wait.what if task.wait else 'its turn'}"
            for task in self.tasks
        ]

    # -- What tasks call --

    async def sleep(self, us: float) -> None:
        """Let time pass."""
        until = self.sim.now_ns + int(us * 1000)
        await _wait(Wait("time", lambda: self.sim.now_ns >= until, until_ns=until))

    async def dawdle(self, max_us: float = 2000) -> None:
        """Now and then, sleep for a while."""
        if self.random.random() < 0.2:
            await self.sleep(self.random.random() * max_us)

    async def join(self, *tasks: Task) -> None:
        """Wait until these tasks have ended."""
        await _wait(Wait("others", lambda: not any(t in self.tasks for t in tasks)))

    async def socket(self, kind: int = libc.SOCK_STREAM) -> "SimSocket":
        """A new socket."""
        while True:
            try:
                return SimSocket(self, self.program.socket(libc.AF_INET, kind))
            except BlockingIOError:
                await self._news("a slot")

    async def join_listener(self, listener: "SimSocket") -> "SimSocket":
        """Accept from a listening socket of another program's, too."""
        regions, control = listener.regions, self.host.control
        reply = await self.ask("join", lambda then: control.join(regions, self.areas, then))
        place = reply.slot
        if place is None:
            raise SimulationError("JOIN answered without a slot")
        joined = SimSocket(self, self.program.joined(place.area, place.slot, place.generation))
        joined.listen_in(regions, reply.beside)
        return joined

    async def _news(self, what: str) -> None:
        """Wait for the next time that anything wakes the program."""
        asked = False

        def ready() -> bool:
            nonlocal asked
            first, asked = not asked, True
            return not first

        await _wait(Wait(what, ready))

    async def ask(self, what: str, send: Callable[[Callable[[Reply], None]], None]) -> Reply:
        """Ask the syscall server."""
        answers: list[Reply] = []

        def then(reply: Reply) -> None:
            answers.append(reply)
            self.wake()

        send(then)
        await _wait(Wait(what, lambda: bool(answers)))
        (reply,) = answers
        if reply.error != 0:
            raise OSError(reply.error, os.strerror(reply.error))
        return reply


class SimSocket:
    """A socket with blocking calls, for tasks."""

    def __init__(self, program: SimProgram, sock: shim.Socket) -> None:
        self.program = program
        self.sock = sock
        # Listening: its regions, its own lane's first, and its slots in further lanes.
        self.regions: list[Region] = []
        self._beside: list[Place] = []
        self.name = "socket"

    def _note(self, what: str) -> None:
        sim = self.program.sim
        if sim.tracing:
            sim.note(f"{self.program.name} {self.name} {what}")

    async def until(self, mask: int, what: str) -> None:
        """Wait for one of these events."""
        await _wait(Wait(f"{what} on {self.name}", lambda: self.sock.poll() & mask != 0, self.sock))

    async def _changed(self, what: str) -> None:
        before = self.sock.events()
        await _wait(Wait(what, lambda: self.sock.events() != before, self.sock))

    async def bind(self, address: Address) -> None:
        """Give the socket a name."""
        local = self.sock.bind_check(address)
        who = self.sock.identity()
        control = self.program.host.control
        reply = await self.program.ask("bind", lambda then: control.bind(who, local, then))
        self.sock.bound(reply.endpoint)

    async def listen(self, backlog: int) -> None:
        """Let the socket listen."""
        self.sock.listen_check()
        name = self.sock.bound_name()
        if name is None:
            raise SimulationError(f"{self.name} listens without a name")
        control = self.program.host.control
        self.regions = control.make_listeners(self.sock.identity(), backlog)
        wanted = Wanted(self.sock.identity(), name, self.regions, self.program.areas)
        reply = await self.program.ask("listen", lambda then: control.listen(wanted, then))
        self._beside = list(reply.beside)
        self.listen_in(self.regions, reply.beside)

    def listen_in(self, regions: list[Region], beside: tuple[Place, ...]) -> None:
        """Take over what the syscall server answered: regions, slots in further lanes."""
        home, *further = regions
        for region, slot in zip(further, beside, strict=True):
            where = Identity(TCP, slot.area, slot.slot, slot.generation, 0)
            part = shim.Socket(self.program.program)
            self.sock.beside(part, where, *self._memory(region), region.entries)
        self.sock.listening(*self._memory(home), home.entries)

    def _memory(self, region: Region) -> tuple[CData, CData]:
        host = self.program.host.host
        ring, claims = (lib.nt_world_listener_part(host, region.number, i) for i in range(2))
        return span(ring), span(claims)

    async def unlisten(self) -> None:
        """Listen no more, and close."""
        who = self.sock.identity()
        control = self.program.host.control
        beside = self._beside
        await self.program.ask("unlisten", lambda then: control.unlisten(who, beside, then))
        self.close()
        for region in self.regions:
            control.end_listener(region.number)

    async def connect(self, address: Address) -> None:
        """Connect; an OSError says why not."""
        datagram = self.sock.identity().protocol == UDP
        while True:
            try:
                self.sock.connect(address)
            except BlockingIOError:
                if datagram:
                    await self._changed("connect")
                else:
                    await self.until(POLLOUT | _BROKEN, "connect")
                continue
            self._note(f"connected to {address[0]}:{address[1]}")
            return

    async def accept(self) -> tuple["SimSocket", Address]:
        """The next connection."""
        found = await self.accept_unless(lambda: False)
        if found is None:
            raise SimulationError("accept gave up")
        return found

    async def accept_unless(self, unless: Callable[[], bool]) -> tuple["SimSocket", Address] | None:
        """The next connection; None once `unless` holds and the program was woken to hear it."""
        while True:
            try:
                accepted, peer = self.sock.accept()
            except BlockingIOError:
                if unless():
                    return None
                await _wait(
                    Wait(f"accept on {self.name}",
                         lambda: self.sock.poll() & (POLLIN | _BROKEN) != 0,
                         self.sock, unless=unless)
                )  # fmt: skip
                continue
            self._note(f"accepted {peer[0]}:{peer[1]}")
            return SimSocket(self.program, accepted), peer

    async def send(self, data: bytes) -> int:
        """Send some of it; how much."""
        while True:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                await self.until(POLLOUT | _BROKEN, "send")
                continue
            self._note(f"sent {sent} of {len(data)}")
            return sent

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self.send(bytes(rest[:65536])) :]

    async def recv(self, size: int) -> bytes:
        """Receive something; nothing at the end."""
        while True:
            try:
                data = self.sock.recv(size)
            except BlockingIOError:
                await self.until(POLLIN | POLLRDHUP | _BROKEN, "recv")
                continue
            self._note(f"received {len(data)}")
            return data

    async def recv_exactly(self, size: int) -> bytes:
        """Receive so much; less only at the end."""
        data = b""
        while len(data) < size and (more := await self.recv(size - len(data))):
            data += more
        return data

    async def sendto(self, data: bytes, to: Address) -> None:
        """Send a datagram."""
        while True:
            try:
                self.sock.sendto(data, to)
            except BlockingIOError:
                await self.until(POLLOUT | _BROKEN, "sendto")
                continue
            self._note(f"sent {len(data)} to {to[0]}:{to[1]}")
            return

    async def recvfrom(self, size: int, timeout_us: float | None = None) -> tuple[bytes, Address]:
        """Receive a datagram; TimeoutError if none comes in that time."""
        sim = self.program.sim
        until = _NEVER if timeout_us is None else sim.now_ns + int(timeout_us * 1000)
        while True:
            try:
                data, peer = self.sock.recvfrom(size)
            except BlockingIOError:
                if sim.now_ns >= until:
                    raise TimeoutError(errno.ETIMEDOUT, "no datagram") from None
                await _wait(
                    Wait("recvfrom", lambda: self.sock.poll() & (POLLIN | _BROKEN) != 0,
                         self.sock, until)
                )  # fmt: skip
                continue
            self._note(f"received {len(data)} from {peer[0]}:{peer[1]}")
            return data, peer

    def shutdown(self, how: int) -> None:
        """Shut a direction."""
        self._note(f"shutdown {how}")
        self.sock.shutdown(how)

    def close(self) -> None:
        """Close."""
        self._note("close")
        self.sock.close()
