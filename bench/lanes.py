"""Where the listen designs are compared: a server on two cores, and a client on each of them.

newtos: a host of two lanes, and two hosts that each share a core with one of its lanes; a wire to
each. Linux: loopback in a namespace of its own, its programs on the same cores.
"""

import json
import subprocess
from collections import Counter

from newtos_py.bench.http import CONGESTION
from newtos_py.bench.report import BenchError
from newtos_py.bench.sides import CLIENT, SERVER, HostsSide, LinuxSide

from newtos_py.rs.scratch import find_newtos

# The client that shares the first core with the server program's first worker.
SECOND = "second"
_TOPOLOGY = """\
[host.server]
addresses = ["10.0.0.2/24", "10.0.1.2/24"]
cores = {{ default = {first}, tcp0 = {first}, tcp1 = {second} }}
lanes = 2
listen = "{listen}"
steering = "{steering}"
[host.client]
address = "10.0.0.3/24"
cores = {second}
[host.second]
address = "10.0.1.3/24"
cores = {first}
[wire.lan]
hosts = ["server", "client"]
[wire.other]
hosts = ["server", "second"]
"""
_TIMEOUT_S = 20


class LanesSide(HostsSide):
    """Three hosts and two wires; a context manager."""

    def __init__(self, cores: tuple[int, int], listen: str, steering: str) -> None:
        first, second = cores
        super().__init__(
            f"newtos, {listen}, {steering}",
            _TOPOLOGY.format(first=first, second=second, listen=listen, steering=steering),
        )
        self.addresses = {CLIENT: "10.0.0.2", SECOND: "10.0.1.2"}

    def counters(self) -> Counter[str]:
        """What all servers of the server's host have counted, by name."""
        command = [find_newtos(), "counters", "--host", SERVER, "--all", "--json"]
        done = subprocess.run(
            command,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise BenchError(f"no counters of {self.name}: {done.stderr.strip()}")
        found: Counter[str] = Counter()
        for row in json.loads(done.stdout):
            found[row["counter"]] += row["value"]
        return found


class LinuxLanesSide(LinuxSide):
    """Loopback with a client on each core; a context manager."""

    def __init__(self, cores: tuple[int, int]) -> None:
        super().__init__(cores, CONGESTION)
        self.cores[SECOND] = cores[0]
        self.addresses = dict.fromkeys((CLIENT, SECOND), self.address)

    def counters(self) -> Counter[str]:
        """Nothing: Linux doesn't count what is asked for."""
        return Counter()
