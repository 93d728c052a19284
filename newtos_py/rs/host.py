"""One running host: its memory, doorbells and devices, its servers, and what programs share.

Order of a boot: record, regions and doorbells, devices, the control socket, then the servers, each
once those that it needs are ready. Order of the end: servers, then everything else, the record
last. Whatever fails on the way up is undone by the way down.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi
from newtos_py.kernel.doorbell import create_doorbell
from newtos_py.kernel.region import map_memory, unmap_memory
from newtos_py.kernel.server import DevicePlan, Memory, ServerSpec
from newtos_py.rs import wiring
from newtos_py.rs.hang import PERIOD_S
from newtos_py.rs.host_log import HostLog
from newtos_py.rs.net_config import MTU, net_config
from newtos_py.rs.process_id import boot_id, own_id
from newtos_py.rs.records import HostRecord
from newtos_py.rs.regions import HostRegion, create_host_region
from newtos_py.rs.runtime import RuntimeDir, region_name
from newtos_py.rs.server import ReadyServer, Server
from newtos_py.rs.setup import HostParts, WireParts, make_setup, names_of
from newtos_py.rs.store import Store, listener_part
from newtos_py.rs.zygote_link import Child, Zygote
from newtos_py.topology import HostPlan, ServerPlan, Topology

_WIRE_PREFIX = "wire."
# Programs that connect while the syscall server is down wait here.
_CONTROL_BACKLOG = 512


class DeviceError(NewtosError):
    """A driver's device can't be opened."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What all hosts of one topology share."""

    topology: Topology
    boot_file: str
    token: str
    runtime: RuntimeDir
    zygote: Zygote
    # By name; filled while hosts are made.
    wires: dict[str, WireParts]
    # Hears of every generation that is ready: (host, what).
    on_ready: Callable[[str, ReadyServer], None]


