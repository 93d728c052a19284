"""The same programs where the wire loses and reorders."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT = 8080


@pytest.fixture(scope="module")
def lighttpd(lossy_hosts: Any, pages: Path) -> Iterator[None]:
    config = lossy_hosts.directory / "lighttpd.conf"
    config.write_text(f'server.document-root = "{pages}"\nserver.port = {PORT}\n')
    with lossy_hosts.serve(PORT, "lighttpd", "-D", "-f", str(config)):
        yield


@pytest.mark.apps("lighttpd", "curl")
@pytest.mark.usefixtures("lighttpd")
@pytest.mark.parametrize(
    "size", [20, 11_000, 512_000, pytest.param(100_000_000, marks=pytest.mark.slow)]
)
def test_curl_gets_every_byte(lossy_hosts: Any, pages: Path, size: int) -> None:
    got = lossy_hosts.directory / "got"
    lossy_hosts.ask("curl", "-sS", "--fail", "-o", str(got), f"http://{ADDRESS}:{PORT}/{size}",
                    timeout=300)  # fmt: skip
    want = hashlib.sha256((pages / str(size)).read_bytes()).hexdigest()
    assert hashlib.sha256(got.read_bytes()).hexdigest() == want


@pytest.mark.apps("lighttpd", "ab")
@pytest.mark.usefixtures("lighttpd")
def test_ab(lossy_hosts: Any) -> None:
    said = lossy_hosts.ask("ab", "-q", "-n", "100", "-c", "20", f"http://{ADDRESS}:{PORT}/11000",
                           timeout=100)  # fmt: skip
    assert "Failed requests:        0" in said
