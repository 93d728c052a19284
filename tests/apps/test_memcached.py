"""memcached with four threads, over TCP and UDP at once, where the wire loses."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

ADDRESS, PORT = "10.0.0.2", 11311

pytestmark = pytest.mark.apps("memcached")

# Over UDP a request is asked again until it is answered whole: what a lossy wire leaves to clients.
UDP = """
import random, socket, struct, sys

HEADER = struct.Struct("!HHHH")  # request, number, count, reserved: memcached's protocol.txt
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.settimeout(0.2)
server.connect((sys.argv[1], int(sys.argv[2])))
asked = 0

def ask(request):
    global asked
    for _ in range(50):
        asked += 1
        server.send(HEADER.pack(asked, 0, 1, 0) + request)
        parts = {}
        try:
            while True:
                answer = server.recv(65536)
                number, at, count, _ = HEADER.unpack_from(answer)
                if number != asked:
                    continue  # the answer to what was given up
                parts[at] = answer[HEADER.size:]
                if len(parts) == count:
                    return b"".join(parts[i] for i in range(count))
        except TimeoutError:
            pass
    sys.exit(f"no answer to {request[:40]}")

draw = random.Random(3)
values = {f"udp{i}": draw.randbytes(draw.randrange(1, 1200)) for i in range(200)}
for key, value in values.items():
    assert ask(b"set %s 0 0 %d\\r\\n%s\\r\\n" % (key.encode(), len(value), value)) == b"STORED\\r\\n"
for key, value in values.items():
    wanted = b"VALUE %s 0 %d\\r\\n%s\\r\\nEND\\r\\n" % (key.encode(), len(value), value)
    assert ask(b"get %s\\r\\n" % key.encode()) == wanted
# An answer of several datagrams.
long = draw.randbytes(9000)
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as stream:
    stream.sendall(b"set long 0 0 %d noreply\\r\\n%s\\r\\nset end 0 0 0\\r\\n\\r\\n" % (len(long), long))
    assert stream.recv(100) == b"STORED\\r\\n"
assert ask(b"get long\\r\\n") == b"VALUE long 0 %d\\r\\n%s\\r\\nEND\\r\\n" % (len(long), long)
print(len(values))
"""

# Every thread of the server is asked: more connections than threads, all at once.
THREADS = """
import random, socket, sys, threading

def line(stream):
    got = stream.readline()
    assert got, "closed"
    return got

def talk(which, failures):
    try:
        draw = random.Random(which)
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
            stream = server.makefile("rb")
            for turn in range(100):
                key, value = f"tcp{which}-{turn % 10}".encode(), draw.randbytes(draw.randrange(20_000))
                server.sendall(b"set %s 0 0 %d\\r\\n%s\\r\\n" % (key, len(value), value))
                assert line(stream) == b"STORED\\r\\n"
                server.sendall(b"get %s\\r\\n" % key)
                assert line(stream) == b"VALUE %s 0 %d\\r\\n" % (key, len(value))
                assert stream.read(len(value) + 7) == value + b"\\r\\nEND\\r\\n"
    except BaseException as error:
        failures.append(repr(error))

failures = []
threads = [threading.Thread(target=talk, args=(i, failures)) for i in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failures or "all")
"""


@pytest.fixture(scope="module")
def memcached(wire_hosts: Any) -> Iterator[None]:
    port = str(PORT)
    with wire_hosts.serve(PORT, "memcached", "-u", "root", "-p", port, "-U", port, "-t", "4"):
        yield
    wire_hosts.await_nothing_left()


@pytest.mark.usefixtures("memcached")
def test_sixteen_connections_of_four_threads(wire_hosts: Any) -> None:
    said = wire_hosts.ask(sys.executable, "-c", THREADS, ADDRESS, str(PORT), timeout=100)
    assert said == "all\n"


@pytest.mark.usefixtures("memcached")
def test_udp(wire_hosts: Any) -> None:
    said = wire_hosts.ask(sys.executable, "-c", UDP, ADDRESS, str(PORT), timeout=100)
    assert said == "200\n"


@pytest.mark.apps("memccapable")
@pytest.mark.usefixtures("memcached")
def test_its_own_protocol_test(wire_hosts: Any) -> None:
    said = wire_hosts.ask("memccapable", "-h", ADDRESS, "-p", str(PORT), timeout=100)
    assert "All tests passed" in said


@pytest.mark.apps("memcaslap")
@pytest.mark.usefixtures("memcached")
@pytest.mark.parametrize("flags", [[], ["--udp"]])
def test_its_own_load(wire_hosts: Any, flags: list[str]) -> None:
    """Verified values: memcaslap -v 1 compares each with what it set."""
    said = wire_hosts.ask(
        "memcaslap", "-s", f"{ADDRESS}:{PORT}", "-T", "2", "-c", "16", "-x", "4000", "-X", "1024",
        "-v", "1.0", *flags, timeout=100,
    )  # fmt: skip
    found = {line.split(":")[0]: line.split(":")[1].strip() for line in said.splitlines()
             if line.count(":") == 1}  # fmt: skip
    assert found["verify_failed"] == "0", said
    assert found["verify_misses"] == "0", said
