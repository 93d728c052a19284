"""`newtos demo`: two hosts, real programs on them, and servers that are killed under a download.

Needs no root, no network and no file: the hosts live in a runtime directory of their own, joined by
a wire, and nothing of them is left at the end. The demo checks what it shows; if anything went
wrong its status is 1.
"""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from newtos_py.cli import demo_programs as programs
from newtos_py.cli.demo_screen import Screen
from newtos_py.cli.interrupts import INTERRUPTED, interruptible
from newtos_py.errors import NewtosError
from newtos_py.kernel.region import SHM_DIR
from newtos_py.rs import front
from newtos_py.rs.process_id import is_alive, send_signal
from newtos_py.rs.records import ServerRecord, ServerState
from newtos_py.rs.runtime import region_name
from newtos_py.rs.scratch import ScratchHosts

_WEB, _CLIENT = "web", "client"
_ADDRESS = "10.0.0.2"
_TOPOLOGY = f"""\
[host.{_WEB}]
address = "{_ADDRESS}/24"
[host.{_CLIENT}]
address = "10.0.0.3/24"
[wire.lan]
hosts = ["{_WEB}", "{_CLIENT}"]
"""

_URL = f"http://{_ADDRESS}"
_PAGE = "hello from host web"
_MIB = 1 << 20
_DOWNLOAD_BYTES = 64 * _MIB
# So that the download takes long enough to be watched.
_DOWNLOAD_RATE = 32 * _MIB
_CHUNK_BYTES = 256 * 1024
# Which servers are killed, and after how much of the download.
_KILLS = {"ip": 0.25, "tcp0": 0.6}
# Everything ends by itself well before; then something hangs.
_COMMAND_TIMEOUT_S = 20.0
_RESTART_TIMEOUT_S = 5.0
_NS_PER_MS = 1e6


class DemoError(NewtosError):
    """A part of the demo failed, so that the rest makes no sense."""


@click.command(epilog="Example: newtos demo")
def command() -> None:
    """Boot two hosts, serve real programs, and kill servers under a download.

    Uses lighttpd, memcached and curl where they are installed, else CPython's own.
    """
    screen = Screen()
    with interruptible():
        try:
            tell(screen)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
    if screen.problems:
        raise click.exceptions.Exit(1)


def tell(screen: Screen) -> None:
    """Tell the whole story."""
    screen.step("Boot two hosts, joined by a wire: each server is a process of its own")
    start = time.monotonic()
    with ExitStack() as stack:
        with screen.growing_table(("server", "pid", "core", "ready after")) as add:

            def follow(event: front.Planned | front.ServerReady) -> None:
                if isinstance(event, front.ServerReady):
                    add(_boot_row(event))

            hosts = stack.enter_context(ScratchHosts(_TOPOLOGY, follow))
        screen.say(f"all ready after {(time.monotonic() - start) * 1000:.0f} ms")
        story = Story(screen, hosts)
        traces = Traces.of(hosts)
        with ExitStack() as running:
            story.start_programs(running)
            story.ask()
            story.download_under_fire()
        story.show_shares()
        screen.step("Shut down")
    problems = traces.left()
    screen.check(
        passed=not problems,
        good="nothing is left: no process, no shared memory, no file",
        bad=f"left behind: {', '.join(problems)}",
    )


