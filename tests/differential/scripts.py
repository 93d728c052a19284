"""Scripts of random calls, legal and not, on a few sockets; and how one that differs gets short."""

import random
from collections.abc import Callable

from .pair import Call

INET, INET6, STREAM, DGRAM = 2, 10, 1, 2
PEEK, OOB, TRUNC, DONTWAIT, WAITALL, ERRQUEUE = 2, 1, 0x20, 0x40, 0x100, 0x2000
NAME_ROOM = 28
NODELAY = (6, 1, "01000000")  # or what arrives when would be a matter of chance
CALLS = 14

BEGINNINGS: tuple[list[Call], ...] = (
    [],
    [["socket", 0, INET, STREAM, 0]],
    [
        ["socket", 2, INET, STREAM, 0],
        ["bind", 2, ["lo", 1]],
        ["listen", 2, 4],
        ["socket", 0, INET, STREAM, 0],
        ["connect", 0, ["lo", 1]],
        ["accept", 2, 1, 0, NAME_ROOM],
        ["setsockopt", 0, *NODELAY],
        ["setsockopt", 1, *NODELAY],
    ],
    [
        ["socket", 2, INET6, STREAM, 0],
        ["bind", 2, ["any6", 1]],
        ["listen", 2, 4],
        ["socket", 0, INET, STREAM, 0],
        ["connect", 0, ["lo", 1]],
        ["accept", 2, 1, 0, NAME_ROOM],
        ["setsockopt", 0, *NODELAY],
        ["setsockopt", 1, *NODELAY],
        ["socket", 3, INET6, STREAM, 0],
    ],
    [
        ["socket", 0, INET, DGRAM, 0],
        ["bind", 0, ["lo", 1]],
        ["socket", 1, INET, DGRAM, 0],
        ["bind", 1, ["lo", 2]],
    ],
    [
        ["socket", 0, INET, DGRAM, 0],
        ["bind", 0, ["lo", 1]],
        ["socket", 1, INET, DGRAM, 0],
        ["connect", 1, ["lo", 1]],
        ["socket", 2, INET6, DGRAM, 0],
        ["bind", 2, ["any6", 3]],
    ],
)


class Random(random.Random):
    """Random choices; among them, of hosts to speak to and of slots that have a socket."""

    hosts: tuple[str, ...] = ("lo", "lo", "lo", "any", "lo2", "mapped", "mapped_any")
    slots: tuple[int, ...] = ()


def slots_of(calls: list[Call]) -> tuple[int, ...]:
    """The slots that calls put sockets into."""
    to = {"socket": 1, "accept": 2, "dup": 2}
    return tuple(call[to[call[0]]] for call in calls if call[0] in to)


TELL_ALL = [
    *([n, 0, name, "01000000"] for n in (0, 1) for name in (8, 12, 13)),  # PKTINFO, TTL, TOS
    *([2, 41, name, "01000000"] for name in (49, 51, 66)),  # PKTINFO, HOPLIMIT, TCLASS
    [1, 1, 35, "01000000"],  # SO_TIMESTAMPNS
    [2, 1, 29, "01000000"],  # SO_TIMESTAMP
]
MORE_BEGINNINGS: tuple[list[Call], ...] = (
    *BEGINNINGS,
    [
        ["socket", 0, INET, DGRAM, 0],
        ["bind", 0, ["lo", 1]],
        ["socket", 1, INET, DGRAM, 0],
        ["bind", 1, ["any", 2]],
        ["socket", 2, INET6, DGRAM, 0],
        ["bind", 2, ["any6", 3]],
        *(["setsockopt", *option] for option in TELL_ALL),
        ["send", 0, 10, 0, ["lo2", 2]],
        ["send", 1, 20, 0, ["lo", 3]],
        ["send", 1, 30, 0, ["lo", 1]],
        ["recvmsg", 0, [20, 20], 0, NAME_ROOM, 256],
        ["recvmsg", 2, [20], 0, NAME_ROOM, 256],
    ],
)


def slot(rng: Random) -> int:
    return rng.choice(rng.slots) if rng.slots and rng.random() < 0.93 else rng.randrange(4)


def size(rng: Random) -> int:
    return rng.choice((0, 1, 2, 10, 100, 1000, 3000))


def address(rng: Random) -> object:
    if rng.random() < 0.08:
        return rng.choice(("unspec", "0200", "", "02000000", "ff" * 16, "00" * 28))
    return [rng.choice(rng.hosts), rng.choice((1, 1, 2, 3))]


