"""Talks to memcached over UDP: ADDRESS PORT.

A request is asked again until it is answered whole: what a lossy wire leaves to clients.
"""

import random
import socket
import struct
import sys

HEADER = struct.Struct("!HHHH")  # request, number, count, reserved: memcached's protocol.txt
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.settimeout(1)
server.connect((sys.argv[1], int(sys.argv[2])))
numbers = iter(range(1, 1 << 16))


def ask(request: bytes) -> bytes:
    for _ in range(50):
        asked = next(numbers)
        server.send(HEADER.pack(asked, 0, 1, 0) + request)
        parts: dict[int, bytes] = {}
        try:
            while True:
                answer = server.recv(65536)
                number, at, count, _ = HEADER.unpack_from(answer)
                if number != asked:
                    continue  # the answer to what was given up
                parts[at] = answer[HEADER.size :]
                if len(parts) == count:
                    return b"".join(parts[i] for i in range(count))
        except TimeoutError:
            pass
    sys.exit(f"no answer to {request[:40]!r}")


draw = random.Random(3)
values = {f"udp{i}": draw.randbytes(draw.randrange(1, 1200)) for i in range(200)}
for key, value in values.items():
    said = ask(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value))
    assert said == b"STORED\r\n"
for key, value in values.items():
    wanted = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key.encode(), len(value), value)
    assert ask(b"get %s\r\n" % key.encode()) == wanted
# An answer of several datagrams.
long = draw.randbytes(9000)
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as stream:
    stream.sendall(b"set long 0 0 %d\r\n%s\r\n" % (len(long), long))
    assert stream.recv(100) == b"STORED\r\n"
assert ask(b"get long\r\n") == b"VALUE long 0 %d\r\n%s\r\nEND\r\n" % (len(long), long)
print(len(values))
