"""Hosts of two lanes: unmodified programs serve over both, and one lane's death is its own affair.

Each lane is a TCP server; a listening socket listens in both. Connections are in one or the other
by their ports, those that a program opens in its own core's. The programs know nothing of that.
"""

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from newtos_py.kernel.server import TCP
from newtos_py.kernel.sockets import SocketInfo, SocketState

ADDRESS = "10.0.0.2"
LIGHTTPD, NGINX, MEMCACHED, ECHO = 8090, 8190, 8290, 8390
PROGRAMS = Path(__file__).parent / "programs"

# Answers each line with a copy; one thread a connection.
ECHO_SERVER = """
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 100
    allow_reuse_address = True
    daemon_threads = True
Server(("0.0.0.0", int(sys.argv[1])), Echo).serve_forever()
"""

# Sixteen connections; says their ports, and a line over each whenever it is told to.
ECHO_CLIENT = """
import socket, sys
socks = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) for _ in range(16)]
streams = [sock.makefile("rwb", 0) for sock in socks]
print(" ".join(str(sock.getsockname()[1]) for sock in socks), flush=True)
for turn, _ in enumerate(sys.stdin):
    for i, stream in enumerate(streams):
        stream.write(b"%d %d\\n" % (turn, i))
    for i, stream in enumerate(streams):
        assert stream.readline() == b"%d %d\\n" % (turn, i)
    print("echoed", flush=True)
"""

# Connects from a port of its own choice, or the next that is free.
BOUND_CLIENT = """
import errno, socket, sys
for port in range(int(sys.argv[3]), int(sys.argv[3]) + 12):
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", port))
        sock.settimeout(20)
        sock.connect((sys.argv[1], int(sys.argv[2])))
        sock.sendall(b"%d\\n" % port)
        assert sock.makefile("rb").readline() == b"%d\\n" % port
with socket.socket() as one, socket.socket() as two, socket.socket() as three:
    one.bind(("0.0.0.0", 0))
    for other in two, three:  # whatever lane they are in
        try:
            other.bind(one.getsockname())
        except OSError as error:
            assert error.errno == errno.EADDRINUSE
        else:
            raise AssertionError("a port was given away twice")
print("all")
"""


@pytest.fixture(scope="module")
def lanes(make_hosts: Any) -> Iterator[Any]:
    """Two hosts of two lanes each."""
    keys = 'lanes = 2\nlisten = "affinity"\nsteering = "rfd"\n'
    with make_hosts("", keys, may_restart=True) as pair:
        pair.directory.chmod(0o711)
        www = pair.directory / "www"
        www.mkdir()
        for size in (20, 11_000, 3_000_000):
            (www / str(size)).write_bytes(os.urandom(size))
        yield pair


@pytest.fixture(scope="module")
def lighttpd(lanes: Any) -> Iterator[Any]:
    config = lanes.directory / "lighttpd.conf"
    config.write_text(
        f'server.document-root = "{lanes.directory}/www"\nserver.port = {LIGHTTPD}\n'
        "server.max-connections = 256\n"
    )
    with lanes.serve(LIGHTTPD, "lighttpd", "-D", "-f", str(config)):
        yield lanes


@pytest.fixture
def echo(lanes: Any) -> Iterator[Any]:
    with lanes.serve(ECHO, sys.executable, "-c", ECHO_SERVER, str(ECHO)):
        yield lanes


def lane_pids(hosts: Any, host: str) -> dict[str, int]:
    return {
        server["server"]: server["pid"]
        for server in hosts.servers()
        if server["host"] == host and server["server"].startswith("tcp")
    }


def test_a_host_has_as_many_tcp_servers_as_lanes(lanes: Any) -> None:
    assert sorted(lane_pids(lanes, lanes.web)) == ["tcp0", "tcp1"]


@pytest.mark.apps("lighttpd", "curl")
def test_lighttpd_and_curl(lighttpd: Any) -> None:
    whole = (lighttpd.directory / "www" / "3000000").read_bytes()
    got = lighttpd.directory / "got"
    for _ in range(6):
        lighttpd.ask("curl", "-sS", "-o", str(got), f"http://{ADDRESS}:{LIGHTTPD}/3000000")
        assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(whole).digest()


@pytest.mark.apps("lighttpd", "ab")
def test_passive_connections_spread_and_active_ones_stay_with_their_program(lighttpd: Any) -> None:
    said = lighttpd.ask("ab", "-q", "-n", "600", "-c", "20", f"http://{ADDRESS}:{LIGHTTPD}/20")
    assert "Complete requests:      600" in said
    assert "Failed requests:        0" in said
    for lane in ("tcp0", "tcp1"):
        opened = lighttpd.counter(lighttpd.web, lane, "established_total")
        assert opened > 100, f"{lane} had {opened} connections"
    # Programs run on the first lane's core (topology/plan.py).
    local, far = (
        sum(
            lighttpd.counter(lighttpd.client, lane, f"{which}_active_segments")
            for lane in ("tcp0", "tcp1")
        )
        for which in ("local", "far")
    )
    assert local > 1800, "three a connection at least"
    assert far <= local // 20, f"{far} of {local + far} segments are not local with rfd"


