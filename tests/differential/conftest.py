"""Pairs of executors, on Linux and on hosts: over loopback, over a wire, and over TAP."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from newtos_py.rs.scratch import ScratchHosts, find_newtos

from .pair import EXECUTOR, Pair, World, on_linux_and, start

TOPOLOGY = """
host.server.address = "10.0.0.2/24"
host.client.address = "10.0.0.3/24"
wire.lan.hosts = ["server", "client"]
"""
TAP_TOPOLOGY = """
[host.{host}]
address = "10.0.0.2/24"
tap = {{ device = "newtos0", peer = "10.0.0.3/24" }}
"""
EXECUTE = [sys.executable, "-P", EXECUTOR, "server=10.0.0.2", "client=10.0.0.3"]
DEADLINE_S = 180
NUMBERS = itertools.count()
SCENARIOS = Path(__file__).parents[1] / "libc_shim" / "preload" / "scenarios"


def run(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def no_sanitizer() -> None:
    """ASan wants to be loaded first, and `newtos run` loads the shim before all else."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("programs on real hosts are not run with sanitizers")


@pytest.fixture(scope="session")
def hosts(no_sanitizer: None) -> Iterator[ScratchHosts]:  # noqa: ARG001
    """Hosts `server` and `client`, joined by a wire."""
    with ScratchHosts(TOPOLOGY) as booted:
        yield booted
        for host in ("server", "client"):
            restarts = {server.role: server.restarts for server in booted.record(host).servers}
            assert not any(restarts.values()), f"a server died under a test: {host}, {restarts}"


@pytest.fixture(scope="module")
def pair(hosts: ScratchHosts) -> Iterator[Pair]:
    """Linux's loopback, and a host's."""
    with on_linux_and(hosts, "server") as both:
        yield both


@pytest.fixture(scope="session")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of tests/libc_shim/preload/scenarios."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("not installed: a C compiler")
    program = str(tmp_path_factory.mktemp("scenarios") / "scenarios")
    run(compiler, "-std=gnu11", "-D_GNU_SOURCE", "-g", "-w", "-o", program,
        *map(str, sorted(SCENARIOS.glob("*.c"))), "-lpthread")  # fmt: skip
    return program


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    """A network namespace; yields how to run something in it."""
    full = f"nt{name}{os.getpid()}n{next(NUMBERS)}"
    run("ip", "netns", "add", full)
    try:
        run("ip", "-n", full, "link", "set", "lo", "up")
        # Each refused datagram is answered, not only the first in a second.
        unlimited = "echo 0 > /proc/sys/net/ipv4/icmp_ratelimit"
        run("ip", "netns", "exec", full, "sh", "-c", unlimited)
        yield ["ip", "netns", "exec", full]
    finally:
        run("ip", "netns", "del", full)


@contextmanager
def two_linuxes() -> Iterator[World]:
    """Two namespaces of Linux's, joined by a veth pair."""
    with ExitStack() as stack:
        server = stack.enter_context(namespace("s"))
        client = stack.enter_context(namespace("c"))
        run("ip", "link", "add", "v", "netns", server[-1], "type", "veth",
            "peer", "name", "v", "netns", client[-1])  # fmt: skip
        for inside, address in ((server, "10.0.0.2/24"), (client, "10.0.0.3/24")):
            run("ip", "-n", inside[-1], "address", "add", address, "dev", "v")
            run("ip", "-n", inside[-1], "link", "set", "v", "up")
        world = World(
            server=stack.enter_context(start([*server, *EXECUTE])),
            client=stack.enter_context(start([*client, *EXECUTE])),
        )
        yield world
        world.close()


@contextmanager
def host_and_linux(directory: Path) -> Iterator[World]:
    """A host `server`, and Linux as `client`, over TAP."""
    host = f"edge{os.getpid()}"
    boot_file = directory / "edge.toml"
    boot_file.write_text(TAP_TOPOLOGY.format(host=host))
    (directory / "run").mkdir(mode=0o700)
    env = os.environ | {"NEWTOS_RUNTIME_DIR": str(directory / "run")}
    with namespace("t") as inside, ExitStack() as stack:
        run(*inside, find_newtos(), "boot", "--detach", str(boot_file), env=env)
        stack.callback(run, find_newtos(), "down", "--all", env=env)
        on_host = [*inside, find_newtos(), "run", "--host", host, "--"]
        world = World(
            server=stack.enter_context(start([*on_host, *EXECUTE], env)),
            client=stack.enter_context(start([*inside, *EXECUTE])),
        )
        yield world
        world.close()


@pytest.fixture(scope="module")
def over_wire(hosts: ScratchHosts) -> Iterator[Pair]:
    """Two hosts and a wire, and two namespaces and a veth pair."""
    with ExitStack() as stack:
        ours = {
            host: stack.enter_context(start(hosts.on(host, EXECUTE), hosts.environ))
            for host in ("server", "client")
        }
        newtos = World(**ours)
        yield Pair(stack.enter_context(two_linuxes()), newtos)
        newtos.close()


@pytest.fixture(scope="module")
def over_tap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A host and Linux, and two namespaces and a veth pair."""
    directory = tmp_path_factory.mktemp("tap")
    with two_linuxes() as linux, host_and_linux(directory) as newtos:
        yield Pair(linux, newtos)
