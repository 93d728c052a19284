"""FTP over the wire that loses 0.5 %: pyftpdlib, asked by curl and wget.

Each transfer has a connection of its own: in passive mode to a port that the server opens for it,
in active mode back to one that the client opens.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS, PORT = "10.0.0.2", 2121
URL = f"ftp://{ADDRESS}:{PORT}"
# Debian's package is one of Debian's Python.
PYTHON = "/usr/bin/python3"

pytestmark = [
    pytest.mark.apps("curl"),
    pytest.mark.skipif(
        not Path("/usr/lib/python3/dist-packages/pyftpdlib").exists(),
        reason="not installed: python3-pyftpdlib",
    ),
]


@pytest.fixture(scope="module")
def root(wire_hosts: Any, pages: Path) -> Iterator[Path]:
    """What the server has: a file; and anybody may write."""
    directory: Path = wire_hosts.directory / "ftp"
    directory.mkdir()
    shutil.copy(pages / "512000", directory)
    command = (PYTHON, "-m", "pyftpdlib", "-w", "-p", str(PORT), "-d", str(directory))
    with wire_hosts.serve(PORT, *command):
        yield directory


# curl: a path from PASV or EPSV; -P -: PORT or EPRT with the address of the control connection.
MODES = (["--disable-epsv"], [], ["-P", "-", "--disable-eprt"], ["-P", "-"])


@pytest.mark.parametrize("mode", MODES, ids=["PASV", "EPSV", "PORT", "EPRT"])
def test_curl(wire_hosts: Any, root: Path, mode: list[str]) -> None:
    got = wire_hosts.directory / "got"
    wire_hosts.ask("curl", "-sS", *mode, "-o", str(got), f"{URL}/512000")
    assert got.read_bytes() == (root / "512000").read_bytes()
    wire_hosts.ask("curl", "-sS", *mode, "-T", str(got), f"{URL}/sent")
    assert (root / "sent").read_bytes() == got.read_bytes()
    assert "512000" in wire_hosts.ask("curl", "-sS", *mode, f"{URL}/")


@pytest.mark.apps("wget")
def test_wget(wire_hosts: Any, root: Path) -> None:
    got = wire_hosts.directory / "wgot"
    wire_hosts.ask("wget", "-q", "-O", str(got), f"{URL}/512000")
    assert got.read_bytes() == (root / "512000").read_bytes()
