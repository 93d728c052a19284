"""Names, addresses and interfaces are the host's."""

import json
import sys
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

RunOnHost = Callable[..., CompletedProcess[str]]

ASK = """
import json, socket, sys

AF, SOCK = socket.AddressFamily, socket.SocketKind

def ask(*args, **kwargs):
    try:
        return [[a.name, b.name, c, d, list(e)] for a, b, c, d, e in
                socket.getaddrinfo(*args, **kwargs)]
    except socket.gaierror as error:
        return error.args[0]

def call(function, *args):
    try:
        return function(*args)
    except OSError as error:
        return [type(error).__name__, error.args[0]]

print(json.dumps(eval(sys.argv[1])))
"""


def ask(on_host: RunOnHost, expression: str) -> Any:
    done = on_host(sys.executable, "-c", ASK, expression)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def here(expression: str) -> Any:
    """The same on Linux, where the answer doesn't depend on the network."""
    scope: dict[str, Any] = {}
    exec(ASK.rpartition("print")[0], scope)
    return json.loads(json.dumps(eval(expression, scope)))


NUMERIC = [
    "ask('192.0.2.1', 80)",
    "ask('192.0.2.1', 'http', socket.AF_INET, socket.SOCK_STREAM)",
    "ask('127.1', 80, type=socket.SOCK_DGRAM)",
    "ask('2001:db8::1', 443, type=socket.SOCK_STREAM)",
    "ask('192.0.2.1', 80, socket.AF_INET6, socket.SOCK_STREAM)",
    "ask('192.0.2.1', 80, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_V4MAPPED)",
    "ask('2001:db8::1', 80, socket.AF_INET)",
    "ask(None, 80, socket.AF_INET, socket.SOCK_STREAM)",
    "ask(None, 80, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)",
    "ask(None, 80, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)",
    "ask(None, None)",
    "ask('name', 80, flags=socket.AI_NUMERICHOST)",
    "ask('192.0.2.1', 'no-such-service', type=socket.SOCK_STREAM)",
    "ask('192.0.2.1', 'http', type=socket.SOCK_STREAM, flags=socket.AI_NUMERICSERV)",
    "ask('192.0.2.1', 80, 99)",
    "ask('192.0.2.1', 80, 0, 77)",
    "ask('192.0.2.1', 80, 0, socket.SOCK_STREAM, socket.IPPROTO_UDP)",
    "socket.getnameinfo(('192.0.2.1', 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)",
    "socket.getnameinfo(('192.0.2.1', 80), socket.NI_NUMERICHOST)",
    "socket.gethostbyname('192.0.2.7')",
]


def test_numeric_answers_are_those_of_linux(on_host: RunOnHost) -> None:
    together = "[" + ", ".join(NUMERIC) + "]"
    answers = dict(zip(NUMERIC, ask(on_host, together), strict=True))
    assert answers == {expression: here(expression) for expression in NUMERIC}


def test_names_are_the_hosts(on_host: RunOnHost) -> None:
    stream = "type=socket.SOCK_STREAM"
    assert ask(on_host, f"ask('web', 80, {stream})") == [
        ["AF_INET", "SOCK_STREAM", 6, "", ["10.0.0.2", 80]]
    ]
    assert ask(on_host, f"ask('localhost', 80, {stream})") == [
        ["AF_INET", "SOCK_STREAM", 6, "", ["127.0.0.1", 80]]
    ]
    assert ask(on_host, f"ask('web', 80, {stream}, flags=socket.AI_CANONNAME)[0][3]") == "web"
    assert ask(on_host, "ask('no.such.name', 80)") == -2
    assert ask(on_host, "socket.gethostbyname('client')") == "10.0.0.3"
    assert ask(on_host, "socket.gethostbyname_ex('web')") == ["web", [], ["10.0.0.2"]]
    assert ask(on_host, "call(socket.gethostbyaddr, '10.0.0.3')") == ["herror", 1]
    assert ask(on_host, "call(socket.gethostbyaddr, '127.0.0.1')") == [
        "localhost",
        [],
        ["127.0.0.1"],
    ]


def test_no_name_means_both_families(on_host: RunOnHost) -> None:
    got = "[[one[4][0] for one in ask(None, 80, type=socket.SOCK_STREAM, flags=%s)]][0]"
    assert ask(on_host, got % "0") == ["::1", "127.0.0.1"]
    assert ask(on_host, got % "socket.AI_PASSIVE") == ["0.0.0.0", "::"]
    assert ask(on_host, got % "socket.AI_PASSIVE | socket.AI_ADDRCONFIG") == ["0.0.0.0"]


def test_interfaces_are_the_hosts(on_host: RunOnHost) -> None:
    assert ask(on_host, "[socket.if_nametoindex('lo'), socket.if_nametoindex('lan')]") == [1, 2]
    assert ask(on_host, "call(socket.if_nametoindex, 'eth0')")[0] == "OSError"
    assert ask(on_host, "socket.if_indextoname(2)") == "lan"
    assert ask(on_host, "socket.if_nameindex()") == [[1, "lo"], [2, "lan"]]
    # The scope of a link-local address is an interface of the host's, or a number.
    scope = "[ask(f'{a}%{s}', 1)[0][4][3] for s in ('lan', '7') for a in ('fe80::1', 'ff02::1')]"
    assert ask(on_host, scope) == [2, 2, 7, 7]
    wrong = "[ask(a, 1) for a in ('fe80::1%eth0', 'fe80::1%', '::1%lo', 'fe80::1%2x')]"
    assert ask(on_host, wrong) == [-2, -2, -2, -2]
    fetch = (
        "(lambda s, f, i: socket.inet_ntoa(f.ioctl(s, i, b'lan' + bytes(37))[20:24]))"
        "(socket.socket(), __import__('fcntl'), {})"
    )
    assert ask(on_host, fetch.format("0x8915")) == "10.0.0.2"  # SIOCGIFADDR
    assert ask(on_host, fetch.format("0x891b")) == "255.255.255.0"  # SIOCGIFNETMASK
