"""Kills under sockets that several processes use at once (decision 0010)."""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest
from real_hosts import TOPOLOGY, WEB, RealHosts

from newtos_py.rs.scratch import ScratchHosts

# Says what it has come to, and goes on at each line that it is told.
PROGRAM = r"""
import os, signal, socket, struct, sys
from pathlib import Path

signal.alarm(60)
children = []

def forked():
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
    else:
        children.append(pid)
    return pid == 0

listener = socket.create_server(("127.0.0.1", 0))


class Pair:
    # A connection whose one end this process and a child use; another child holds it, too.
    def __init__(self):
        self.there = socket.create_connection(listener.getsockname())
        self.here, _ = listener.accept()
        self.mine, child = socket.socketpair()
        self.late, late = socket.socketpair()
        if forked():
            self.there.close()
            child.recv(1)
            self.here.send(b"c")
            child.send(b"x")
            for command in iter(lambda: child.recv(1), b""):
                self.here.send(b"C")
                child.send(b"x")
            os._exit(0)
        if forked():
            self.there.close()
            self.mine.close()
            for command in iter(lambda: late.recv(1), b""):
                try:
                    self.here.send(b"L")
                    late.send(b"x")
                except OSError as error:
                    late.send(b"e")
            os._exit(0)
        self.here.send(b"p")
        self.ask(self.mine)
        self.here.send(b"P")
        self.ask(self.mine)
        self.expect(b"pcPC")
    def ask(self, tube):
        tube.send(b"x")
        return tube.recv(1)
    def expect(self, wanted):
        got = b""
        while len(got) < len(wanted):
            piece = self.there.recv(len(wanted) - len(got))
            assert piece, got
            got += piece
        assert got == wanted, got
    def check(self):
        self.here.send(b"1")
        self.ask(self.mine)
        assert self.ask(self.late) == b"x"
        self.here.send(b"2")
        self.expect(b"1CL2")
        self.there.send(b"back")
        assert self.here.recv(9) == b"back"
        self.here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert self.here.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

def pumps():
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"newtos_py.libc_shim.pump" not in words:
                continue
            environ = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"NEWTOS_CONTROL=" + os.environb[b"NEWTOS_CONTROL"] in environ:
            yield process.name

pair = Pair()
print(*pumps(), flush=True)
sys.stdin.readline()
if sys.argv[1] == "lives":
    pair.check()
    again = Pair()
    again.check()
    print(*pumps(), flush=True)
else:
    try:
        assert pair.here.recv(1) == b""
    except ConnectionResetError:
        pass
    try:
        assert pair.there.recv(1) == b""
    except ConnectionResetError:
        pass
    assert pair.ask(pair.late) == b"e"
    again = Pair()
    again.check()
    print("all there", flush=True)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[RealHosts]:
    with ScratchHosts(TOPOLOGY) as scratch:
        yield RealHosts(scratch)


def start(hosts: RealHosts, what: str) -> "subprocess.Popen[bytes]":
    return hosts.start(WEB, ["python3", "-c", PROGRAM, what], stdin=subprocess.PIPE)


def line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def go_on(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


@pytest.mark.parametrize("role", ["syscall", "tcp0"])
def test_pumped_sockets_outlive_the_servers(hosts: RealHosts, role: str) -> None:
    """Who has not come for its end yet finds it, and options are still those of the socket."""
    with start(hosts, "lives") as process:
        pump = line(process)
        assert len(pump.split()) == 1, pump + process.communicate()[0].decode()
        hosts.kill(WEB, role)
        go_on(process)
        said = line(process)
        assert said == pump, said + process.communicate()[0].decode()


def test_a_dead_pump_ends_its_connections_and_no_others(hosts: RealHosts) -> None:
    with start(hosts, "ends") as process:
        pump = line(process)
        os.kill(int(pump), signal.SIGKILL)
        go_on(process)
        said = line(process)
        assert said == "all there", said + process.communicate()[0].decode()