@pytest.mark.apps("lighttpd", "wrk")
def test_wrk_with_two_threads(lighttpd: Any) -> None:
    said = lighttpd.ask(
        "wrk",
        "-t",
        "2",
        "-c",
        "32",
        "-d",
        "1",
        "--timeout",
        "30s",
        f"http://{ADDRESS}:{LIGHTTPD}/11000",
    )
    assert "Socket errors" not in said
    assert "Non-2xx" not in said


@pytest.mark.apps("nginx", "ab")
def test_nginx_with_three_workers(lanes: Any) -> None:
    own = lanes.directory / "nginx"
    own.mkdir()
    config = own / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {own}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        f"daemon off;\nworker_processes 3;\npid {own}/pid;\nerror_log {own}/log;\n"
        f"events {{ worker_connections 512; }}\nhttp {{ access_log off;\n{temporary}"
        f"server {{ listen {NGINX}; root {lanes.directory}/www; }} }}\n"
    )
    with lanes.serve(NGINX, "nginx", "-e", "stderr", "-c", str(config)):
        said = lanes.ask("ab", "-q", "-n", "600", "-c", "24", f"http://{ADDRESS}:{NGINX}/11000")
        assert "Complete requests:      600" in said
        assert "Failed requests:        0" in said


@pytest.mark.apps("memcached")
def test_memcached_with_four_threads(lanes: Any) -> None:
    port = str(MEMCACHED)
    with lanes.serve(MEMCACHED, "memcached", "-u", "root", "-p", port, "-t", "4"):
        program = str(PROGRAMS / "memcached_threads.py")
        assert lanes.ask(sys.executable, program, ADDRESS, port, timeout=100) == "all\n"


def test_clients_that_name_their_port(echo: Any) -> None:
    said = echo.ask(sys.executable, "-c", BOUND_CLIENT, ADDRESS, str(ECHO), "7000", timeout=100)
    assert said == "all\n"


def test_a_lane_dies_and_all_connections_go_on(echo: Any) -> None:
    client = echo.start(echo.client, sys.executable, "-c", ECHO_CLIENT, ADDRESS, str(ECHO))
    assert client.stdin is not None
    assert client.stdout is not None
    assert len(client.stdout.readline().split()) == 16
    for host, lane in ((echo.web, "tcp1"), (echo.web, "tcp0"), (echo.client, "tcp0")):
        pids = lane_pids(echo, host)
        client.stdin.write("again\n")
        client.stdin.flush()
        os.kill(pids[lane], signal.SIGKILL)
        assert client.stdout.readline() == "echoed\n"
        client.stdin.write("again\n")
        client.stdin.flush()
        assert client.stdout.readline() == "echoed\n"
    client.stdin.close()
    assert client.wait(30) == 0
    client.stdout.close()


def test_one_listening_socket_is_shown_once(echo: Any) -> None:
    def listens(one: SocketInfo) -> bool:
        here = one.protocol == TCP and one.local.port == ECHO
        return here and one.state is SocketState.LISTEN

    assert len([one for one in echo.sockets(echo.web) if listens(one)]) == 1


@pytest.mark.apps("lighttpd", "ab")
def test_twenty_policy_learns_long_connections_and_forwards_what_it_misses(make_hosts: Any) -> None:
    """Affinity-Accept §7.1: the card learns from what is sent; what it misses IP puts right."""
    keys = 'lanes = 2\nsteering = "twenty-policy"\n'
    with make_hosts("", keys) as pair:
        (pair.directory / "www").mkdir()
        (pair.directory / "www" / "20").write_bytes(bytes(20))
        pair.directory.chmod(0o711)
        config = pair.directory / "lighttpd.conf"
        config.write_text(
            f'server.document-root = "{pair.directory}/www"\nserver.port = {LIGHTTPD}\n'
            "server.max-keep-alive-requests = 10000\n"
        )

        def local_and_all() -> tuple[int, int]:
            local, far = (
                sum(
                    pair.counter(pair.client, lane, f"{which}_active_segments")
                    for lane in ("tcp0", "tcp1")
                )
                for which in ("local", "far")
            )
            return local, local + far

        with pair.serve(LIGHTTPD, "lighttpd", "-D", "-f", str(config)):
            pair.ask("ab", "-q", "-n", "400", "-c", "8", f"http://{ADDRESS}:{LIGHTTPD}/20")
            local, short = local_and_all()
            assert short > 1000
            # Toeplitz is linear: with some keys, ports that follow one another share a queue.
            # So chance may make all of them local, or none.
            assert pair.counter(pair.client, "ip", "forwarded") >= short - local
            url = f"http://{ADDRESS}:{LIGHTTPD}/20"
            pair.ask("ab", "-q", "-k", "-n", "1500", "-c", "1", url)
            more_local, more = (
                now - before for now, before in zip(local_and_all(), (local, short), strict=True)
            )
            assert more_local > more * 9 // 10, f"{more_local} of {more} once it has learned"