class Host:
    """One host."""

    def __init__(
        self,
        instance: Instance,
        plan: HostPlan,
        specs: Mapping[str, ServerSpec],
        references: Mapping[str, str],
    ) -> None:
        """`specs` and `references` by role."""
        self.plan = plan
        self.log = HostLog(instance.runtime.log_path(instance.token, plan.host.name))
        self._instance = instance
        self._specs = specs
        self._regions: dict[str, HostRegion] = {}
        self._doorbells: dict[str, int] = {}
        self._seeds = {server.role: secrets.randbits(64) for server in plan.servers}
        self._devices: dict[str, int] = {}
        self._control: socket.socket | None = None
        self._store = Store(wiring.tcp_servers_of(plan))
        self.servers = tuple(
            Server(
                self,
                members,
                [references[member.role] for member in members],
                polls_for_ever=plan.host.idle.spin_us is None and not members[0].shares_core,
            )
            for members in wiring.processes_of(plan)
        )
        self._by_role = {member.role: each for each in self.servers for member in each.plans}
        self._statuses: dict[str, Memory] = {}
        self._watcher: asyncio.Task[None] | None = None
        # Kept, because the event loop does not keep tasks.
        self._answering: set[asyncio.Task[None]] = set()
        self.parts = HostParts(plan, net_config(plan, specs), self._regions, self._doorbells)

    @property
    def host(self) -> str:
        """Its name."""
        return self.plan.host.name

    def record(self) -> HostRecord:
        """What other processes may know."""
        zygote = self._instance.zygote.process
        return HostRecord(
            host=self.host,
            token=self._instance.token,
            boot_file=self._instance.boot_file,
            boot_id=boot_id(),
            rs=own_id(),
            programs_core=self.plan.core,
            slice_us=self.plan.host.idle.slice_us,
            helpers=(zygote,) if zygote is not None else (),
            servers=tuple(self._by_role[each.role].record(each.role) for each in self.plan.servers),
        )

    # -- Up ----------------------------------------------------------------------------------

    def create(self) -> None:
        """Make memory, doorbells, devices and the control socket; the record is there already."""
        runtime, token = self._instance.runtime, self._instance.token
        for plan in wiring.host_regions(self.plan, dict(self._specs)):
            name = region_name(token, self.host, plan.role)
            region = self._regions[plan.role] = create_host_region(name, plan)
            if plan.kind is wiring.RegionKind.STATUS:
                role = plan.role.removeprefix(wiring.status_role(""))
                self._statuses[role] = map_memory(region.descriptor, plan.bytes)
        for members in wiring.processes_of(self.plan):
            # A process sleeps on one.
            self._doorbells.update(
                dict.fromkeys((each.role for each in members), create_doorbell())
            )
        for server in self.plan.servers:
            device = self._open_device(server)
            if device is not None:
                self._devices[server.role] = device
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.bind(str(runtime.control_path(token, self.host)))
        self._control.listen(_CONTROL_BACKLOG)

    async def start(self) -> None:
        """Start all servers; ServerFailedError at the first that does not start."""
        ready = [asyncio.Event() for _ in self.servers]

        async def start_one(server: Server) -> None:
            # In a mixture two processes may need each other: the one that comes first goes first.
            own = self.servers.index(server)
            for role in server.needs:
                other = self.servers.index(self._by_role[role])
                if other < own:
                    await ready[other].wait()
            await server.start()
            ready[own].set()

        async with asyncio.TaskGroup() as group:
            for server in self.servers:
                group.create_task(start_one(server))
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Kill servers that hang, over and over; their supervisors see them die."""
        while True:
            await asyncio.sleep(PERIOD_S)
            for server in self.servers:
                server.end_if_it_hangs(self._heartbeat(server.plans[0].role))

    def _heartbeat(self, role: str) -> int:
        status = ffi.cast("struct nt_status *", self._statuses[role].address)
        heartbeat: int = status.heartbeat
        return heartbeat

    def _open_device(self, server: ServerPlan) -> int | None:
        opener = self._specs[server.role].open_device
        if opener is None:
            return None
        tap = self.plan.host.tap
        assert tap is not None, "only `tap` names a device"
        plan = DevicePlan(self.host, tap.device, tap.peer.packed, tap.peer.prefix_bits, MTU)
        try:
            return opener(plan)
        except OSError as error:
            problem = f"host {self.host}: can't open {tap.device}: {error.strerror}"
            raise DeviceError(f"{problem}; a TAP device needs root (CAP_NET_ADMIN)") from None

    # -- Down --------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End all servers, those that need others first, and remove all traces but wires."""
        if self._watcher is not None:
            self._watcher.cancel()
        for server in reversed(self.servers):
            await server.stop()
        for memory in self._statuses.values():
            unmap_memory(memory)
        for task in list(self._answering):
            task.cancel()
        self._store.close()
        for descriptor in (*self._devices.values(), *set(self._doorbells.values())):
            os.close(descriptor)
        if self._control is not None:
            self._control.close()
        for region in self._regions.values():
            region.unlink()
        for wire in self._instance.wires.values():
            if wire.wire.hosts[0] == self.host:
                for region in wire.regions.values():
                    region.unlink()
        self.log.close()
        self._instance.runtime.forget(self._instance.token, self.host)

    # -- What servers need (server.Surroundings) ---------------------------------------------

    def fork(self, request: m.Fork) -> Awaitable[Child]:
        """Ask the zygote."""
        return self._instance.zygote.fork(request)

    def setup_for(self, plan: ServerPlan, generation: int) -> m.Setup:
        """Everything that a generation of a server is made of."""
        is_syscall = plan.role == wiring.SYSCALL
        assert self._control is not None, "create comes before start"
        return make_setup(
            self.parts,
            plan,
            generation=generation,
            seed=self._seeds[plan.role],
            wire=self._instance.wires.get(plan.role.removeprefix(_WIRE_PREFIX)),
            device=self._devices.get(plan.role),
            names=names_of(self._instance.topology) if is_syscall else (),
            control=self._control.fileno() if is_syscall else None,
        )

    def parts_for(self, role: str) -> Iterable[object]:
        """Everything that programs share with a server."""
        return self._store.parts_for(role)

    def changed(self) -> None:
        """Write the record anew."""
        self._instance.runtime.write(self.record())

    def became_ready(self, ready: ReadyServer) -> None:
        """Log it; tell the syscall server of a neighbour's restart."""
        self.log.line(
            "rs",
            f"{ready.role} ready: pid {ready.pid}, generation {ready.generation},"
            f" {ready.taken_ns / 1e6:.1f} ms{', cold start' if ready.cold else ''}",
        )
        self._instance.on_ready(self.host, ready)
        if ready.generation > 1 and ready.role != wiring.SYSCALL:
            self._by_role[wiring.SYSCALL].send(m.Restarted(ready.role, ready.cold))

    def child_exited(self, pid: int, status: int) -> bool:
        """Hear from the zygote how a process ended; False if it is not of this host."""
        server = next((each for each in self.servers if pid in each.pids), None)
        if server is not None:
            self.log.line("rs", f"{server.role} (pid {pid}) {describe_status(status)}")
            server.ended_as(pid, status)
        return server is not None

    # -- What the syscall server asks for ----------------------------------------------------

    def asked(self, message: object) -> None:
        """Store or drop something; when all servers that map it have followed, say so."""
        number, answers = self._apply(message)
        if number:
            task = asyncio.create_task(self._answer(number, answers))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _apply(self, message: object) -> tuple[int, list[asyncio.Future[str]]]:
        """Change the store, and ask those who must follow: the asker's number, their answers."""
        store = self._store
        others = [(role, each) for role, each in self._by_role.items() if role != wiring.SYSCALL]
        match message:
            case m.KeepNote() | m.KeepFile():
                store.keep(message)
                return 0, []
            case m.KeepProgram():
                store.keep(message)
                return message.number, []
            case m.KeepArea():
                store.keep(message)
                answers = [
                    each.ask(role, part)
                    for role, each in others
                    for part in store.area_parts(message, role)
                ]
            case m.KeepQueue():
                store.keep(message)
                answers = [
                    each.ask(role, part)
                    for role, each in others
                    for part in store.queue_parts(message, role)
                ]
            case m.KeepListener():
                store.keep(message)
                role = store.listener_role(message)
                answers = [self._by_role[role].ask(role, listener_part(message))]
            case m.DropProgram():
                store.drop_program(message.program)
                return message.number, []
            case m.DropArea():
                store.drop_area(message.area)
                answers = [each.ask(role, m.AreaGone(0, message.area)) for role, each in others]
            case m.DropListener():
                listener = store.listener(message.listener)
                answers = []
                if listener is not None:
                    role = store.listener_role(listener)
                    gone = m.ListenerGone(0, message.listener)
                    answers = [self._by_role[role].ask(role, gone)]
                store.drop_listener(message.listener)
            case _:
                raise AssertionError(f"a server said {message!r}")
        return message.number, answers

    async def _answer(self, number: int, answers: list[asyncio.Future[str]]) -> None:
        problems = [problem for problem in await asyncio.gather(*answers) if problem]
        for problem in problems:
            self.log.line("rs", problem)
        self._by_role[wiring.SYSCALL].send(m.Done(number, "; ".join(problems)))


def describe_status(status: int) -> str:
    """Say how a process ended; `status` as os.waitpid has it."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"
