"""Flow groups that this lane gives away and gets (groups.c; servers/ip/groups.h)."""

import struct
from collections.abc import Callable

import pytest

from newtos_py.sim.tcp_dialogue import ACK, FIN, RST, SYN, THEIRS, Dialogue, ffi, lib

Make = Callable[..., Dialogue]
GIVE, GIVEN, SETTLE = lib.NT_GROUP_GIVE, lib.NT_GROUP_GIVEN, lib.NT_GROUP_SETTLE
SETTLED, TAKE, WHOSE = lib.NT_GROUP_SETTLED, lib.NT_GROUP_TAKE, lib.NT_GROUP_WHOSE
GROUPS = 4096
# Lane 0 of two has the even groups at boot.
PORT = 20000
GROUP = PORT % GROUPS
SAME, OTHER = PORT + GROUPS, PORT + 2


@pytest.fixture
def d(make: Make) -> Dialogue:
    """Lane 0 of two."""
    d = make(lanes=2, steering="flow-groups")
    d.run()
    assert words(d) == [(0, WHOSE, 0)]
    return d


def words(d: Dialogue) -> list[tuple[int, int, int]]:
    """What was said of groups: group, word, and how many connections were spoken of before."""
    desc = ffi.new("struct nt_desc *")
    found = []
    while lib.nt_sim_host_take_word(d.host, desc):
        assert desc.kind == lib.NT_DESC_GROUP
        found.append((desc.tag, desc.arg, desc.flow_hash))
    return found


def say(d: Dialogue, group: int, word: int) -> None:
    desc = ffi.new("struct nt_desc *", {"kind": lib.NT_DESC_GROUP, "tag": group, "arg": word})
    assert lib.nt_sim_host_push_desc(d.host, desc, True)
    d.run()


def test_what_is_here_is_known_by_exact_match_before_the_group_is_given(d: Dialogue) -> None:
    d.listen(80, backlog=32)
    for port in (PORT, SAME, OTHER):
        d.peer(port, to=80).shake_hands()
    half_open = d.peer(SAME + GROUPS, to=80)
    half_open.send(SYN)
    assert d.steered() == []
    say(d, GROUP, GIVE)
    assert words(d) == [(GROUP, GIVEN, 3)], "two connections and a half, then the word"
    steered = [(80, THEIRS, port, True) for port in (PORT, SAME, SAME + GROUPS)]
    assert sorted(d.steered()) == steered
    half_open.expect(SYN | ACK)
    half_open.send(ACK)


