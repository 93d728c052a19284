"""Starting and stopping rs from another process: what `newtos boot`, `newtos down` and tests call.

rs is a fresh interpreter, so it does not matter what the caller has loaded, locked or opened. It
inherits the caller's session (and with it the scheduler's autogroup: setsid would halve throughput,
architecture §6). A detached rs gets a process group of its own, so that Ctrl-C does not reach it.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.kernel.link import Link, LinkClosedError, link_pair
from newtos_py.rs import front
from newtos_py.rs.runtime import RuntimeDir


class BootError(NewtosError):
    """A topology could not be booted; nothing is left of it."""


class BootedRs:
    """An rs that was started; attached, it ends with this object's link."""

    def __init__(self, process: "subprocess.Popen[bytes]", link: Link) -> None:
        self.process = process
        self._link = link

    def events(self) -> Iterator[front.Planned | front.ServerReady]:
        """Follow the boot until all servers are ready; BootError if that does not come about."""
        while True:
            try:
                message = self._link.receive()
            except LinkClosedError:
                self.process.wait()
                raise BootError(
                    f"rs ended with status {self.process.returncode} before the boot was done"
                ) from None
            match message:
                case front.Planned() | front.ServerReady():
                    yield message
                case front.Booted():
                    return
                case front.BootFailed():
                    self.process.wait()
                    raise BootError(message.reason)
                case _:
                    raise AssertionError(f"rs said {message!r}")

    def wait_until_ready(self) -> None:
        """Wait until all servers are ready; BootError if that does not come about."""
        for _ in self.events():
            pass

    def stop(self) -> None:
        """End an attached rs in good order, and wait for it."""
        self._link.close()
        self.process.wait()

    def wait(self) -> int:
        """Wait until rs ends by itself or is told to; its exit status."""
        return self.process.wait()


def start_rs(
    boot_file: Path,
    runtime: RuntimeDir,
    *,
    attached: bool,
    replacements: Sequence[front.Replacement] = (),
) -> BootedRs:
    """Start an rs that boots a topology; follow it with events()."""
    ours, theirs = link_pair()
    with theirs:
        command = [sys.executable, "-P", "-m", "newtos_py.rs.main", str(theirs.fileno())]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=None if attached else 0,
        )
    link = Link(ours, front.FRONT_CODEC)
    request = front.Boot(
        os.fspath(boot_file.absolute()), os.fspath(runtime.path), attached, tuple(replacements)
    )
    link.send(request)
    return BootedRs(process, link)


def stop_hosts(runtime: RuntimeDir, token: str, hosts: Sequence[str], timeout_s: float) -> bool:
    """Ask the rs of an instance to stop hosts, and wait until nothing is left of them.

    False if it did not answer in time, or is not there to be asked.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(runtime.rs_path(token)))
            link = Link(connection, front.FRONT_CODEC)
            connection.settimeout(timeout_s)
            link.send(front.Stop(tuple(hosts)))
            message = link.receive()
        except (OSError, LinkClosedError):
            return False
    assert isinstance(message, front.Stopped)
    return True
