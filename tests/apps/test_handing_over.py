"""Programs that hand connections to other processes: by fork, and by exec on standard input.

Over the wire that loses 0.5 %. Their clients notice nothing, and nothing is left behind.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"

HTTP = """
import http.server, socketserver

class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    pass

Server(("", 7030), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
WAITING = """
import socket

listener = socket.socket(fileno=0)
connection, _ = listener.accept()
connection.sendall(b"waited: " + connection.recv(100))
"""
INETD = """
7031 stream tcp4 nowait root /bin/cat cat
7032 stream tcp4 nowait nobody /usr/bin/id id -un
7033 stream tcp4 wait root {python} python -c {program}
"""
SSHD = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PidFile none
Port 7034
PermitRootLogin yes
"""


@pytest.mark.apps("curl")
def test_a_python_server_that_forks_for_each_request(wire_hosts: Any, pages: Path) -> None:
    want = pages / "512000"
    got = wire_hosts.directory / "got"
    with wire_hosts.serve(7030, "python3", "-c", HTTP, cwd=pages):
        for _ in range(5):
            wire_hosts.ask("curl", "-sf", "-o", str(got), f"http://{ADDRESS}:7030/512000")
            assert got.read_bytes() == want.read_bytes()


@pytest.mark.root  # it becomes the user that its configuration names
@pytest.mark.apps("inetd", "socat")
def test_inetd(wire_hosts: Any) -> None:
    """It cleans its children's environment, and gives them a socket as input, output and error."""
    program = wire_hosts.directory / "waiting.py"
    program.write_text(WAITING)
    config = wire_hosts.directory / "inetd.conf"
    config.write_text(INETD.format(python="/usr/bin/python3", program=program).replace(" -c ", " "))

    def ask(port: int) -> str:
        said: str = wire_hosts.ask(
            "socat", "-t5", "-", f"TCP:{ADDRESS}:{port}", stdin="hello\n", timeout=30
        )
        return said

    with wire_hosts.serve(7031, "inetd", "-i", str(config)):
        for _ in range(3):
            assert ask(7031) == "hello\n"
            assert ask(7032) == "nobody\n"
            assert ask(7033) == "waited: hello\n"


@pytest.mark.root
@pytest.mark.apps("sshd", "ssh", "ssh-keygen")
def test_sshd(wire_hosts: Any) -> None:
    """A process that becomes another, a child in a sandbox, and a parent that both use a socket."""
    folder = wire_hosts.directory / "ssh"
    folder.mkdir()
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    config = folder / "config"
    config.write_text(SSHD.format(folder=folder))
    blob = os.urandom(1_000_000)
    (folder / "blob").write_bytes(blob)
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    ssh = ["ssh", *options, "-i", str(folder / "key"), "-p", "7034", f"root@{ADDRESS}"]
    with wire_hosts.serve(7034, "/usr/sbin/sshd", "-D", "-e", "-f", str(config)):
        assert wire_hosts.ask(*ssh, "echo over ssh") == "over ssh\n"
        said = wire_hosts.ask(*ssh, f"sha256sum < {folder}/blob; cat > {folder}/back", stdin="back")
        assert said.split()[0] == subprocess.run(
            ["sha256sum", folder / "blob"], capture_output=True, text=True, check=True
        ).stdout.split()[0]  # fmt: skip
        assert (folder / "back").read_text() == "back"