def local_address(rng: Random) -> object:
    if rng.random() < 0.3:
        return [rng.choice(("any6", "none", "any")), rng.choice((0, 0, 1, 2))]
    return address(rng)


def receive_flags(rng: Random) -> int:
    flags = (0, 0, 0, PEEK, PEEK | TRUNC, TRUNC, DONTWAIT, WAITALL, ERRQUEUE)
    return rng.choice(flags)


def send_flags(rng: Random) -> int:
    return rng.choice((0, 0, 0, DONTWAIT))


def socket(rng: Random) -> Call:
    family = rng.choice((INET, INET, INET, INET6))
    kind = rng.choice((STREAM, STREAM, STREAM, DGRAM, DGRAM, DGRAM, 4, 5))
    protocol = 0 if rng.random() < 0.7 else rng.choice((6, 17, 1, 255, 300))
    return ["socket", rng.randrange(4), family, kind, protocol]


def sendmsg(rng: Random) -> Call:
    sizes = [size(rng) for _ in range(rng.randrange(4))]
    where = address(rng) if rng.random() < 0.5 else None
    return ["sendmsg", slot(rng), sizes, send_flags(rng), where, []]


def recvmsg(rng: Random) -> Call:
    sizes = [size(rng) for _ in range(rng.randrange(4))]
    room = rng.choice((0, 4, 16, NAME_ROOM))
    return ["recvmsg", slot(rng), sizes, receive_flags(rng), room, rng.choice((0, 10, 256))]


def setsockopt(rng: Random) -> Call:
    options = (
        (1, 2, ("01000000", "00000000")),  # SO_REUSEADDR
        (1, 15, ("01000000", "00000000")),  # SO_REUSEPORT
        (1, 13, ("0100000000000000", "0000000000000000")),  # SO_LINGER: reset at close
        (1, 18, ("00000000", "10000000", "00100000")),  # SO_RCVLOWAT
        (41, 26, ("01000000", "00000000")),  # IPV6_V6ONLY
        (0, 8, ("01000000", "00000000")),  # IP_PKTINFO
        (0, 12, ("01000000",)),  # IP_RECVTTL
        (0, 13, ("01000000",)),  # IP_RECVTOS
        (0, 1, ("10000000", "08000000")),  # IP_TOS
        (0, 2, ("05000000",)),  # IP_TTL
        (41, 49, ("01000000",)),  # IPV6_RECVPKTINFO
        (1, 29, ("01000000",)),  # SO_TIMESTAMP
        (1, 35, ("01000000", "00000000")),  # SO_TIMESTAMPNS
        (1, 25, ("6e6f6e65", "")),  # SO_BINDTODEVICE: one that is not, any
    )
    level, name, values = rng.choice(options)
    return ["setsockopt", slot(rng), level, name, rng.choice(values)]


def getsockopt(rng: Random) -> Call:
    level, name = rng.choice(((1, 4), (1, 4), (1, 25), (1, 3), (1, 30), (1, 38), (1, 39), (41, 26)))
    return ["getsockopt", slot(rng), level, name, rng.choice((4, 4, 16, 0, 2))]


def ioctl(rng: Random) -> Call:
    # FIONREAD; SIOCATMARK; requests that no socket knows
    return ["ioctl", slot(rng), rng.choice((0x541B, 0x8905, 0x5401, 0x5410)), "ff" * 64]


def fcntl(rng: Random) -> Call:
    command, argument = rng.choice(((1, 0), (3, 0), (9, 0), (4, 0o4002), (99, 0), (1031, 0)))
    return ["fcntl", slot(rng), command, argument]


MAKERS: tuple[tuple[int, Callable[[Random], Call]], ...] = (
    (4, socket),
    (3, lambda r: ["close", slot(r)]),
    (1, lambda r: ["dup", slot(r), slot(r)]),
    (4, lambda r: ["bind", slot(r), local_address(r)]),
    (7, lambda r: ["connect", slot(r), address(r)]),
    (3, lambda r: ["listen", slot(r), r.choice((-1, 0, 1, 5))]),
    (4, lambda r: ["accept", slot(r), slot(r), r.choice((0, 0, 0, 0x80000, 1)), NAME_ROOM]),
    (5, lambda r: ["shutdown", slot(r), r.choice((0, 1, 2, 3, -1))]),
    (3, lambda r: ["getsockname", slot(r), r.choice((16, NAME_ROOM, 4, 0, -1))]),
    (3, lambda r: ["getpeername", slot(r), r.choice((16, NAME_ROOM, 4, 0, -1))]),
    (3, setsockopt),
    (4, getsockopt),
    (2, ioctl),
    (1, fcntl),
    (12, lambda r: ["send", slot(r), size(r), send_flags(r)]),
    (4, lambda r: ["send", slot(r), size(r), send_flags(r), address(r)]),
    (12, lambda r: ["recv", slot(r), size(r), receive_flags(r), r.choice((0, 0, 16, NAME_ROOM))]),
    (3, lambda r: ["read", slot(r), size(r)]),
    (2, lambda r: ["write", slot(r), size(r)]),
    (3, sendmsg),
    (4, recvmsg),
)


