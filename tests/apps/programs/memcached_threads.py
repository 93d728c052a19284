"""Sixteen connections to memcached at once, each with values of its own: ADDRESS PORT."""

import random
import socket
import sys
import threading
from typing import BinaryIO


def line(stream: BinaryIO) -> bytes:
    got = stream.readline()
    assert got, "closed"
    return got


def talk(which: int, failures: list[str]) -> None:
    try:
        draw = random.Random(which)
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
            stream = server.makefile("rb")
            for turn in range(100):
                key = f"tcp{which}-{turn % 10}".encode()
                value = draw.randbytes(draw.randrange(20_000))
                server.sendall(b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value))
                assert line(stream) == b"STORED\r\n"
                server.sendall(b"get %s\r\n" % key)
                assert line(stream) == b"VALUE %s 0 %d\r\n" % (key, len(value))
                assert stream.read(len(value) + 7) == value + b"\r\nEND\r\n"
    except BaseException as error:
        failures.append(repr(error))


failures: list[str] = []
threads = [threading.Thread(target=talk, args=(i, failures)) for i in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failures or "all")
