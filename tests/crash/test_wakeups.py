"""No wake-up is lost: a stress (tests/libc_shim/wakeups) that stands still if one is.

Over loopback, over a wire, and over both while the TCP servers are killed all the time. The seed
is in the output; what a stress of threads does with it is not the same each time.
"""

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from real_hosts import ADDRESS, CLIENT, DEADLINE_S, HOSTS, WEB, RealHosts

SOURCES = Path(__file__).parent.parent / "libc_shim" / "wakeups"
SEED = int(os.environ.get("NT_SEED", "1"))
PORT = 9000
LOST_S = 30  # as in wakeups.h: how long it takes to say so
SHORT_S, LONG_S = 7, 200

seconds = pytest.mark.parametrize(
    "seconds",
    [SHORT_S, pytest.param(LONG_S, marks=[pytest.mark.slow, pytest.mark.timeout(2 * LONG_S)])],
)


@pytest.fixture(scope="module")
def wakeups(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("not installed: a C compiler")
    program = tmp_path_factory.mktemp("wakeups") / "wakeups"
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-D_GNU_SOURCE"]
    sources = sorted(SOURCES.glob("*.c"))
    subprocess.run([compiler, *flags, "-o", program, *sources, "-lpthread", "-ldl"], check=True)
    return str(program)


def await_end(process: "subprocess.Popen[bytes]", timeout_s: float) -> str:
    try:
        said = process.communicate(timeout=timeout_s)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[0].decode(errors="replace")
        pytest.fail(f"it did not end: {said}")
    print(said)
    assert process.returncode == 0, said
    return said


@seconds
def test_over_loopback(hosts: RealHosts, wakeups: str, seconds: int) -> None:
    command = [wakeups, "both", str(PORT), str(seconds), str(SEED)]
    with hosts.start(WEB, command) as process:
        await_end(process, seconds + LOST_S + DEADLINE_S)


@pytest.mark.parametrize("kills", [False, True])
@seconds
def test_between_hosts(hosts: RealHosts, wakeups: str, seconds: int, kills: bool) -> None:
    serve = [wakeups, "server", str(PORT), str(seconds), str(SEED)]
    ask = [wakeups, "client", str(PORT), str(seconds), str(SEED), ADDRESS]
    with hosts.start(WEB, serve, stdin=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        with hosts.start(CLIENT, ask) as client:
            if kills:
                kill_until(hosts, client, time.monotonic() + seconds)
            await_end(client, seconds + LOST_S + DEADLINE_S)
        await_end(server, LOST_S + DEADLINE_S)  # its input ends


def kill_until(hosts: RealHosts, client: "subprocess.Popen[bytes]", end_s: float) -> None:
    """Kill one TCP server after the other, each as soon as the last is back, or each second."""
    for host in itertools.cycle(HOSTS):
        start_s = time.monotonic()
        if client.poll() is not None or start_s >= end_s:
            return
        hosts.kill(host, "tcp0")
        try:
            client.wait(max(0.0, 1 - (time.monotonic() - start_s)))
        except subprocess.TimeoutExpired:
            continue
