"""Flow groups migrate on a host of two lanes under load, and nobody notices.

A server that accepts slowly runs on the first lane's core: connections of the second lane wait for
long, so its server is busy, the program steals from it (Affinity-Accept §3.3.1), and flow groups
move to the first lane (§3.3.2).
"""

import os
import signal
import sys
import time
from typing import Any

import pytest

ADDRESS, SLOW, ECHO = "10.0.0.2", 8490, 8491
DEADLINE_S = 60

# One connection at a time: a line, a copy of it, the end.
SLOW_SERVER = """
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=16)
while True:
    sock, _ = listener.accept()
    with sock, sock.makefile("rb") as lines:
        sock.sendall(lines.readline())
"""

ECHO_SERVER = """
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 100
    daemon_threads = True
Server(("0.0.0.0", int(sys.argv[1])), Echo).serve_forever()
"""

# Threads that connect anew for each line, until input ends; and long connections beside them.
# As many as an accept queue has places: the first lane's go first, so that most wait in the
# second one, which is busy then, while the first is not.
CLIENT = """
import socket, sys, threading
address, slow, echo = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
stop, done, failures = threading.Event(), [0] * 16, []
def one(thread):
    while not stop.is_set():
        line = b"%d %d\\n" % (thread, done[thread])
        try:
            with socket.create_connection((address, slow), 50) as sock:
                sock.sendall(line)
                got = sock.makefile("rb").read()
        except OSError as error:
            failures.append(repr(error))
            return
        if got != line:
            failures.append(f"{got!r} for {line!r}")
        done[thread] += 1
threads = [threading.Thread(target=one, args=(i,)) for i in range(len(done))]
long = [socket.create_connection((address, echo), 50) for _ in range(40)]
streams = [sock.makefile("rwb", 0) for sock in long]
for thread in threads:
    thread.start()
print("begun", flush=True)
for turn, _ in enumerate(sys.stdin):
    for i, stream in enumerate(streams):
        stream.write(b"%d %d\\n" % (turn, i))
    for i, stream in enumerate(streams):
        assert stream.readline() == b"%d %d\\n" % (turn, i)
    print("echoed", flush=True)
stop.set()
for thread in threads:
    thread.join()
assert not failures, failures[:5]
print(sum(done), flush=True)
"""


@pytest.mark.slow
def test_groups_migrate_under_load_and_nothing_is_lost(make_hosts: Any) -> None:
    keys = 'lanes = 2\nlisten = "affinity"\nsteering = "flow-groups"\n'
    with (
        make_hosts("", keys, may_restart=True) as pair,
        pair.serve(SLOW, sys.executable, "-c", SLOW_SERVER, str(SLOW)),
        pair.serve(ECHO, sys.executable, "-c", ECHO_SERVER, str(ECHO)),
    ):
        client = pair.start(
            pair.client, sys.executable, "-c", CLIENT, ADDRESS, str(SLOW), str(ECHO)
        )
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        for role in ("", "ip", "tcp0", "tcp1"):
            _await_moves(pair, client, 1)
            if role:
                _kill(pair, role)
        _await_moves(pair, client, 1)
        client.stdin.close()
        counted = client.stdout.read()
        client.stdout.close()
        assert client.wait(DEADLINE_S) == 0
        assert int(counted) > 50
        assert pair.counter(pair.web, "tcp1", "accept_steals") > 0


def _echo(client: Any) -> None:
    client.stdin.write("again\n")
    client.stdin.flush()
    assert client.stdout.readline() == "echoed\n"


def _await_moves(pair: Any, client: Any, more: int) -> None:
    """Until so many flow groups more have moved, while all long connections go on."""
    wanted = pair.counter(pair.web, "ip", "groups_moved") + more
    deadline = time.monotonic() + DEADLINE_S
    while (moved := pair.counter(pair.web, "ip", "groups_moved")) < wanted:
        assert time.monotonic() < deadline, f"only {moved} groups of {wanted} moved"
        _echo(client)
    _echo(client)


def _kill(pair: Any, role: str) -> None:
    (pid,) = (
        each["pid"] for each in pair.servers() if (each["host"], each["server"]) == (pair.web, role)
    )
    os.kill(pid, signal.SIGKILL)
