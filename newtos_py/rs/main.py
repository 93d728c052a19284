"""rs, the reincarnation server: boots the hosts of one topology and keeps their servers alive.

One process a booted topology, one thread, one event loop; nothing in it waits for a server. It
holds the descriptor of everything that must outlive a server. It never touches a packet.

    python -P -m newtos_py.rs.main LINK_FD        (only boot.py starts it; front.py has the words)
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.kernel.async_link import AsyncLink
from newtos_py.kernel.link import Link
from newtos_py.kernel.process import adopt_orphans, set_title
from newtos_py.rs import front, wiring
from newtos_py.rs.host import Host, Instance
from newtos_py.rs.regions import HostRegion, create_host_region
from newtos_py.rs.runtime import RuntimeDir, new_token, open_runtime_dir, region_name
from newtos_py.rs.server import ReadyServer
from newtos_py.rs.setup import WireParts
from newtos_py.rs.specs import load_spec, references_of
from newtos_py.rs.zygote_link import Zygote
from newtos_py.topology import HostPlan, Topology, load_topology, plan

_STOP_BACKLOG = 16


class Rs:
    """The whole of it."""

    def __init__(self, link: Link) -> None:
        self._boot = _receive_boot(link)
        self._front = AsyncLink(link, self._on_front_message, self._on_front_end)
        self._commanders: set[AsyncLink] = set()
        self._hosts: dict[str, Host] = {}
        self._wire_regions: list[HostRegion] = []
        self._stopping = asyncio.Event()
        self._busy = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._token = new_token()
        self._runtime: RuntimeDir
        self._zygote: Zygote | None = None
        self._socket: socket.socket | None = None

    async def run(self) -> None:
        """Boot, serve until told to stop, and leave nothing behind."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGTERM, signal.SIGINT]
        if self._boot.attached:
            signals.append(signal.SIGHUP)
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Ctrl-Z stops whoever shows the boot, not the hosts.
        for number in (signal.SIGQUIT, signal.SIGTSTP):
            signal.signal(number, signal.SIG_IGN)
        for number in signals:
            loop.add_signal_handler(number, self._stopping.set)
        try:
            booting = asyncio.create_task(self._boot_all())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([booting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not booting.done():
                booting.cancel()
                await asyncio.wait([booting])
            problem = _problem_of(booting)
            if problem is None:
                self._front.send(front.Booted())
                self._let_go()
                await stopping
        finally:
            await self._stop_all()
        if problem is not None:
            self._front.send(front.BootFailed(problem))

    # -- Up ----------------------------------------------------------------------------------

    async def _boot_all(self) -> None:
        boot_file = Path(self._boot.boot_file)
        topology = load_topology(boot_file)
        plans = plan(topology, sorted(os.sched_getaffinity(0)))
        replaced = {each.entry_point: each.reference for each in self._boot.replacements}
        references = {each.host.name: references_of(each, replaced) for each in plans}
        self._runtime = open_runtime_dir(Path(self._boot.runtime))
        self._front.send(
            front.Planned(
                tuple(
                    front.PlannedServer(each.host.name, server.role, server.core)
                    for each in plans
                    for server in each.servers
                )
            )
        )
        # The zygote loads the servers while we load them, too: on the other core, if there is one.
        every = [reference for of_host in references.values() for reference in of_host.values()]
        self._zygote = Zygote(
            sorted(set(every)), self._on_zygote_line, self._on_child_exit, self._on_zygote_start
        )
        self._zygote.start()
        self._make_hosts(topology, plans, references)
        async with asyncio.TaskGroup() as group:
            for host in self._hosts.values():
                group.create_task(host.start())

    def _make_hosts(
        self,
        topology: Topology,
        plans: tuple[HostPlan, ...],
        references: Mapping[str, Mapping[str, str]],
    ) -> None:
        assert self._zygote is not None
        instance = Instance(
            topology,
            self._boot.boot_file,
            self._token,
            self._runtime,
            self._zygote,
            {},
            self._on_ready,
        )
        hosts = {}
        for each in plans:
            of_host = references[each.host.name]
            specs = {role: load_spec(reference) for role, reference in of_host.items()}
            hosts[each.host.name] = Host(instance, each, specs, of_host)
        self._runtime.register([host.record() for host in hosts.values()])
        # From here on there is something to undo.
        self._hosts = hosts
        self._listen()
        for host in hosts.values():
            host.create()
        for wire in topology.wires:
            regions = {}
            for region_plan in wiring.wire_regions(wire):
                name = region_name(self._token, wire.hosts[0], region_plan.role)
                region = create_host_region(name, region_plan)
                regions[region_plan.role] = region
                self._wire_regions.append(region)
            ends = {name: hosts[name].parts for name in wire.hosts}
            instance.wires[wire.name] = WireParts(wire, regions, ends)

    def _let_go(self) -> None:
        """A detached rs keeps nothing of the terminal it was started from."""
        if self._boot.attached:
            return
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.chdir("/")

    # -- Down --------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        async with self._busy:
            await self._stop_hosts(list(self._hosts))
            for region in self._wire_regions:
                region.unlink()
                region.close()
            if self._zygote is not None:
                await self._zygote.stop()

    async def _stop_hosts(self, names: list[str]) -> None:
        """Stop some hosts; the folder goes with the last of them."""
        for name in names:
            host = self._hosts.get(name)
            if host is None:
                continue
            if len(self._hosts) == 1:
                self._stop_listening()
            await host.stop()
            del self._hosts[name]

    # -- Others --------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._socket.bind(str(self._runtime.rs_path(self._token)))
        self._socket.listen(_STOP_BACKLOG)
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _stop_listening(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._runtime.rs_path(self._token).unlink(missing_ok=True)

    def _accept(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._socket.accept()
            link = Link(connection, front.FRONT_CODEC)

            def on_message(message: object) -> None:
                assert isinstance(message, front.Stop)
                task = asyncio.create_task(self._obey(message, commander))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

            commander = AsyncLink(link, on_message, lambda: self._commanders.discard(commander))
            self._commanders.add(commander)

    async def _obey(self, message: front.Stop, commander: AsyncLink) -> None:
        names = message.hosts or tuple(self._hosts)
        async with self._busy:
            await self._stop_hosts(list(names))
        commander.send(front.Stopped(names))
        if not self._hosts:
            self._stopping.set()

    def _on_front_message(self, message: object) -> None:
        raise AssertionError(f"boot has nothing more to say than Boot: {message!r}")

    def _on_front_end(self) -> None:
        if self._boot.attached:
            self._stopping.set()

    def _on_ready(self, host: str, ready: ReadyServer) -> None:
        if ready.generation == 1:
            taken_us = ready.taken_ns // 1000
            self._front.send(front.ServerReady(host, ready.role, ready.pid, ready.core, taken_us))

    def _on_zygote_line(self, line: str) -> None:
        for host in self._hosts.values():
            host.log.line("zygote", line)

    def _on_zygote_start(self) -> None:
        for host in self._hosts.values():
            host.changed()

    def _on_child_exit(self, pid: int, status: int) -> None:
        for host in self._hosts.values():
            if host.child_exited(pid, status):
                return


def _receive_boot(link: Link) -> front.Boot:
    message = link.receive()
    assert isinstance(message, front.Boot)
    return message


def _problem_of(booting: "asyncio.Task[None]") -> str | None:
    """What to tell the user of a boot; None if it went well. Bugs are raised on."""
    if booting.cancelled():
        return "stopped before all servers were ready"
    error = booting.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return None
    if isinstance(error, NewtosError):
        return str(error)
    raise error


def main() -> None:
    """Run rs with the link whose number stands in the arguments."""
    link = Link(socket.socket(fileno=int(sys.argv[1])), front.FRONT_CODEC)
    set_title("newtos:rs")
    adopt_orphans()
    # Three descriptors a socket area, two a program, and every region of every host.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def run() -> None:
        await Rs(link).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
