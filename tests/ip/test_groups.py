"""Flow groups move to the lanes that steal (groups.h; Affinity-Accept §3.3.2)."""

import struct

import pytest

from newtos_py.net._net import lib as net
from newtos_py.sim import packets
from newtos_py.sim.ip_lab import IF_YOURS, OUR, PEER, IpLab, Limits
from newtos_py.sim.packets import Ipv4

GIVE, GIVEN, SETTLE, SETTLED, TAKE, WHOSE = 1, 2, 3, 4, 5, 6
LANES = 3
GROUPS = net.NT_STEERING_GROUPS


@pytest.fixture
def lab() -> IpLab:
    lab = IpLab(Limits(lanes=LANES, steering="flow-groups"))
    for driver in lab.drivers:
        driver.frames()
    lab.learn()
    for lane in lab.lanes:
        assert lane.take_words() == []
    return lab


def segment(client_port: int) -> bytes:
    return struct.pack(">HHIIHHHH", client_port, 80, 1, 2, 0x5010, 0xFFFF, 0, 0)


def lane_of(lab: IpLab, client_port: int) -> int:
    """Where a new connection of the peer's goes, and whether it was only asked for."""
    lane, asked = arrives(lab, client_port)
    assert not asked
    return lane


def arrives(lab: IpLab, client_port: int) -> tuple[int, bool]:
    tcp = segment(client_port)
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, tcp)))
    ((lane, desc),) = [(i, got) for i, each in enumerate(lab.lanes) for got in each.received()]
    return lane, bool(desc.arg & IF_YOURS)


def chosen(lab: IpLab, lane: int) -> int:
    """The group that a lane was told to give."""
    ((group, word),) = lab.lanes[lane].take_words()
    assert word == GIVE
    return group


