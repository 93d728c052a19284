"""Hosts of one's own for a while: booted in a private runtime directory, gone at the end.

For a bench, a demo or a test. They run beside any other hosts, whatever these are named, and
nothing of them is left when the `with` block ends, however it ends: rs is attached, so it stops
its hosts even when this process is killed.
"""

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.rs import front
from newtos_py.rs.boot import BootedRs, start_rs
from newtos_py.rs.clean import clean
from newtos_py.rs.records import HostRecord
from newtos_py.rs.runtime import open_runtime_dir

Event = front.Planned | front.ServerReady


class ScratchHosts:
    """The hosts of a topology; a context manager."""

    def __init__(
        self,
        topology: str,
        on_event: Callable[[Event], None] = lambda _: None,
        replacements: Sequence[front.Replacement] = (),
    ) -> None:
        """`topology` is TOML; `on_event` follows the boot; `replacements` of installed servers."""
        # Short: the paths of sockets are limited (runtime.py).
        self.folder = Path(tempfile.mkdtemp(prefix="newtos-"))
        self.runtime = open_runtime_dir(self.folder / "run")
        self._boot_file = self.folder / "hosts.toml"
        self._boot_file.write_text(topology, encoding="utf-8")
        self._on_event = on_event
        self._replacements = replacements
        self._rs: BootedRs | None = None

    def __enter__(self) -> "ScratchHosts":
        try:
            self._rs = start_rs(
                self._boot_file, self.runtime, attached=True, replacements=self._replacements
            )
            for event in self._rs.events():
                self._on_event(event)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def environ(self) -> dict[str, str]:
        """An environment in which `newtos` finds these hosts."""
        return {**os.environ, "NEWTOS_RUNTIME_DIR": str(self.runtime.path)}

    def on(self, host: str, command: Sequence[str]) -> list[str]:
        """Make the command that runs another on a host, to be started with `environ`."""
        return [find_newtos(), "run", "--host", host, "--", *command]

    def record(self, host: str) -> HostRecord:
        """What rs says about a host now."""
        return self.runtime.find_host(host)

    def close(self) -> None:
        """Stop the hosts and remove everything; idempotent."""
        if self._rs is not None:
            self._rs.stop()
            self._rs = None
        if self.folder.exists():
            # Nothing is found, unless rs was killed.
            clean(self.runtime)
            shutil.rmtree(self.folder)


def find_newtos() -> str:
    """Find the command that was installed with this package."""
    beside = Path(sysconfig.get_path("scripts")) / "newtos"
    found = str(beside) if beside.exists() else shutil.which("newtos")
    if found is None:
        raise NewtosError("the command newtos is not on PATH; install newtos_py again")
    return found