def test_time_wait_is_known_too(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(PORT, to=80)
    peer.shake_hands()
    sock, _ = listener.accept()
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    say(d, GROUP, GIVE)
    assert words(d) == [(GROUP, GIVEN, 1)]
    assert d.steered() == [(80, THEIRS, PORT, True)]
    d.after(ms=61_000)
    assert d.steered() == [(80, THEIRS, PORT, False)]


def test_a_connection_made_after_the_word_says_so_itself(d: Dialogue) -> None:
    """SYNs were on their way here when the table changed."""
    d.listen(80)
    say(d, GROUP, GIVE)
    assert words(d) == [(GROUP, GIVEN, 0)]
    peer = d.peer(PORT, to=80)
    peer.send(SYN)
    assert d.steered() == [(80, THEIRS, PORT, True)]
    say(d, GROUP, SETTLE)
    assert words(d) == [(GROUP, SETTLED, 0)]
    peer.expect(SYN | ACK)
    peer.send(ACK)
    peer.send(RST, seq=1)
    assert d.steered() == [(80, THEIRS, PORT, False)]


def test_what_comes_again_in_time_wait_is_still_known(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(PORT, to=80)
    peer.shake_hands()
    say(d, GROUP, GIVE)
    words(d)
    sock, _ = listener.accept()
    sock.close()
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    d.steered()
    again = d.peer(PORT, to=80, isn=5_000_000)
    again.ts_value = 9000
    again.send(SYN)
    again.expect(SYN | ACK)
    assert d.steered() == [(80, THEIRS, PORT, False), (80, THEIRS, PORT, True)]


def test_a_group_that_was_taken_is_this_lanes(d: Dialogue) -> None:
    d.listen(80)
    say(d, GROUP + 1, TAKE)
    assert words(d) == []
    d.peer(PORT + 1, to=80).shake_hands()
    assert d.steered() == []
    say(d, GROUP + 1, GIVE)
    assert words(d) == [(GROUP + 1, GIVEN, 1)]


def test_active_connections_take_ports_that_were_this_lanes_at_boot(d: Dialogue) -> None:
    """Or two lanes might choose the same; where it is another's now, by exact match."""
    for group in range(0, GROUPS, 2):
        say(d, group, GIVE)
        say(d, group + 1, TAKE)
        words(d)
    for _ in range(5):
        sock = d.socket()
        d.connect(sock, 80)
        port = sock.getsockname()[1]
        assert port % 2 == 0
        assert d.steered() == [(port, THEIRS, 80, True)]


def test_many_connections_are_looked_through_bit_by_bit(make: Make) -> None:
    d = make(lanes=2, steering="flow-groups")
    d.listen(80, backlog=64)
    for i in range(30):
        d.peer(PORT + 2 * i, to=80).shake_hands()
    words(d)
    for i in range(0, 30, 7):
        say(d, GROUP + 2 * i, GIVE)
        assert words(d) == [(GROUP + 2 * i, GIVEN, 1)]
        assert d.steered() == [(80, THEIRS, PORT + 2 * i, True)]


def test_whole_groups_are_taken_over_and_all_elsewhere_said_anew(d: Dialogue) -> None:
    d.listen(80)
    d.peer(PORT, to=80).shake_hands()
    d.peer(OTHER, to=80).shake_hands()
    say(d, GROUP, GIVE)
    assert words(d) == [(GROUP, GIVEN, 1)]
    d.steered()
    own = bytearray(b"\x55" * (GROUPS // 8))  # the even ones, but for GROUP
    own[GROUP // 8] &= ~(1 << GROUP % 8)
    for first in range(0, GROUPS, 1024):
        desc = ffi.new("struct nt_desc *", {"kind": lib.NT_DESC_GROUPS, "tag": first})
        desc.inline_len = 128
        ffi.memmove(desc.data, bytes(own[first // 8 : first // 8 + 128]), 128)
        assert lib.nt_sim_host_push_desc(d.host, desc, True)
    d.run()
    assert words(d) == []
    assert set(d.steered()) == {(80, THEIRS, PORT, True)}, "IP may have lost it"


def test_words_that_make_no_sense_are_counted() -> None:
    d = Dialogue(lanes=2, steering="flow-groups")
    for group, word in ((GROUPS, GIVE), (2**32 - 1, TAKE), (0, 0), (0, 99), (0, GIVEN)):
        say(d, group, word)
    assert d.counter("bad_descriptors") == 5
    other = Dialogue(lanes=2)
    say(other, 0, GIVE)
    assert other.counter("bad_descriptors") == 1, "steering knows no groups"


def test_ip_is_told_who_stole_every_tenth_of_a_second() -> None:
    d = Dialogue(lanes=2, steering="flow-groups", design=lib.NT_LISTEN_AFFINITY)
    d.listen(80, backlog=16)
    region = lib.nt_sim_host_listener_view(d.host, 0)
    ports = iter(range(PORT, PORT + 400, 2))

    def told() -> list[tuple[int, ...]]:
        desc = ffi.new("struct nt_desc *")
        found = []
        while lib.nt_sim_host_take_word(d.host, desc):
            if desc.kind == lib.NT_DESC_STOLEN:
                found.append(struct.unpack("=8I", bytes(ffi.buffer(desc.data, 32))))
        return found

    d.peer(next(ports), to=80).shake_hands()
    assert told() == []
    region.claims.stolen_by[1] = 3
    d.peer(next(ports), to=80).shake_hands()
    assert told() == [], "not yet"
    d.after(ms=101)
    d.peer(next(ports), to=80).shake_hands()
    assert told() == [(0, 3, 0, 0, 0, 0, 0, 0)]
    d.after(ms=101)
    d.peer(next(ports), to=80).shake_hands()
    assert told() == [], "nothing new"
