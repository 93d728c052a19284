"""OpenSSH: sshd on one host; ssh, scp and sftp on the other. Keys and configuration are our own.

For each connection sshd forks, executes itself anew, and lets another user, in an empty folder and
under a system call filter, speak to the stranger until he is known (privilege separation).
"""

import getpass
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS, PORT = "10.0.0.2", 2222
SSHD, SFTP_SERVER = "/usr/sbin/sshd", "/usr/lib/openssh/sftp-server"
FORWARDED, HTTP = 8700, 8701

pytestmark = [
    pytest.mark.apps(SSHD, SFTP_SERVER, "ssh", "scp", "sftp", "ssh-keygen"),
    pytest.mark.root,
]


def make_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def client_config(wire_hosts: Any) -> Iterator[Path]:
    """A running sshd; what ssh -F wants to reach it as `web`."""
    directory = wire_hosts.directory / "ssh"
    directory.mkdir(mode=0o700)
    host_key, key = make_key(directory / "host_key"), make_key(directory / "key")
    (directory / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    (directory / "known_hosts").write_text(
        f"[{ADDRESS}]:{PORT} {host_key.with_suffix('.pub').read_text()}"
    )
    (directory / "sshd_config").write_text(f"""
HostKey {host_key}
AuthorizedKeysFile {directory}/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile {directory}/pid
Subsystem sftp {SFTP_SERVER}
LogLevel VERBOSE
""")
    config = Path(directory / "config")
    config.write_text(f"""
Host web
    HostName {ADDRESS}
    Port {PORT}
    User {getpass.getuser()}
    IdentityFile {key}
    IdentitiesOnly yes
    UserKnownHostsFile {directory}/known_hosts
    StrictHostKeyChecking yes
    BatchMode yes
    ControlPath {directory}/mux
""")
    # Where sshd locks the unprivileged child in; Debian's start script makes it.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    sshd = [SSHD, "-D", "-e", "-p", str(PORT), "-f", str(directory / "sshd_config")]
    with wire_hosts.serve(PORT, *sshd):
        yield config
    wire_hosts.await_nothing_left()


@pytest.fixture(scope="module")
def data(wire_hosts: Any) -> Path:
    path = Path(wire_hosts.directory / "data")
    path.write_bytes(os.urandom(3_000_000))
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def ssh(hosts: Any, config: Path, *words: str, **options: Any) -> str:
    return str(hosts.ask("ssh", "-F", str(config), *words, timeout=60, **options))


def test_a_command_with_input_output_and_status(wire_hosts: Any, client_config: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    said = ssh(wire_hosts, client_config, "web", "tac", stdin=text)
    assert said.splitlines() == text.splitlines()[::-1]
    done = wire_hosts.run(
        wire_hosts.client, "ssh", "-F", str(client_config), "web", "echo no >&2; exit 7",
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[-1]) == (7, "no")
    said = ssh(wire_hosts, client_config, "web", "echo $SSH_CONNECTION")
    assert said.split()[::2] == ["10.0.0.3", ADDRESS]


def test_a_terminal(wire_hosts: Any, client_config: Path) -> None:
    assert ssh(wire_hosts, client_config, "-tt", "web", "tty").startswith("/dev/pts/")


@pytest.mark.parametrize("flags", [[], ["-O"]])
def test_scp_both_ways(wire_hosts: Any, client_config: Path, data: Path, flags: list[str]) -> None:
    """-O: the old protocol, a command's input and output."""
    there, back = wire_hosts.directory / "there", wire_hosts.directory / "back"
    scp = ["scp", "-q", "-F", str(client_config), *flags]
    wire_hosts.ask(*scp, str(data), f"web:{there}", timeout=60)
    wire_hosts.ask(*scp, f"web:{there}", str(back), timeout=60)
    assert digest(there) == digest(back) == digest(data)


def test_sftp(wire_hosts: Any, client_config: Path, data: Path) -> None:
    directory = wire_hosts.directory / "sftp"
    script = "\n".join(
        (f"mkdir {directory}", f"cd {directory}", f"put {data} one", "rename one two",
         f"get two {data}.got", "ls", "")
    )  # fmt: skip
    said = wire_hosts.ask(
        "sftp", "-q", "-b", "-", "-F", str(client_config), "web", stdin=script, timeout=60
    )
    assert said.splitlines()[-1].split() == ["two"]
    assert digest(Path(f"{data}.got")) == digest(directory / "two") == digest(data)


@pytest.mark.apps("curl")
@pytest.mark.parametrize("way", ["-L", "-R"])
def test_forwards_ports(wire_hosts: Any, client_config: Path, data: Path, way: str) -> None:
    """-L: a port of the client leads to a server on the other host; -R: the other way round."""
    got = wire_hosts.directory / "got"
    far = wire_hosts.web if way == "-L" else wire_hosts.client
    near = wire_hosts.client if way == "-L" else wire_hosts.web
    port = FORWARDED if way == "-L" else FORWARDED + 10
    url = f"http://127.0.0.1:{port}/data"
    with wire_hosts.serve(HTTP, "python3", "-m", "http.server", str(HTTP), host=far):
        ssh_forward = wire_hosts.start(
            wire_hosts.client, "ssh", "-F", str(client_config), "-N", "-o",
            "ExitOnForwardFailure=yes", way, f"{port}:127.0.0.1:{HTTP}", "web",
        )  # fmt: skip
        wire_hosts.await_port(near, port)
        wire_hosts.run(near, "curl", "-sS", "--fail", "-o", str(got), url, timeout=60)
        ssh_forward.terminate()
        ssh_forward.communicate(timeout=30)
    assert digest(got) == digest(data)


def test_several_sessions_on_one_connection(wire_hosts: Any, client_config: Path) -> None:
    """A master process takes other ssh's terminals over a UNIX socket."""
    ssh(wire_hosts, client_config, "-fMN", "web")
    try:
        for number in range(5):
            said = ssh(wire_hosts, client_config, "web", f"echo {number} $SSH_CONNECTION")
            assert said.split()[0] == str(number)
        ports = {ssh(wire_hosts, client_config, "web", "echo $SSH_CONNECTION") for _ in range(3)}
        assert len(ports) == 1
    finally:
        ssh(wire_hosts, client_config, "-O", "exit", "web")


def test_eight_at_once(wire_hosts: Any, client_config: Path) -> None:
    """More than ten that are not yet known would be refused at random (MaxStartups)."""
    command = ("ssh", "-F", str(client_config), "web")
    running = [
        wire_hosts.start(
            wire_hosts.client,
            *command,
            f"head -c 100000 /dev/zero; echo {n}",
            stderr=subprocess.DEVNULL,
        )
        for n in range(8)
    ]
    for n, process in enumerate(running):
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said[-300:]
        assert said.strip("\0") == f"{n}\n"
