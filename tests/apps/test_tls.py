"""TLS over the wire that loses 0.5 %: stunnel before lighttpd, OpenSSL's own server and client."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT, PLAIN, OPENSSL = 8443, 8080, 4433

pytestmark = pytest.mark.apps("openssl")


@pytest.fixture(scope="module")
def certificate(wire_hosts: Any) -> Path:
    """Self-signed, for the server's address; its key in the same file."""
    both: Path = wire_hosts.directory / "both.pem"
    key, cert = both.with_name("key.pem"), both.with_name("cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj",
         f"/CN={ADDRESS}", "-addext", f"subjectAltName=IP:{ADDRESS}"],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_text(cert.read_text() + key.read_text())
    return both


@pytest.fixture(scope="module")
def proxy(wire_hosts: Any, pages: Path, certificate: Path) -> Iterator[None]:
    """A TLS reverse proxy: stunnel, a thread for each connection, lighttpd behind it."""
    lighttpd, stunnel = (wire_hosts.directory / name for name in ("lighttpd.conf", "stunnel.conf"))
    lighttpd.write_text(
        f'server.document-root = "{pages}"\nserver.port = {PLAIN}\nserver.bind = "127.0.0.1"\n'
    )
    stunnel.write_text(
        f"foreground = yes\npid =\n[web]\naccept = 0.0.0.0:{PORT}\nconnect = 127.0.0.1:{PLAIN}\n"
        f"cert = {certificate}\n"
    )
    with (
        wire_hosts.serve(PLAIN, "lighttpd", "-D", "-f", str(lighttpd)),
        wire_hosts.serve(PORT, "stunnel4", str(stunnel)),
    ):
        yield


@pytest.mark.apps("stunnel4", "lighttpd")
@pytest.mark.usefixtures("proxy")
class TestProxy:
    """stunnel and lighttpd."""

    @pytest.mark.apps("curl")
    def test_curl(self, wire_hosts: Any, pages: Path, certificate: Path) -> None:
        for size in (20, 11_000, 512_000):
            got = wire_hosts.directory / "got"
            wire_hosts.ask("curl", "-sS", "--fail", "--cacert", str(certificate), "-o", str(got),
                           f"https://{ADDRESS}:{PORT}/{size}")  # fmt: skip
            assert got.read_bytes() == (pages / str(size)).read_bytes()

    @pytest.mark.apps("curl")
    def test_curl_in_parallel(self, wire_hosts: Any, pages: Path, certificate: Path) -> None:
        parts = wire_hosts.directory / "parts"
        parts.mkdir()
        wire_hosts.ask("curl", "-sS", "--fail", "-Z", "--parallel-max", "10", "--cacert",
                       str(certificate), "-o", str(parts / "#1"),
                       f"https://{ADDRESS}:{PORT}/11000?[1-20]")  # fmt: skip
        want = (pages / "11000").read_bytes()
        assert len(list(parts.iterdir())) == 20
        assert all(part.read_bytes() == want for part in parts.iterdir())

    @pytest.mark.apps("curl")
    def test_curl_trusts_nobody(self, wire_hosts: Any) -> None:
        done = wire_hosts.run(
            wire_hosts.client, "curl", "-sS", f"https://{ADDRESS}:{PORT}/20", check=False
        )
        assert done.returncode == 60, done.stderr

    @pytest.mark.apps("wget")
    def test_wget(self, wire_hosts: Any, pages: Path, certificate: Path) -> None:
        got = wire_hosts.directory / "wgot"
        wire_hosts.ask("wget", "-q", "--ca-certificate", str(certificate), "-O", str(got),
                       f"https://{ADDRESS}:{PORT}/512000")  # fmt: skip
        assert got.read_bytes() == (pages / "512000").read_bytes()

    @pytest.mark.apps("wrk")
    def test_wrk(self, wire_hosts: Any) -> None:
        said = wire_hosts.ask("wrk", "-t", "1", "-c", "8", "-d", "1s",
                              f"https://{ADDRESS}:{PORT}/11000")  # fmt: skip
        assert "Socket errors" not in said
        assert "Non-2xx" not in said


def test_openssl(wire_hosts: Any, pages: Path, certificate: Path) -> None:
    """Its server gives files, to its own client; the client checks the certificate."""
    with wire_hosts.serve(
        OPENSSL, "openssl", "s_server", "-quiet", "-accept", str(OPENSSL), "-cert",
        str(certificate), "-WWW", cwd=pages,
    ):  # fmt: skip
        got = wire_hosts.directory / "s_client"
        with got.open("wb") as output:
            client = wire_hosts.start(
                wire_hosts.client, "openssl", "s_client", "-quiet", "-verify_return_error",
                "-CAfile", str(certificate), "-connect", f"{ADDRESS}:{OPENSSL}",
                stdout=output, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            client.communicate("GET /512000 HTTP/1.0\r\n\r\n", timeout=30)
        assert client.returncode == 0
        head, _, body = got.read_bytes().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 ok")
        want = (pages / "512000").read_bytes()
        assert hashlib.sha256(body).digest() == hashlib.sha256(want).digest()
