"""A network namespace of a bench's own: Linux's loopback, with settings that others don't feel.

The namespace belongs to a process (this module, run as a program by `unshare`) that readies it and
then waits for the end of its input. It needs no name, and no removal: when the process is gone, so
is the namespace. Without root, a user namespace around it gives the rights.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from newtos_py.bench.report import BenchError

# netdevice(7)
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("=16sh14x")
_TCP = Path("/proc/sys/net/ipv4")
_READY = "ready"


class Namespace:
    """A namespace with loopback up; a context manager."""

    def __init__(self, congestion: str) -> None:
        """`congestion`: what its TCP uses (net.ipv4.tcp_congestion_control)."""
        self._as_user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", "--net", *self._as_user, sys.executable, "-P", "-m", __name__]
        try:
            self._holder = subprocess.Popen(
                [*command, congestion],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            raise BenchError("unshare is missing: install util-linux") from None
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != _READY:
            _, problem = self._holder.communicate()
            raise BenchError(f"can't make a network namespace: {problem.strip()}")

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()

    def command(self, command: Sequence[str]) -> list[str]:
        """Make the command that runs another inside."""
        user = ["--user", "--preserve-credentials"] if self._as_user else []
        return ["nsenter", "--net", *user, "--target", str(self._holder.pid), "--", *command]


def hold(congestion: str) -> None:
    """Ready the namespace this process is in, say so, and wait."""
    _bring_up("lo")
    available = (_TCP / "tcp_available_congestion_control").read_text().split()
    if congestion not in available:
        sys.exit(f"Linux has no congestion control {congestion}; it has {', '.join(available)}")
    (_TCP / "tcp_congestion_control").write_text(congestion)
    print(_READY, flush=True)
    sys.stdin.read()


def _bring_up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = _IFREQ.pack(interface.encode(), 0)
        name, flags = _IFREQ.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(name, flags | _IFF_UP))


if __name__ == "__main__":
    hold(sys.argv[1])
