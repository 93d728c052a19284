"""lighttpd with one configuration for all sides, serving files of given sizes."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from newtos_py.bench.report import BenchError
from newtos_py.bench.sides import SERVER, Side

PORT = 8080
_START_TIMEOUT_S = 15.0
_STARTED = "server started"
# Of requests a connection: lighttpd's largest, so that a keep-alive connection is kept.
KEEP_ALIVE_MAX = 65535
_CONFIG = """\
server.document-root = "{root}/files"
server.errorlog = "{root}/{side}.log"
server.port = {port}
server.max-keep-alive-requests = {requests}
server.max-keep-alive-idle = 60
server.max-fds = 1024
"""


class Site:
    """A folder with a file of each size; a context manager."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="newtos-bench-"))
        files = self.root / "files"
        files.mkdir()
        for size in sizes:
            (files / path_of(size)).write_bytes(bytes(i % 251 for i in range(size)))

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root)


class Lighttpd:
    """lighttpd on one side; a context manager."""

    def __init__(self, site: Site, side: Side, requests: int = KEEP_ALIVE_MAX) -> None:
        """`requests`: after so many it closes a connection."""
        self._log = site.root / f"{side.name}.log"
        self._log.unlink(missing_ok=True)
        config = site.root / f"{side.name}.conf"
        config.write_text(
            _CONFIG.format(root=site.root, side=side.name, port=PORT, requests=requests)
        )
        command = side.on(SERVER, [find_lighttpd(), "-D", "-f", str(config)])
        self._process = subprocess.Popen(
            command, env=side.environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            self._wait_until_started(side)
        except BaseException:
            self.__exit__()
            raise

    @property
    def pid(self) -> int:
        """Its process: whatever started it has become it."""
        return self._process.pid

    def __enter__(self) -> "Lighttpd":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=_START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _wait_until_started(self, side: Side) -> None:
        """Follow its log, which is all it tells of having bound its socket."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not (self._log.exists() and _STARTED in self._log.read_text()):
            if self._process.poll() is not None:
                _, said = self._process.communicate()
                logged = self._log.read_text() if self._log.exists() else ""
                problem = " ".join((said + logged).split())
                raise BenchError(f"lighttpd did not start on {side.name}: {problem}")
            if time.monotonic() > deadline:
                raise BenchError(f"lighttpd did not start on {side.name} in time")
            time.sleep(0.01)


def path_of(size: int) -> str:
    """Name the file of a size, below the document root."""
    return f"{size}.bin"


def find_lighttpd() -> str:
    """Find it; Debian has it where only root's PATH leads."""
    found = shutil.which("lighttpd") or shutil.which("lighttpd", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise BenchError("lighttpd is missing: apt install lighttpd")
    return found