class Story:
    """What happens while the hosts are up."""

    def __init__(self, screen: Screen, hosts: ScratchHosts) -> None:
        self._screen = screen
        self._hosts = hosts
        self._web = programs.find_web_server()
        self._cache = programs.find_cache()
        self._fetcher = programs.find_fetcher()
        self._stats = hosts.folder / "stats"
        self._environ = {**hosts.environ, "NEWTOS_STATS": str(self._stats)}
        self._site = hosts.folder / "site"
        self._site.mkdir()
        (self._site / "index.html").write_text(_PAGE + "\n", encoding="utf-8")
        self._checksum = _write_noise(self._site / "big.bin", _DOWNLOAD_BYTES)

    def start_programs(self, stack: ExitStack) -> None:
        """Start the servers' programs on host web; `stack` ends them."""
        self._screen.step("Start unmodified programs on host web")
        started = [(programs.WEB_PORT, self._web.command(self._site, self._hosts.folder))]
        if self._cache is not None:
            started.append((programs.CACHE_PORT, self._cache))
        else:
            self._screen.say("memcached is not installed, so there is no cache")
        for port, program in started:
            self._show(_WEB, program)
            command = self._hosts.on(_WEB, program)
            stack.enter_context(_running(command, self._environ, self._hosts.folder))
            self._run(_CLIENT, programs.probe(_ADDRESS, port))
        names = self._web.name if self._cache is None else f"{self._web.name} and memcached"
        self._screen.check(passed=True, good=f"{names} answer; the client is {self._fetcher.name}",
                           bad="")  # fmt: skip

    def ask(self) -> None:
        """Send requests from host client, and show the answers."""
        self._screen.step("Ask them from host client")
        fetch = self._fetcher.fetch(f"{_URL}/")
        self._show(_CLIENT, fetch)
        page = self._run(_CLIENT, fetch)
        self._screen.answer(page)
        self._screen.check(
            passed=page == _PAGE + "\n", good="the page is right", bad="the page is wrong"
        )
        if self._cache is not None:
            ask = programs.ask_cache(_ADDRESS, "hello from memcached")
            self._show(_CLIENT, ask)
            told = self._run(_CLIENT, ask)
            self._screen.answer(told)
            self._screen.check(
                passed=told.splitlines()[-1:] == ["hello from memcached"],
                good="memcached stored it and gave it back",
                bad="memcached gave something else back",
            )
        self._stats.unlink(missing_ok=True)
        what, load = programs.load(f"{_URL}/")
        self._show(_CLIENT, load)
        told = self._run(_CLIENT, load)
        # wrk's own words.
        rate = [line for line in told.splitlines() if line.startswith("Requests/sec")]
        self._screen.answer("\n".join(rate))
        self._screen.say(f"{what}, and how the program's socket calls were answered:")
        self._show_shares()

    def download_under_fire(self) -> None:
        """Download, and kill servers of host web meanwhile."""
        self._screen.step("Kill servers of host web under a download")
        download = self._fetcher.download(f"{_URL}/big.bin", _DOWNLOAD_RATE)
        self._show(_CLIENT, download)
        kills = {share * _DOWNLOAD_BYTES: role for role, share in _KILLS.items()}
        taken, digest = 0, hashlib.sha256()
        command = self._hosts.on(_CLIENT, download)
        with (
            subprocess.Popen(command, env=self._environ, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
            self._screen.bar("downloading", _DOWNLOAD_BYTES) as bar,
            _killed_after(process, _COMMAND_TIMEOUT_S),
        ):  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            while chunk := process.stdout.read(_CHUNK_BYTES):
                digest.update(chunk)
                taken += len(chunk)
                bar.advance(len(chunk))
                for position in [position for position in kills if taken >= position]:
                    self._kill(kills.pop(position), taken)
            said = process.stderr.read().decode(errors="replace").strip()
        self._screen.check(
            passed=process.returncode == 0 and not kills and taken == _DOWNLOAD_BYTES,
            good=f"the download finished: {taken // _MIB} MiB",
            bad=f"the download broke after {taken} bytes (status {process.returncode}): {said}",
        )
        self._screen.check(
            passed=digest.hexdigest() == self._checksum,
            good=f"its checksum is right: sha256 {self._checksum[:16]}...",
            bad="its checksum is wrong",
        )

    def show_shares(self) -> None:
        """Show what became of all programs' socket calls; they have ended by now."""
        self._screen.step("Socket calls of all programs since then")
        self._show_shares()

    def _show_shares(self) -> None:
        """Show the shares of the programs that ended since the last time."""
        shares = list(_read_stats(self._stats))
        if not shares:
            self._screen.check(passed=False, good="", bad="no program has counted its calls")
        self._stats.unlink(missing_ok=True)
        headings = ("program", "in user space", "by the syscall server", "by the kernel", "share")
        self._screen.table(headings, (each.cells() for each in shares))

    def _kill(self, role: str, taken: int) -> None:
        victim = self._server(role)
        assert victim.process is not None
        start = time.monotonic_ns()
        send_signal(victim.process, signal.SIGKILL)
        successor = self._wait_for_successor(victim)
        if successor is None or successor.process is None:
            self._screen.check(passed=False, good="", bad=f"{role} was not started again")
            return
        took_ms = (time.monotonic_ns() - start) / _NS_PER_MS
        self._screen.say(
            f"after {taken // _MIB} MiB: kill -9 {victim.process.pid} ({role}); "
            f"its successor {successor.process.pid} was ready {took_ms:.1f} ms later"
        )

    def _wait_for_successor(self, victim: ServerRecord) -> ServerRecord | None:
        """Look at rs's record until there is one; None if that takes too long."""
        deadline = time.monotonic() + _RESTART_TIMEOUT_S
        while time.monotonic() < deadline:
            server = self._server(victim.role)
            if server.generation > victim.generation and server.state is ServerState.RUNNING:
                return server
            time.sleep(0.0005)
        return None

    def _server(self, role: str) -> ServerRecord:
        record = self._hosts.record(_WEB)
        return next(server for server in record.servers if server.role == role)

    def _show(self, host: str, program: Sequence[str]) -> None:
        self._screen.command(f"newtos run --host {host} -- {programs.readable(program)}")

    def _run(self, host: str, program: Sequence[str]) -> str:
        """Run a program to its end; its output. DemoError if it fails."""
        command = self._hosts.on(host, program)
        try:
            done = subprocess.run(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_COMMAND_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"{programs.readable(program)} did not end in time") from None
        if done.returncode != 0:
            said = done.stderr.strip() or f"status {done.returncode}"
            raise DemoError(f"{programs.readable(program)} failed: {said}")
        return done.stdout


@dataclass(frozen=True, slots=True)
class Share:
    """How a program's socket calls ended, as the shim counted them (NEWTOS_STATS)."""

    program: str
    user_space: int
    server: int
    kernel: int

    def cells(self) -> tuple[str, ...]:
        """Make a row."""
        total = self.user_space + self.server + self.kernel
        share = f"{self.user_space / total:.2%}" if total else "-"
        counts = (self.user_space, self.server, self.kernel)
        return (self.program, *(f"{count:,}" for count in counts), share)


@dataclass(frozen=True, slots=True)
class Traces:
    """What hosts leave, if they leave anything."""

    folder: Path
    regions: tuple[str, ...]
    servers: tuple[ServerRecord, ...]

    @staticmethod
    def of(hosts: ScratchHosts) -> "Traces":
        """Note what to look for."""
        records = [hosts.record(name) for name in (_WEB, _CLIENT)]
        prefixes = [region_name(each.token, each.host, "").lstrip("/") for each in records]
        servers = tuple(server for record in records for server in record.servers)
        return Traces(hosts.folder, tuple(prefixes), servers)

    def left(self) -> list[str]:
        """Name what is still there."""
        regions = [
            path.name for path in Path(SHM_DIR).iterdir() if path.name.startswith(self.regions)
        ]
        processes = [
            f"{server.role} (pid {server.process.pid})"
            for server in self.servers
            if server.process is not None and is_alive(server.process)
        ]
        folders = [str(self.folder)] if self.folder.exists() else []
        return regions + processes + folders


def _boot_row(event: front.ServerReady) -> tuple[str, ...]:
    taken = f"{event.taken_us / 1000:.1f} ms"
    return (f"{event.host}:{event.role}", str(event.pid), str(event.core), taken)


def _write_noise(path: Path, size: int) -> str:
    """Write random bytes to a file; their checksum."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            block = os.urandom(_MIB)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _read_stats(path: Path) -> Iterator[Share]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        yield Share(
            str(told["program"]),
            int(told["user_space_calls"]),
            int(told["server_calls"]),
            int(told["kernel_calls"]),
        )


@contextmanager
def _running(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Keep a program running; DemoError with what it said if it has ended before its time."""
    with (folder / "programs.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
        if process.poll() is not None:
            said = (folder / "programs.log").read_text(errors="replace").strip()
            raise DemoError(f"{programs.readable(command)} has ended: {said}")
    finally:
        process.terminate()
        try:
            process.wait(_RESTART_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _killed_after(process: "subprocess.Popen[bytes]", timeout_s: float) -> Iterator[None]:
    """Kill a process that hangs, so that reading from it ends."""
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
