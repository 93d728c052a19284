"""lighttpd and curl, unchanged, with every socket call done by a call server (NEWTOS_SOCKETS)."""

import hashlib
import os
from typing import Any

import pytest

PORT = 8790

pytestmark = pytest.mark.apps("lighttpd", "curl")


@pytest.mark.parametrize(("mode", "port"), [("syscall", PORT), ("channel", PORT + 1)])
def test_curl_gets_every_byte(wire_hosts: Any, mode: str, port: int) -> None:
    www = wire_hosts.directory / f"www-{mode}"
    www.mkdir()
    for size in (20, 11_000, 1_000_000):
        (www / str(size)).write_bytes(os.urandom(size))
    config = wire_hosts.directory / f"lighttpd-{port}.conf"
    config.write_text(f'server.document-root = "{www}"\nserver.port = {port}\n')
    env = {"NEWTOS_SOCKETS": mode}
    with wire_hosts.serve(port, "lighttpd", "-D", "-f", str(config), env=env):
        for size in (20, 11_000, 1_000_000):
            got = wire_hosts.directory / "got"
            url = f"http://10.0.0.2:{port}/{size}"
            wire_hosts.ask("curl", "-sS", "--fail", "-o", str(got), url, env=env)
            digests = {
                hashlib.sha256(each.read_bytes()).digest() for each in (got, www / str(size))
            }
            assert len(digests) == 1
    wire_hosts.await_nothing_left([port])
