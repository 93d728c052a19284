"""No wake-up is lost: a stress (tests/libc_shim/wakeups) that stands still if one is.

Over loopback, over a wire, and over both while the TCP servers are killed all the time; and with
two lanes of each listen design, whose steerings take turns. The seed is in the output; what a
stress of threads does with it is not the same each time.
"""

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_hosts import ADDRESS, CLIENT, DEADLINE_S, HOSTS, WEB, RealHosts

from newtos_py.rs.scratch import ScratchHosts
from newtos_py.topology import ListenDesign, Steering

SOURCES = Path(__file__).parent.parent / "libc_shim" / "wakeups"
SEED = int(os.environ.get("NT_SEED", "1"))
PORT = 9000
LOST_S = 30  # as in wakeups.h: how long it takes to say so
SHORT_S, LONG_S = 7, 200
# For each of the designs.
SHORT_IN_LANES_S, LONG_IN_LANES_S = 1, 60
LANES = 2


def lasting(short_s: int, long_s: int) -> pytest.MarkDecorator:
    slow = [pytest.mark.slow, pytest.mark.timeout(2 * long_s + 120)]
    return pytest.mark.parametrize("seconds", [short_s, pytest.param(long_s, marks=slow)])


seconds = lasting(SHORT_S, LONG_S)


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
    talk_to_itself(hosts, wakeups, seconds)


def talk_to_itself(hosts: RealHosts, wakeups: str, seconds: int) -> None:
    command = [wakeups, "both", str(PORT), str(seconds), str(SEED)]
    with hosts.start(WEB, command) as process:
        await_end(process, seconds + LOST_S + DEADLINE_S)


@pytest.mark.parametrize("kills", [False, True])
@seconds
def test_between_hosts(hosts: RealHosts, wakeups: str, seconds: int, kills: bool) -> None:
    talk_over_a_wire(hosts, wakeups, seconds, lanes_killed=1 if kills else 0)


def talk_over_a_wire(hosts: RealHosts, wakeups: str, seconds: int, *, lanes_killed: int) -> None:
    serve = [wakeups, "server", str(PORT), str(seconds), str(SEED)]
    ask = [wakeups, "client", str(PORT), str(seconds), str(SEED), ADDRESS]
    with hosts.start(WEB, serve, stdin=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"
        with hosts.start(CLIENT, ask) as client:
            if lanes_killed:
                kill_until(hosts, client, time.monotonic() + seconds, lanes_killed)
            await_end(client, seconds + LOST_S + DEADLINE_S)
        await_end(server, LOST_S + DEADLINE_S)  # its input ends


def kill_until(
    hosts: RealHosts, client: "subprocess.Popen[bytes]", end_s: float, lanes: int
) -> None:
    """Kill one TCP server after the other, each as soon as the last is back, or each second."""
    victims = [(host, f"tcp{lane}") for lane in range(lanes) for host in HOSTS]
    for host, role in itertools.cycle(victims):
        start_s = time.monotonic()
        if client.poll() is not None or start_s >= end_s:
            return
        hosts.kill(host, role)
        try:
            client.wait(max(0.0, 1 - (time.monotonic() - start_s)))
        except subprocess.TimeoutExpired:
            continue


# -- Several lanes ---------------------------------------------------------------------------

in_lanes = lasting(SHORT_IN_LANES_S, LONG_IN_LANES_S)
designs = pytest.mark.parametrize(
    ("design", "steering"),
    [
        pytest.param(design, steering, id=f"{design.value}-{steering.value}")
        for design, steering in zip(ListenDesign, itertools.cycle(Steering), strict=False)
    ],
)


@contextmanager
def hosts_of_lanes(design: ListenDesign, steering: Steering) -> Iterator[RealHosts]:
    keys = f'lanes = {LANES}\nlisten = "{design.value}"\nsteering = "{steering.value}"'
    topology = f"""
    [host.{WEB}]
    address = "{ADDRESS}/24"
    {keys}
    [host.{CLIENT}]
    address = "10.0.0.3/24"
    {keys}
    [wire.lan]
    hosts = ["{WEB}", "{CLIENT}"]
    """
    with ScratchHosts(topology) as scratch:
        yield RealHosts(scratch)


@designs
@in_lanes
def test_in_lanes_that_die(
    wakeups: str, seconds: int, design: ListenDesign, steering: Steering
) -> None:
    with hosts_of_lanes(design, steering) as hosts:
        talk_over_a_wire(hosts, wakeups, seconds, lanes_killed=LANES)


@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_IN_LANES_S + 120)
@designs
def test_in_lanes_over_loopback(wakeups: str, design: ListenDesign, steering: Steering) -> None:
    with hosts_of_lanes(design, steering) as hosts:
        talk_to_itself(hosts, wakeups, LONG_IN_LANES_S)
