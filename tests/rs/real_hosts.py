"""Two real hosts and a wire for a test: killing their servers, and programs that run on them."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from newtos_py.servers.tcp import SERVER as TCP

from newtos_py.cli.demo_programs import probe
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.region import unmap_memory
from newtos_py.kernel.server import Memory
from newtos_py.observe.attach import map_host_region
from newtos_py.rs.process_id import send_signal
from newtos_py.rs.records import ServerRecord, ServerState
from newtos_py.rs.scratch import ScratchHosts, find_newtos

HOSTS = WEB, CLIENT = "web", "client"
SERVERS = ("wire.lan", "ip", "udp", "tcp0", "syscall")
ADDRESS = "10.0.0.2"
TOPOLOGY = f"""
[host.{WEB}]
address = "{ADDRESS}/24"
[host.{CLIENT}]
address = "10.0.0.3/24"
[wire.lan]
hosts = ["{WEB}", "{CLIENT}"]
"""
DEADLINE_S = 60.0

SLOT_BYTES = ffi.sizeof("struct nt_slot_server")
STATE_OFFSET = ffi.offsetof("struct nt_slot_server", "state")

LIGHTTPD = """
server.document-root = "{site}"
server.errorlog = "{log}"
server.port = 80
server.max-fds = 4096
server.max-connections = 1024
server.max-keep-alive-requests = 0
"""


@dataclass(frozen=True)
class Site:
    """A folder to serve: `page`, 64 bytes, and `big`."""

    folder: Path
    big_bytes: int
    big_sha256: str


class RealHosts:
    """Hosts that are up, as a test sees them."""

    def __init__(self, scratch: ScratchHosts) -> None:
        self.scratch = scratch
        self.folder = scratch.folder

    def server(self, host: str, role: str) -> ServerRecord:
        servers = self.scratch.record(host).servers
        (found,) = (server for server in servers if server.role == role)
        return found

    def pids(self) -> dict[tuple[str, str], int]:
        """All servers' pids: the same before and after if none was restarted."""
        return {
            (host, server.role): server.process.pid
            for host in HOSTS
            for server in self.scratch.record(host).servers
            if server.process is not None
        }

    def kill(self, host: str, role: str) -> float:
        """Kill a server and wait for its next generation; how long that took, in seconds."""
        before = self.server(host, role)
        assert before.process is not None
        start = time.monotonic()
        assert send_signal(before.process, signal.SIGKILL)

        def is_back() -> bool:
            now = self.server(host, role)
            assert now.state is not ServerState.FAILED, f"{host}:{role} was left down"
            return now.generation > before.generation and now.state is ServerState.RUNNING

        until(is_back, f"{host}:{role} is back")
        return time.monotonic() - start

    @contextmanager
    def status(self, host: str, role: str) -> Iterator[ffi.CData]:
        """A server's status page."""
        with self._mapped(host, f"status.{role}") as memory:
            yield ffi.cast("struct nt_status *", memory.address)

    def tcp_counter(self, host: str, name: str) -> int:
        """A counter or gauge of the TCP server, by its name."""
        with self.status(host, "tcp0") as status:
            return int(status.counter[TCP.counters.index(name)])

    def buffers_out(self, host: str, role: str) -> int:
        """How many buffers of a pool are out: those with an odd use count (pool.h)."""
        with self._mapped(host, f"pool.{role}") as memory:
            header = ffi.cast("struct nt_pool_header *", memory.address)
            use = ffi.cast("uint16_t *", memory.address + header.use_offset)
            return sum(use[i] & 1 for i in range(header.small_count + header.large_count))

    def areas(self) -> list[Counter[int]]:
        """All programs' socket areas: how many slots are in each state (enum nt_slot_state).

        rs keeps the server sides of all areas, so its descriptors lead to them.
        """
        found = {}
        for path in Path(f"/proc/{self.scratch.record(WEB).rs.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if "newtos-server-" in path.readlink().name:
                    found[path.stat().st_ino] = _count_slots(path)
        return list(found.values())

    @contextmanager
    def _mapped(self, host: str, role: str) -> Iterator[Memory]:
        memory = map_host_region(self.scratch.record(host), role)
        try:
            yield memory
        finally:
            unmap_memory(memory)

    def start(
        self, host: str, command: Sequence[str], **options: object
    ) -> "subprocess.Popen[bytes]":
        """Start a program on a host; its output is the caller's to read."""
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
        streams: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
        }
        return popen(
            self.scratch.on(host, command),
            env=self.scratch.environ,
            **streams | options,
        )

    def run(self, host: str, command: Sequence[str], timeout_s: float = DEADLINE_S) -> str:
        """Run a program to its good end; what it said."""
        with self.start(host, command) as process:
            try:
                said = process.communicate(timeout=timeout_s)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                process.kill()
                said = process.communicate()[0].decode(errors="replace")
                raise AssertionError(f"{command} did not end: {said}") from None
        assert process.returncode == 0, f"{command} ended with {process.returncode}: {said}"
        return said

    def newtos(self, *words: str) -> str:
        """What a newtos command says."""
        done = subprocess.run(
            [find_newtos(), *words],
            env=self.scratch.environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        return done.stdout

    @contextmanager
    def serving(self, site: Path) -> Iterator["subprocess.Popen[bytes]"]:
        """Run lighttpd on WEB, port 80."""
        config, log = self.folder / "lighttpd.conf", self.folder / "lighttpd.log"
        config.write_text(LIGHTTPD.format(site=site, log=log))
        lighttpd = shutil.which("lighttpd", path=os.environ["PATH"] + ":/usr/sbin")
        assert lighttpd is not None
        with self.start(
            WEB, [lighttpd, "-D", "-f", str(config)], stdout=subprocess.DEVNULL
        ) as process:
            try:
                self.run(CLIENT, probe(ADDRESS, 80))
                yield process
                assert process.poll() is None, f"lighttpd died: {log.read_text()}"
            finally:
                process.terminate()
                process.wait(DEADLINE_S)


def _count_slots(path: Path) -> Counter[int]:
    """Read the states in an area's server side (area.h); FREE slots count as well."""
    with path.open("rb") as file:
        slots = int.from_bytes(file.read(12)[8:], sys.byteorder)
        file.seek(lib.NT_AREA_SERVER_SLOTS_OFFSET)
        blocks = file.read(slots * SLOT_BYTES)
    return Counter(blocks[STATE_OFFSET::SLOT_BYTES])


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; AssertionError if it does not come about in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        os.sched_yield()


def wrk_errors(said: str) -> int:
    """How many requests wrk saw fail, of its report."""
    assert "requests in" in said, said
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    status = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return sum(int(count) for match in (sockets, status) if match for count in match.groups())
