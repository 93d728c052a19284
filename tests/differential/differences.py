"""Where newtos answers otherwise than Linux, on purpose: the names in docs/compatibility.md."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SOCKET, IP, TCP, UDP, IPV6 = 1, 0, 6, 17, 41


@dataclass(frozen=True)
class Deliberate:
    """A name in docs/compatibility.md, and the options (level, number) that it is about."""

    name: str
    options: frozenset[tuple[int, int]]


def about(name: str, level: int, *numbers: int) -> Deliberate:
    return Deliberate(name, frozenset((level, number) for number in numbers))


OPTIONS = (
    about("timestamping", SOCKET, 37),
    about("peek-offset", SOCKET, 42),
    about("pacing", SOCKET, 47),
    about("packet-filters", SOCKET, 50, 51, 52),
    about("cookies", SOCKET, 57),
    about("zero-copy", SOCKET, 60),
    about("buffer-sizes", SOCKET, 7, 55),
    about("incoming-cpu", SOCKET, 49),
    about("ip-options", IP, 4),
    about("ipsec", IP, 16, 17),
    about("privileged-ip", IP, 19),
    about("ancillary-not-there", IP, 20, 21, 23, 25),
    about("multicast", IP, 32, 35, 36, 41, 43, 44, 48, 49),
    about("port-range", IP, 51),
    about("protocol-number", IP, 52),
    about("segment-size", TCP, 2),
    about("window-clamp", TCP, 10),
    about("tcp-info", TCP, 11, 26),
    about("congestion-control", TCP, 13),
    about("md5-signatures", TCP, 14, 32),
    about("repair", TCP, 19, 20, 21, 22, 24, 29),
    about("fast-open", TCP, 23, 30, 33, 34),
    about("saved-syn", TCP, 27),
    about("zero-copy", TCP, 35),
    about("queue-size-cmsg", TCP, 36),
    about("tx-delay", TCP, 37),
    about("iptables", TCP, 42),
    about("newer-tcp", TCP, 44, 45, 46),
    about("udp-cork", UDP, 1),
    about("udp-encapsulation", UDP, 10, 100),
    about("udp-segmentation", UDP, 103, 104),
    about("rfc-2292", IPV6, 2, 3, 4, 5, 6, 8, 11),
    about("ipv6-on-the-wire", IPV6, 1, 16, 24, 32, 48, 50, 54, 55, 57, 59, 61),
    about("multicast", IPV6, 17, 18, 20, 21, 27, 28, 42, 43, 44, 45, 46, 47),
    about("router-alert", IPV6, 22, 30),
    about("ipsec", IPV6, 34, 35),
)


# -- In sequences of calls -------------------------------------------------------------------

SEQUENCES = ("binding-again", "port-at-failed-send", "shutdown-before-connect")


def in_sequence(script: Sequence[list[Any]], index: int, linux: Any, newtos: Any) -> str | None:
    """The name of the difference that the answers to the call at `index` show, if it is one."""
    call = script[index][1 if script[index][0] in ("server", "client") else 0]
    said = (linux[0], newtos[0])
    if call in ("bind", "listen") and newtos[0] in ("EINVAL", "EADDRINUSE"):
        return "binding-again"
    if call == "connect" and newtos[0] == "EADDRINUSE":
        return "binding-again"
    if call == "getsockname" and "free" in json.dumps(said[0]) and '", 0]' in json.dumps(said[1]):
        return "port-at-failed-send"
    if call == "connect" and said[0] == said[1] and any("shutdown" in c for c in script[:index]):
        return "shutdown-before-connect"
    if call == "bind" and said == ("EINVAL", 0):
        return "port-at-failed-send"
    return None
