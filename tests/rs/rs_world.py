"""Hosts booted for a test: a runtime directory of their own, fake servers, and what is left."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from newtos_py.kernel._kernel import ffi
from newtos_py.kernel.region import map_memory, open_region, unmap_memory
from newtos_py.rs import front
from newtos_py.rs.boot import BootedRs, start_rs
from newtos_py.rs.clean import clean
from newtos_py.rs.process_id import ProcessId, is_alive, send_signal
from newtos_py.rs.records import HostRecord, ServerRecord, ServerState
from newtos_py.rs.runtime import RuntimeDir, open_runtime_dir, region_name

FAKES = {name: f"fake_servers:{name.upper()}" for name in ("wire", "ip", "udp", "tcp", "syscall")}
TWO_HOSTS = """
[host.web]
address = "10.0.0.2/24"
[host.client]
address = "10.0.0.3/24"
[wire.lan]
hosts = ["web", "client"]
"""
ONE_HOST = """
[host.web]
address = "10.0.0.2/24"
"""
DEADLINE_S = 60.0


class World:
    """A runtime directory of its own, and a folder that tells fakes to misbehave."""

    def __init__(self, root: Path, fakes: Mapping[str, str]) -> None:
        """`fakes` are references by entry point; what is not among them is the real thing."""
        self.root = root
        self.fakes = fakes
        self.runtime: RuntimeDir = open_runtime_dir(root / "run")
        self.booted: list[BootedRs] = []

    def start(self, topology: str = ONE_HOST, *, attached: bool = True) -> BootedRs:
        file = self.root / "net.toml"
        file.write_text(topology)
        fakes = [front.Replacement(name, reference) for name, reference in self.fakes.items()]
        rs = start_rs(file, self.runtime, attached=attached, replacements=fakes)
        self.booted.append(rs)
        return rs

    def boot(self, topology: str = ONE_HOST) -> BootedRs:
        rs = self.start(topology)
        rs.wait_until_ready()
        return rs

    def tell(self, what: str) -> None:
        (self.root / what).touch()

    def host(self, name: str = "web") -> HostRecord:
        return self.runtime.find_host(name)

    def server(self, role: str, host: str = "web") -> ServerRecord:
        (found,) = (server for server in self.host(host).servers if server.role == role)
        return found

    def process(self, role: str, host: str = "web") -> ProcessId:
        process = self.server(role, host).process
        assert process is not None
        return process

    def kill(self, role: str) -> None:
        """Kill a server and wait until its next generation is ready, or it is left down."""
        before = self.server(role)
        assert before.process is not None
        assert send_signal(before.process, signal.SIGKILL)

        def is_settled() -> bool:
            now = self.server(role)
            is_next = now.generation > before.generation and now.state is ServerState.RUNNING
            return is_next or now.state is ServerState.FAILED

        until(is_settled)

    def counter(self, role: str, index: int) -> int:
        status = open_region(region_name(self.host().token, "web", f"status.{role}"))
        memory = map_memory(status.descriptor, status.bytes)
        value: int = ffi.cast("struct nt_status *", memory.address).counter[index]
        unmap_memory(memory)
        os.close(status.descriptor)
        return value


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        os.sched_yield()


@contextmanager
def make_world(fakes: Mapping[str, str]) -> Iterator[World]:
    """Make a world, and see that nothing of it stays, however the test ends."""
    root = Path(tempfile.mkdtemp(prefix="newtos-test-"))
    world = World(root, fakes)
    try:
        yield world
    finally:
        for rs in world.booted:
            rs.stop()
        clean(world.runtime)
        shutil.rmtree(root)


def regions_named(part: str) -> list[str]:
    return [path.name for path in Path("/dev/shm").iterdir() if part in path.name]


def leftovers(world: World, token: str, processes: list[ProcessId]) -> list[str]:
    regions = regions_named(f".{token}.")
    files = [str(path) for path in world.runtime.path.iterdir()]
    alive = [str(process) for process in processes if is_alive(process)]
    return regions + files + alive


def everything(world: World) -> tuple[str, list[ProcessId]]:
    records = world.runtime.running_hosts()
    processes = [process for record in records for process in (record.rs, *record.processes)]
    return records[0].token, processes