def choose(rng: Random) -> Call:
    """One call more."""
    weights = [weight for weight, _ in MAKERS]
    (maker,) = rng.choices([maker for _, maker in MAKERS], weights)
    call = maker(rng)
    rng.slots += slots_of([call])
    return call


def make(seed: int) -> list[Call]:
    """The script of a seed."""
    rng = Random(seed)
    beginning = rng.choice(MORE_BEGINNINGS)
    rng.slots = slots_of(beginning)
    return [*beginning, *(choose(rng) for _ in range(CALLS))]


# Two hosts: each call says first on which.
TWO_BEGINNINGS: tuple[list[Call], ...] = (
    [
        ["server", "socket", 2, INET, STREAM, 0],
        ["server", "bind", 2, ["any", 1]],
        ["server", "listen", 2, 4],
        ["client", "socket", 0, INET, STREAM, 0],
        ["client", "connect", 0, ["server", 1]],
        ["server", "accept", 2, 0, 0, NAME_ROOM],
        ["client", "setsockopt", 0, *NODELAY],
        ["server", "setsockopt", 0, *NODELAY],
    ],
    [
        ["server", "socket", 2, INET6, STREAM, 0],
        ["server", "bind", 2, ["any6", 1]],
        ["server", "listen", 2, 4],
        ["client", "socket", 0, INET, STREAM, 0],
        ["client", "connect", 0, ["server", 1]],
        ["server", "accept", 2, 0, 0, NAME_ROOM],
        ["client", "setsockopt", 0, *NODELAY],
        ["server", "setsockopt", 0, *NODELAY],
    ],
    [
        ["server", "socket", 0, INET, DGRAM, 0],
        ["server", "bind", 0, ["any", 1]],
        ["client", "socket", 0, INET, DGRAM, 0],
        ["client", "connect", 0, ["server", 1]],
        ["client", "socket", 1, INET, DGRAM, 0],
        ["client", "bind", 1, ["client", 2]],
    ],
)


# Names: four ports' worth of conflicts, on sockets of all kinds.
KINDS = tuple((family, kind) for family in (INET, INET6) for kind in (STREAM, DGRAM))
REUSE = (("setsockopt", 1, 2, "01000000"), ("setsockopt", 1, 15, "01000000"))
NAMES = ("any", "any", "lo", "lo2", "any6", "any6", "mapped", "mapped_any")


def make_binding(seed: int) -> list[Call]:
    """The script of a seed: who may bind to which address and port, and listen, beside whom."""
    rng = Random(seed)
    script: list[Call] = []
    for number in range(6):
        script.append(["socket", number, *rng.choice(KINDS), 0])
        wanted = [option for option in REUSE if rng.random() < 0.4]
        script += [[option[0], number, *option[1:]] for option in wanted]
        if rng.random() < 0.2:
            script.append(["setsockopt", number, 41, 26, "01000000"])  # IPV6_V6ONLY
        script.append(["bind", number, [rng.choice(NAMES), rng.choice((1, 1, 1, 2))]])
        if rng.random() < 0.5:
            script.append(["listen", number, 3])
        if rng.random() < 0.2:
            script.append(["close", rng.randrange(number + 1)])
    return script


def make_two(seed: int) -> list[Call]:
    """The script of a seed for two hosts."""
    rng = Random(seed)
    rng.hosts = ("server", "server", "client")
    script = list(rng.choice(TWO_BEGINNINGS))
    for _ in range(CALLS):
        who = rng.choice(("server", "client"))
        rng.slots = slots_of([call[1:] for call in script if call[0] == who])
        script.append([who, *choose(rng)])
    return script


def shrink(script: list[Call], differs: Callable[[list[Call]], bool]) -> list[Call]:
    """Leave out calls for as long as it still differs."""
    index = len(script) - 1
    while index >= 0:
        shorter = script[:index] + script[index + 1 :]
        if differs(shorter):
            script = shorter
        index -= 1
    return script
