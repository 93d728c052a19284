"""Killed at every crash point of a step, UDP loses nothing and repeats nothing.

Each scenario is played once undisturbed; then again for every crash point of the step that handles
it. What programs, IP and the syscall server saw must be the same; event counters may move more.
"""

import random
from collections.abc import Callable

import pytest
from newtos_py.servers.udp.face import UdpFaceError

from newtos_py.sim.packets import Ipv4
from newtos_py.sim.udp_lab import (
    AREA_DEAD,
    BIND,
    OUR,
    PEER,
    REUSEADDR,
    Program,
    Socket,
    UdpLab,
)

DNS = (PEER, 53)
BIG = bytes(i % 251 for i in range(1400))


class Play:
    """A lab with a program and some sockets in it."""

    def __init__(self, scenario: Callable[["Play"], None]) -> None:
        self.lab = UdpLab()
        self.program: Program = self.lab.program()
        self.bound = self.program.socket().bound(OUR, 53)
        self.shared = self.program.socket().bound("0.0.0.0", 67, REUSEADDR)
        self.connected = self.program.socket()
        assert self.connected.connect((PEER, 99)) == 0
        self.fresh = self.program.socket()
        self.lab.run()
        scenario(self)

    def outcome(self) -> tuple[object, ...]:
        """All that neighbours and the program see."""
        lab = self.lab
        socks: list[Socket] = [self.bound, self.shared, self.connected, self.fresh]
        sent = lab.sent()
        received = [sock.receive() for sock in socks]
        icmp = lab.icmp_sent()
        replies = lab.replies()
        lab.run(after_ms=1)
        shown = [
            (sock.name(), int(sock.server.state), int(sock.server.flags), sock.error(),
             int(sock.server.tx_head), int(sock.server.rx_tail), int(sock.server.generation),
             int(sock.server.reply) - int(sock.own.request))
            for sock in socks
        ]  # fmt: skip
        out = [owner.out for owner in lab.owners]
        told = self.program.ready() | set()
        return sent, received, icmp, replies, shown, out, len(told) > 0


def sends(play: Play) -> None:
    for number in range(20):
        play.bound.send(b"%d" % number, DNS)
        play.connected.send(BIG[number:])
    play.fresh.send(b"autobind", (OUR, 53))
    play.fresh.send(b"no route", ("203.0.113.1", 1))


def receives(play: Play) -> None:
    for number in range(5):
        play.lab.deliver(b"datagram %d" % number, (OUR, 53), owner=number % 2)
    play.lab.deliver(b"nobody", (OUR, 54))
    play.lab.deliver(b"broadcast", ("10.0.0.255", 67))
    play.lab.deliver(b"peer", play.connected.name(), (PEER, 99))
    play.lab.deliver(b"corrupt", (OUR, 53), corrupt=True)
    play.lab.deliver_packet(Ipv4(PEER, OUR, 17, b"short"))


def changes(play: Play) -> None:
    """Control: connect, disconnect, close, and a bind, all in one batch."""
    for sock, to in ((play.fresh, (PEER, 7)), (play.connected, None)):
        sock.own.target.addr = bytes(10) + b"\xff\xff" + bytes([10, 0, 0, 3]) if to else bytes(16)
        sock.own.target.port = to[1] if to else 0
        sock.own.request = ((int(sock.own.request) >> 8) + 1) << 8 | 1
        sock.tell()
    play.shared.send(b"last words", DNS)
    play.shared.close()


SCENARIOS = [sends, receives, changes]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_death_at_any_point_changes_nothing(scenario: Callable[[Play], None]) -> None:
    expected = Play(scenario).outcome()
    point = 0
    while True:
        point += 1
        play = Play(scenario)
        if not play.lab.runner.die_at(point):
            break
        assert play.outcome() == expected, f"died at crash point {point}"
    assert point > 20


def test_a_bind_is_answered_once_whenever_death_comes() -> None:
    point = 0
    while True:
        point += 1
        lab = UdpLab()
        sock = lab.program().socket()
        lab.push_request(BIND, 0, slot=sock.slot, generation=sock.generation, to=(OUR, 53))
        if not lab.runner.die_at(point):
            break
        (reply,) = lab.replies()
        assert (reply.error, reply.port) == (0, 53), f"died at crash point {point}"
        assert sock.name() == (OUR, 53)
    assert point > 5


@pytest.mark.parametrize("seed", range(10))
def test_dying_again_and_again_changes_nothing(seed: int) -> None:
    def everything(play: Play) -> None:
        for scenario in SCENARIOS:
            scenario(play)

    expected = Play(everything).outcome()
    chance = random.Random(seed)
    play = Play(everything)
    for _ in range(10):
        play.lab.runner.die_at(chance.randrange(1, 80))
    got = play.outcome()
    assert got == expected


def test_a_program_that_dies_with_the_server() -> None:
    chance = random.Random(3)
    lab = UdpLab()
    program = lab.program()
    for port in range(1, 4):
        sock = program.socket().bound(port=port)
        sock.send(BIG, DNS)
    lab.hold_fences = True
    lab.sent()
    assert lab.post(AREA_DEAD, 0) == []
    for _ in range(5):
        lab.runner.die_at(chance.randrange(1, 10))
    lab.pass_fences()
    lab.run(after_ms=1)
    assert [reply.kind for reply in lab.replies()] == [AREA_DEAD]


def test_after_a_cold_start_sockets_are_void(capfd: pytest.CaptureFixture[str]) -> None:
    lab = UdpLab()
    program = lab.program()
    sock = program.socket().bound(OUR, 53)
    colds = int(program.view.server.cold_starts)
    lab.world.write(lab.arena, 0, bytes(lab.arena.bytes))
    lab.runner.boot()
    assert program.view.server.cold_starts == colds + 1
    lab.deliver(b"who?", (OUR, 53))
    assert len(lab.icmp_sent()) == 1
    again = program.socket()
    assert again.generation > sock.generation or again.slot != sock.slot
    assert again.bind(OUR, 53).error == 0
    assert capfd.readouterr().err == ""


def test_a_damaged_arena_is_refused() -> None:
    lab = UdpLab()
    lab.world.write(lab.arena, 12, b"\1\2\3\4")
    with pytest.raises(Exception, match="the arena is not the UDP server's") as info:
        lab.runner.boot(recovered=True)
    assert not isinstance(info.value, UdpFaceError)