def table(lab: IpLab) -> list[int]:
    """As the drivers' cards see it."""
    offset = 192 + 8 * 16 + 8 * 128
    both = lab.world.read(lab.status, offset, GROUPS // 2)
    return [both[group // 2] >> group % 2 * 4 & 15 for group in range(GROUPS)]


def test_at_boot_every_lane_is_told_its_groups(lab: IpLab) -> None:
    assert table(lab) == [group % LANES for group in range(GROUPS)]
    for lane, each in enumerate(lab.lanes):
        assert sorted(each.whole) == [0, 1024, 2048, 3072]
        bits = b"".join(each.whole[first] for first in sorted(each.whole))
        own = [group for group in range(GROUPS) if bits[group // 8] >> group % 8 & 1]
        assert own == list(range(lane, GROUPS, LANES))


def test_a_group_goes_from_the_lane_most_stolen_from_to_the_thief(lab: IpLab) -> None:
    lab.lanes[0].stolen(0, 0, 3)
    lab.lanes[1].stolen(0, 0, 7)
    lab.run(99)
    assert [lane.take_words() for lane in lab.lanes] == [[], [], []]
    lab.run(2)
    group = chosen(lab, 1)
    assert group % LANES == 1
    port = 20000 - 20000 % GROUPS + group
    assert lane_of(lab, port) == 1, "not before the lane has steered what it has"
    lab.lanes[1].say(group, GIVEN)
    lab.run()
    assert lab.lanes[1].take_words() == [(group, SETTLE)]
    assert lab.lanes[2].take_words() == [(group, TAKE)]
    assert table(lab)[group] == 2
    assert lab.counter("groups_moved") == 1
    assert arrives(lab, port) == (1, True), "it may have a connection still"
    lab.lanes[1].say(group, SETTLED)
    lab.run()
    assert lane_of(lab, port) == 2
    assert lane_of(lab, port + LANES) == (group + LANES) % LANES


def moved(lab: IpLab, thief: int, victim: int) -> int:
    """Lets a group move; which."""
    lab.lanes[victim].stolen(*[5 * (lane == thief) for lane in range(LANES)])
    lab.run()
    lab.run(101)
    group = chosen(lab, victim)
    lab.lanes[victim].say(group, GIVEN)
    lab.run()
    assert lab.lanes[victim].take_words() == [(group, SETTLE)]
    assert lab.lanes[thief].take_words() == [(group, TAKE)]
    lab.lanes[victim].say(group, SETTLED)
    lab.run()
    return group


def test_what_was_asked_for_in_vain_goes_to_the_new_lane(lab: IpLab) -> None:
    lab.lanes[0].stolen(0, 5)
    lab.run(101)
    group = chosen(lab, 0)
    lab.lanes[0].say(group, GIVEN)
    lab.run()
    tcp = segment(8 * GROUPS + group)
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, tcp)))
    (desc,) = lab.lanes[0].received(keep=True)
    lab.lanes[0].not_mine(desc)
    (again,) = lab.lanes[1].received()
    assert not again.arg & IF_YOURS
    assert lab.wire.owner.out == 0


def test_connections_of_before_stay_where_they_are(lab: IpLab) -> None:
    lab.lanes[0].stolen(0, 5)
    lab.run(101)
    group = chosen(lab, 0)
    old, new = 8 * GROUPS + group, 9 * GROUPS + group
    lab.lanes[0].steer(PEER, old, 80, here=True)
    lab.lanes[0].say(group, GIVEN)
    lab.run()
    assert arrives(lab, old) == (0, False)
    lab.lanes[0].say(group, SETTLED)
    lab.run()
    lab.lanes[0].take_words()
    lab.lanes[1].take_words()
    assert lane_of(lab, old) == 0
    assert lane_of(lab, new) == 1
    lab.lanes[0].steer(PEER, old, 80, here=False)
    lab.run()
    assert lane_of(lab, old) == 1


def test_a_lane_that_others_steal_from_takes_none(lab: IpLab) -> None:
    lab.lanes[0].stolen(0, 5)
    lab.lanes[1].stolen(0, 0, 1)  # lane 1 is a victim, too
    lab.run(101)
    assert lab.lanes[0].take_words() == []
    assert chosen(lab, 1) % LANES == 1


def test_one_group_at_a_time_and_what_is_said_wrongly_changes_nothing(lab: IpLab) -> None:
    lab.lanes[0].stolen(0, 5)
    lab.run(101)
    group = chosen(lab, 0)
    lab.lanes[0].stolen(0, 5)
    lab.run(101)
    assert lab.lanes[0].take_words() == []
    before = lab.counter("bad_descriptor")
    wrong = [(group, SETTLED), (group + 1, GIVEN), (group, 77), (group, GIVE), (1 << 31, GIVEN)]
    for said in wrong:
        lab.lanes[0].say(*said)
    lab.lanes[1].say(group, GIVEN)
    lab.run()
    assert lab.counter("bad_descriptor") - before == len(wrong) + 1
    assert table(lab) == [each % LANES for each in range(GROUPS)]


def test_absurd_counts_of_steals_move_one_group_a_lane_and_interval(lab: IpLab) -> None:
    for _ in range(50):
        for lane in range(LANES):
            lab.lanes[lane].stolen(*[2**32 - 1] * 8)
        lab.run()
    lab.run(101)
    assert [lane.take_words() for lane in lab.lanes] == [[], [], []], "all of them are busy"
    lab.lanes[0].stolen(*[2**32 - 1] * 8)
    lab.run(101)
    assert len(lab.lanes[0].take_words()) == 1


def test_a_lane_that_began_anew_is_told_its_groups_and_gives_none(lab: IpLab) -> None:
    kept = moved(lab, 2, 0)
    lab.lanes[0].stolen(0, 5)
    lab.run(101)
    group = chosen(lab, 0)
    lab.lanes[0].whole.clear()
    lab.lanes[0].say(0, WHOSE)
    lab.run()
    assert lab.lanes[0].take_words() == []
    bits = b"".join(lab.lanes[0].whole[first] for first in sorted(lab.lanes[0].whole))
    own = [each for each in range(GROUPS) if bits[each // 8] >> each % 8 & 1]
    assert own == [each for each in range(0, GROUPS, LANES) if each != kept]
    assert table(lab)[group] == 0
    lab.lanes[0].say(group, GIVEN)  # of a life before
    lab.run()
    assert table(lab)[group] == 0


@pytest.mark.parametrize("step", ["choose", "given", "settled"])
def test_a_kill_at_any_instruction_changes_nothing(lab: IpLab, step: str) -> None:
    point, dies, groups = 0, True, set()
    while dies:
        point += 1
        lab.lanes[0].stolen(0, 5)
        lab.run(99)
        if step == "choose":
            lab.runner.now_ns += 2_000_000
            dies = lab.runner.die_at(point)
        lab.run(2)
        words = lab.lanes[0].take_words()
        if words == []:  # killed before it was chosen: who stole is not kept
            lab.lanes[0].stolen(0, 5)
            lab.run(101)
            words = lab.lanes[0].take_words()
        ((group, word),) = words
        assert word == GIVE
        lab.lanes[0].say(group, GIVEN)
        if step == "given":
            dies = lab.runner.die_at(point)
        lab.run()
        assert lab.lanes[0].take_words() == [(group, SETTLE)], f"killed at {point}"
        assert lab.lanes[1].take_words() == [(group, TAKE)]
        assert table(lab)[group] == 1
        assert arrives(lab, 8 * GROUPS + group) == (0, True)
        lab.lanes[0].say(group, SETTLED)
        if step == "settled":
            dies = lab.runner.die_at(point)
        lab.run()
        assert lane_of(lab, 8 * GROUPS + group) == 1
        assert group not in groups
        groups.add(group)
    assert point > 1
    assert [each for each in range(GROUPS) if table(lab)[each] != each % LANES] == sorted(groups)
