"""A booted host answers ping from Linux over TAP, also while its driver and IP are being killed.

Everything real: rs, the servers' processes, a TAP device, Linux's own ping; in a namespace.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.root, pytest.mark.apps("ip", "ping")]

TOPOLOGY = """
[host.edge]
address = "10.214.0.2/24"
tap = { device = "ntping0", peer = "10.214.0.1/24" }
"""

# Boots what its arguments say, says so, and stops when its input ends.
BOOT = """
import sys
from pathlib import Path
from newtos_py.rs.boot import start_rs
from newtos_py.rs.front import Replacement
from newtos_py.rs.runtime import open_runtime_dir
replaced = [Replacement(name, f"fake_servers:{name.upper()}") for name in sys.argv[3:]]
runtime = open_runtime_dir(Path(sys.argv[2]))
rs = start_rs(Path(sys.argv[1]), runtime, attached=True, replacements=replaced)
rs.wait_until_ready()
print("ready", flush=True)
sys.stdin.read()
rs.stop()
"""

# Not needed for an echo: small fakes stand in, so that this test is about drivers and IP.
FAKED = ("udp", "tcp", "syscall")
FAKES_DIR = Path(__file__).parent.parent / "rs"


class Edge:
    """The booted host, in a namespace whose Linux is its only neighbour."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"ntping{os.getpid()}"
        self.runtime = folder / "run"
        self.env = dict(
            os.environ,
            PYTHONPATH=str(FAKES_DIR),
            NEWTOS_RUNTIME_DIR=str(self.runtime),
            NEWTOS_FAKES=str(folder),
        )
        boot_file = folder / "edge.toml"
        boot_file.write_text(TOPOLOGY)
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.process = subprocess.Popen(
            self.inside(sys.executable, "-P", "-c", BOOT, boot_file, self.runtime, *FAKED),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.booted = self.process.stdout.readline() == "ready\n"

    def inside(self, *words: str | Path) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *map(str, words)]

    def servers(self) -> dict[str, tuple[int | None, int]]:
        """Process and number of restarts by role."""
        ps = [str(Path(sys.executable).with_name("newtos")), "ps", "--json"]
        done = subprocess.run(ps, env=self.env, check=True, capture_output=True, text=True)
        return {row["server"]: (row["pid"], row["restarts"]) for row in json.loads(done.stdout)}

    def kill(self, role: str) -> None:
        """Kill a server and wait until it has been replaced."""
        pid, restarts = self.servers()[role]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while True:
            assert time.monotonic() < deadline, f"{role} is not restarted"
            now = self.servers()[role]
            if now[0] not in (None, pid) and now[1] > restarts:
                return

    def close(self) -> None:
        self.process.communicate("")
        subprocess.run(["ip", "netns", "del", self.namespace], check=True)
        assert self.process.returncode == 0


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    made = Edge(tmp_path)
    try:
        assert made.booted
        yield made
    finally:
        made.close()


def received(output: str) -> int:
    """How many answers ping says it has had."""
    summary = next(line for line in output.splitlines() if "packets transmitted" in line)
    return int(summary.split(", ")[1].split()[0])


def test_ping_answers_and_survives_kills(edge: Edge) -> None:
    ping = edge.inside("ping", "-i", "0.005", "-W", "5", "-c")
    quiet = subprocess.run([*ping, "20", "10.214.0.2"], check=True, capture_output=True, text=True)
    assert received(quiet.stdout) == 20
    with subprocess.Popen(
        [*ping, "100000", "10.214.0.2"], stdout=subprocess.PIPE, text=True
    ) as disturbed:
        for _ in range(3):
            edge.kill("tap")
            edge.kill("ip")
        disturbed.send_signal(signal.SIGINT)
        output, _ = disturbed.communicate()
    sent = int(output.splitlines()[-2].split()[0])
    # A driver that dies between its device's system call and its commit may lose that frame.
    assert sent > 100
    assert received(output) >= sent - 4
    assert {role: restarts for role, (_, restarts) in edge.servers().items()} == {
        "tap": 3,
        "ip": 3,
        "udp": 0,
        "tcp0": 0,
        "syscall": 0,
    }
