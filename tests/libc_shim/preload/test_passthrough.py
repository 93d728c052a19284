"""What has nothing to do with the network goes to the kernel as if the shim were not there."""

import ast
import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from newtos_py.servers.syscall.control import ControlMessage, emit

from newtos_py.kernel._kernel import lib

RunOnHost = Callable[..., "subprocess.CompletedProcess[str]"]

KERNEL_ONLY = """
import os, select, signal, socket, subprocess, sys, tempfile, threading

a, b = socket.socketpair()
r, w = os.pipe()
poller = select.epoll()
poller.register(a, select.EPOLLIN)
poller.register(r, select.EPOLLIN)
os.write(w, b"pipe")
print(sorted(poller.poll(1)) == [(r, select.EPOLLIN)], r, w, a.fileno(), poller.fileno())
b.send(b"unix")
print(a.recv(10), os.read(r, 10))
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100000)
    file.seek(0)
    print(len(file.read()), file.fileno())
print(subprocess.run(["sh", "-c", "echo $0; exit 3", "name"], capture_output=True))
pid = os.fork()
if pid == 0:
    os.write(w, b"child")
    os._exit(5)
print(os.waitpid(pid, 0)[1], os.read(r, 10))
print(select.select([r], [w], [], 0) == ([], [w], []))
thread = threading.Thread(target=lambda: os.write(w, b"thread"))
thread.start()
thread.join()
print(os.read(r, 10))
os.close(r)
os.dup2(w, r)
print(sorted(map(int, os.listdir("/proc/self/fd")))[:8])
"""


def run(*command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    # What make sanitize preloads stays in front of the shim.
    before = os.environ.get("LD_PRELOAD", "").split()
    if "LD_PRELOAD" in env:
        env["LD_PRELOAD"] = " ".join([*before, env["LD_PRELOAD"]])
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
    )


def test_program_without_network(on_host: RunOnHost) -> None:
    plain = run(sys.executable, "-c", KERNEL_ONLY)
    shimmed = on_host(sys.executable, "-c", KERNEL_ONLY)
    assert plain.returncode == 0, plain.stderr
    assert (shimmed.returncode, shimmed.stdout) == (0, plain.stdout), shimmed.stderr
    assert shimmed.stderr == ""


def test_without_a_host_nothing_is_ours(shim: str) -> None:
    """NEWTOS_CONTROL is not set: even AF_INET sockets are the kernel's."""
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.fileno())"
    assert run(sys.executable, "-c", code, LD_PRELOAD=shim).stdout == "3\n"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_host_that_is_gone(shim: str, tmp_path: Path, family: str) -> None:
    code = (
        "import socket, errno\n"
        f"for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:\n"
        f"    try: socket.socket(socket.{family}, kind)\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
        "print(socket.socketpair()[0].fileno())\n"
    )
    control = str(tmp_path / "nobody")
    done = run(sys.executable, "-c", code, LD_PRELOAD=shim, NEWTOS_CONTROL=control)
    assert done.stdout == "ENETDOWN\nENETDOWN\n3\n"
    assert done.stderr.count("\n") == 1
    assert "the host is gone" in done.stderr
    assert control in done.stderr


REFUSED = """
import errno, os, socket
for _ in range(2):
    try:
        socket.socket()
    except OSError as error:
        print(errno.errorcode[error.errno])
print(os.read(os.open("/dev/zero", os.O_RDONLY), 1))
"""


