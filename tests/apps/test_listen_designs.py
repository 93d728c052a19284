"""Hosts of each listen design serve with processes that share a listening socket, and lose one.

Two workers, one on the core of each lane where the machine has two. One of them is stopped, then
killed, while clients connect: nobody is refused, and what waited for it is served by the other.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

PORT = 8590
SERVER_ADDRESS = "10.0.0.2"
RESCUES = "accept_rescues"
# Answers each connection with its own pid and core. Ends with its parent, whom SIGTERM ends.
SERVER = """
import os, signal, socket, sys
cores = [int(core) for core in sys.argv[2:]]
listening = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=128)
def work(core):
    os.sched_setaffinity(0, {core})
    os.write(1, b"%d\\n" % os.getpid())
    while True:
        sock, _ = listening.accept()
        sock.recv(1)
        sock.sendall(b"%d" % os.getpid())
        sock.close()
workers = []
for core in cores:
    pid = os.fork()
    if pid == 0:
        try:
            work(core)
        finally:
            os._exit(1)
    workers.append(pid)
def end(*_):
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        signal.pause()
"""
# For each line with a number: so many connections at once; who answered each, or what went wrong.
CLIENT = """
import socket, sys, threading
def ask(said):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as sock:
            sock.settimeout(30)
            sock.sendall(b"?")
            said.append(sock.recv(100).decode() or "nothing")
    except OSError as error:
        said.append(type(error).__name__)
for line in sys.stdin:
    said = []
    threads = [threading.Thread(target=ask, args=(said,)) for _ in range(int(line))]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(" ".join(said), flush=True)
"""


class Client:
    """A program that connects when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()

    def answers(self) -> Counter[str]:
        assert self._process.stdout is not None
        return Counter(self._process.stdout.readline().split())

    def ask(self, count: int) -> Counter[str]:
        """Who answered how many."""
        self.begin(count)
        return self.answers()


def lane_cores(hosts: Any) -> list[int]:
    """Where the lanes' servers run."""
    pids = {
        server["server"]: server["pid"]
        for server in hosts.servers()
        if server["host"] == hosts.web and server["server"].startswith("tcp")
    }
    return [min(os.sched_getaffinity(pids[f"tcp{lane}"])) for lane in range(2)]


def counters(hosts: Any) -> Counter[str]:
    """What both lanes have counted, together."""
    done = hosts.command("counters", "--host", hosts.web, "--all", "--json")
    assert done.returncode == 0, done.stderr
    counts: Counter[str] = Counter()
    for row in json.loads(done.stdout):
        if row["server"].startswith("tcp"):
            counts[row["counter"]] += row["value"]
    return counts


@contextmanager
def prefork(hosts: Any) -> Iterator[tuple[list[int], Client]]:
    """A server of two workers, their pids, and a client."""
    cores = [str(core) for core in lane_cores(hosts)]
    server = hosts.start(hosts.web, sys.executable, "-c", SERVER, str(PORT), *cores)
    try:
        pids = [int(server.stdout.readline()) for _ in cores]
        client = hosts.start(hosts.client, sys.executable, "-c", CLIENT, SERVER_ADDRESS, str(PORT))
        try:
            yield pids, Client(client)
        finally:
            client.stdin.close()
            client.wait(30)
            client.stdout.close()
    finally:
        server.terminate()
        server.wait(30)
        server.stdin.close()
        server.stdout.close()


def await_both(client: Client, pids: list[int]) -> None:
    """Until both workers have answered: from then on both accept."""
    seen: Counter[str] = Counter()
    for _ in range(200):
        seen += client.ask(4)
        if all(seen[str(pid)] for pid in pids):
            return
    raise AssertionError(f"one of {pids} never answers: {seen}")


@pytest.mark.slow
@pytest.mark.parametrize("design", ["stock", "fine", "reuseport", "affinity", "fastsocket"])
def test_workers_come_to_harm(make_hosts: Any, design: str) -> None:
    with make_hosts("", f'lanes = 2\nlisten = "{design}"\n') as hosts, prefork(hosts) as running:
        (victim, other), client = running
        await_both(client, [victim, other])
        before = counters(hosts)
        said = client.ask(60)
        assert said[str(victim)] + said[str(other)] == 60, said
        if design == "reuseport":
            assert min(said.values()) >= 10
        since = counters(hosts) - before
        if design == "fastsocket" and len(set(lane_cores(hosts))) == 2 and not since[RESCUES]:
            # Each lane's are its own core's process's, unless that did not run for so long.
            assert since["far_passive_segments"] == since["accept_global"] == 0
            assert since["local_passive_segments"] >= 60
        # One stays away, so others serve what was its; then it is gone for good.
        os.kill(victim, signal.SIGSTOP)
        said = client.ask(20)
        assert said[str(other)] >= 19, said
        client.begin(20)
        os.kill(victim, signal.SIGKILL)
        said = client.answers()
        assert said[str(other)] >= 19, said
        said = client.ask(20)
        assert said == Counter({str(other): 20}), said