def test_host_that_takes_no_more_processes(shim: str, tmp_path: Path) -> None:
    control = str(tmp_path / "full")
    said = ControlMessage(lib.NT_CTL_REFUSED, 0, error=errno.EMFILE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as host:
        host.bind(control)
        host.listen()
        host.settimeout(60)

        def refuse() -> None:
            connection, _ = host.accept()
            connection.send(emit(said))
            connection.close()

        with ThreadPoolExecutor() as pool:
            refused = pool.submit(refuse)
            done = run(sys.executable, "-c", REFUSED, LD_PRELOAD=shim, NEWTOS_CONTROL=control)
            refused.result()
    assert done.stdout == "EMFILE\nEMFILE\nb'\\x00'\n"
    assert done.stderr.count("\n") == 1
    assert "takes no more processes" in done.stderr


GONE = """
import errno, select, socket, sys, threading

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
answers = {}

def answer(name, call):
    try:
        answers[name] = call()
    except OSError as error:
        answers[name] = errno.errorcode[error.errno]

poller, edges, levels = select.poll(), select.epoll(), select.epoll()
poller.register(server, select.POLLIN)
edges.register(server, select.EPOLLIN | select.EPOLLET)
levels.register(client, select.EPOLLIN)
levels.register(listener, select.EPOLLIN)
calls = {
    "recv": lambda: server.recv(1),
    "accept": lambda: listener.accept(),
    "poll": lambda: poller.poll()[0][1],
    "edges": lambda: edges.poll()[0][1],
    "levels": lambda: [event for _, event in levels.poll()],
    "select": lambda: len(select.select([server], [], [])[0]),
}
threads = [threading.Thread(target=answer, args=item) for item in calls.items()]
for thread in threads:
    thread.start()
print("ready", flush=True)
for thread in threads:
    thread.join()
server.setblocking(False)
answer("again", lambda: server.recv(1))
answer("send", lambda: client.send(b"x"))
answer("bind", lambda: client.bind(("127.0.0.1", 0)))
answer("socket", lambda: socket.socket())
print(answers)
"""


def test_host_that_goes(fake_host: str, shim: str) -> None:
    """The host dies under a program: whoever blocks wakes up, and all is ENETDOWN."""
    before = os.environ.get("LD_PRELOAD", "")
    control = fake_host + ".2"  # a host of our own: the fixture's must live
    env = dict(os.environ, LD_PRELOAD=f"{before} {shim}", NEWTOS_CONTROL=control)
    with subprocess.Popen(
        [sys.executable, Path(__file__).parent / "fake_host.py", control],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stdout is not None
        host.stdout.readline()
        with subprocess.Popen(
            [sys.executable, "-c", GONE],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            host.kill()
            host.wait()
            out, err = program.communicate(timeout=30)
    broken = select.POLLIN | select.POLLERR | select.POLLHUP
    assert ast.literal_eval(out) == {
        "recv": "ENETDOWN",
        "accept": "ENETDOWN",
        "poll": broken,
        "edges": broken,
        "levels": [broken],  # the listening socket is silent: nothing will come
        "select": 1,
        "again": "ENETDOWN",
        "send": "ENETDOWN",
        "bind": "EINVAL",  # it is bound
        "socket": "ENETDOWN",
    }
    assert err.count("\n") == 1
    assert "the host is gone" in err


def test_other_networks_are_refused(on_host: RunOnHost) -> None:
    code = (
        "import socket, errno\n"
        "try: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
        "try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    done = on_host(sys.executable, "-c", code)
    assert done.stdout == "EPERM\nEPERM\n"
    assert "AF_PACKET" in done.stderr
    assert "type 3, protocol 1" in done.stderr


def test_overhead_of_a_kernel_call_is_small(on_host: RunOnHost) -> None:
    """Counted, not timed: a read of a pipe makes one system call, as without the shim."""
    code = "import os\nr, w = os.pipe()\nfor _ in range(100): os.write(w, b'x'); os.read(r, 1)\n"
    done = on_host("strace", "-f", "-c", "-e", "trace=read,write", sys.executable, "-c", code)
    if done.returncode == 127 or "strace" in done.stderr[:40]:
        pytest.skip("not installed: strace")
    writes = [line for line in done.stderr.splitlines() if line.endswith(" write")]
    assert writes
    assert int(writes[0].split()[3]) == 100
