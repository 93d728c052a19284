"""IP hands TCP packets to lanes: by steering, and by exact match where a TCP server says so."""

import struct
from dataclasses import replace

import pytest

from newtos_py.net import netconf
from newtos_py.net._net import ffi, lib
from newtos_py.net.addr import pack
from newtos_py.sim import packets
from newtos_py.sim.ip_lab import IF_YOURS, OUR, PEER, IpLab, Limits
from newtos_py.sim.packets import Ipv4

KINDS = netconf.STEERINGS


def made(kind: str, lanes: int = 3) -> IpLab:
    lab = IpLab(Limits(lanes=lanes, steering=kind))
    for driver in lab.drivers:
        driver.frames()
    lab.learn()
    for lane in lab.lanes:
        assert lane.received() == []
    return lab


def segment(src_port: int, dst_port: int) -> bytes:
    return struct.pack(">HHIIHHHH", src_port, dst_port, 1, 2, 0x5010, 0xFFFF, 0, 0)


def arrives(lab: IpLab, src_port: int, dst_port: int) -> int:
    """The lane that a segment of the peer's is handed to."""
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, segment(src_port, dst_port))))
    found = [i for i, each in enumerate(lab.lanes) if each.received()]
    assert len(found) == 1
    return found[0]


def expected(lab: IpLab, src_port: int, dst_port: int) -> int:
    config = ffi.new("struct nt_steering_config *")
    config.kind = KINDS.index(lab.limits.steering)
    config.lanes = lab.limits.lanes
    config.key = bytes(range(40))
    steering = ffi.new("struct nt_steering *")
    lib.nt_steering_init(steering, config)
    src, dst = ffi.from_buffer(pack(PEER)), ffi.from_buffer(pack(OUR))
    return lib.nt_steering_lane(
        steering, ffi.new("struct nt_flow *", (src, dst, src_port, dst_port))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_segments_go_where_steering_says(kind: str) -> None:
    lab = made(kind)
    seen = set()
    for port in range(40000, 40030):
        lane = arrives(lab, port, 80)
        assert lane == expected(lab, port, 80)
        assert arrives(lab, 80, port) == expected(lab, 80, port)
        seen.add(lane)
    assert seen == {0, 1, 2}


def test_the_cards_hash_is_used_and_its_wrong_queue_put_right() -> None:
    lab = made("rss")
    packet = packets.ipv4(Ipv4(PEER, OUR, packets.TCP, segment(40000, 80)))
    for entry in range(3):  # the card's word: IP does not hash again
        for queue in range(4):
            before = lab.counter("forwarded")
            lab.wire.deliver_ip(packet, nic=(128 + entry, queue))
            (handed,) = lab.lanes[(128 + entry) % 128 % 3].received()
            assert handed.arg == queue
            assert lab.counter("forwarded") - before == (queue not in (0, entry + 1))


def test_what_a_lane_sends_says_so() -> None:
    lab = made("rss")
    for lane in (1, 2):
        lab.lanes[lane].send(PEER, segment(80, 40000), protocol=packets.TCP)
        assert [frame.tag for frame in lab.wire.frames()] == [lane + 1]
    lab.udp.send(PEER, bytes(8))
    assert [frame.tag for frame in lab.wire.frames()] == [0]


def test_look_ups_by_exact_match_are_counted() -> None:
    lab = made("rss")
    arrives(lab, 80, 40000)
    assert lab.counter("exact_lookups") == 0, "the table is empty"
    lab.lanes[0].steer(PEER, 80, 40001, here=True)
    lab.run()
    arrives(lab, 80, 40001)
    assert (lab.counter("exact_lookups"), lab.counter("exact_entries_seen")) == (1, 1)


def test_icmp_errors_follow_the_connection_they_are_about() -> None:
    lab = made("rss")
    for port in range(40000, 40010):
        quoted = packets.ipv4(Ipv4(OUR, PEER, packets.TCP, segment(port, 80)))
        lab.wire.deliver_ip(
            packets.ipv4(Ipv4(PEER, OUR, packets.ICMP, packets.icmp(3, 1, 0, quoted)))
        )
        assert [bool(each.received()) for each in lab.lanes].index(True) == expected(lab, 80, port)


def test_a_connection_is_found_by_exact_match_until_it_is_gone() -> None:
    lab = made("rss")
    usual = expected(lab, 80, 40000)
    other = (usual + 1) % 3
    lab.lanes[other].steer(PEER, 80, 40000, here=True)
    lab.run()
    assert arrives(lab, 80, 40000) == other
    assert arrives(lab, 80, 40001) == expected(lab, 80, 40001)
    lab.lanes[usual].steer(PEER, 80, 40000, here=False)
    lab.run()
    assert arrives(lab, 80, 40000) == other, "only whose it is may say so"
    lab.lanes[other].steer(PEER, 80, 40000, here=False)
    lab.run()
    assert arrives(lab, 80, 40000) == usual


def test_exact_matches_survive_a_kill_at_any_instruction() -> None:
    lab = made("rss")
    usual = expected(lab, 80, 40000)
    other = (usual + 1) % 3
    for here, lane in ((True, other), (False, usual)):
        point = 0
        dies = True
        while dies:
            point += 1
            lab.lanes[other].steer(PEER, 80, 40000, here=not here)
            lab.run()
            lab.lanes[other].steer(PEER, 80, 40000, here=here)
            dies = lab.runner.die_at(point)
            lab.run()
            assert arrives(lab, 80, 40000) == lane, f"died at crash point {point}"
        assert point > 2


# -- More than the table has room for ---------------------------------------------------------


def finds(lab: IpLab, src_port: int, dst_port: int, owner: int | None) -> int:
    """The lane that takes a segment: `owner` has its connection, others hand it back if asked."""
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, segment(src_port, dst_port))))
    asked: list[int] = []
    while True:
        got = [(i, desc) for i, each in enumerate(lab.lanes) for desc in each.received(keep=True)]
        ((lane, desc),) = got
        assert lane not in asked, "nobody is asked twice"
        asked.append(lane)
        if lane == owner or not desc.arg & IF_YOURS:
            lab.lanes[lane].give_back(desc)
            return lane
        lab.lanes[lane].not_mine(desc)


def overflow(lab: IpLab, lane: int, ports: range) -> None:
    for chunk in range(0, len(ports), 500):
        for port in ports[chunk : chunk + 500]:
            lab.lanes[lane].steer(PEER, 9, port, here=True)
        lab.run()


MANY = range(33000, 33000 + 6000)


def test_no_connection_loses_its_way_when_the_table_overflows() -> None:
    lab = made("rss")
    overflow(lab, 1, MANY)
    assert lab.counter("exact_overflows") > 6000 - 4096
    for port in (*MANY[:300], *MANY[-300:]):
        assert finds(lab, 9, port, owner=1) == 1
    assert lab.counter("asked") > 100
    for port in range(40000, 40100):  # others' go where steering says, however many are asked
        assert finds(lab, 8, port, owner=None) == expected(lab, 8, port)
    assert lab.wire.owner.out == 0, "each buffer came back once"


def test_nobody_is_asked_any_more_once_those_are_gone() -> None:
    lab = made("rss")
    overflow(lab, 1, MANY)
    for chunk in range(0, len(MANY), 500):
        for port in MANY[chunk : chunk + 500]:
            lab.lanes[1].steer(PEER, 9, port, here=False)
        lab.run()
    before = lab.counter("asked")
    for port in MANY[::50]:
        assert arrives(lab, 9, port) == expected(lab, 9, port)
    assert lab.counter("asked") == before


def test_a_syn_is_accepted_by_its_own_lane_after_all_were_asked() -> None:
    """The lane that steering names is asked last, without IF_YOURS: it may have a listener."""
    lab = made("rss")
    overflow(lab, 1, MANY)
    asked = 0
    for port in range(20000, 20200):
        before = lab.counter("asked")
        assert finds(lab, port, 80, owner=None) == expected(lab, port, 80)
        asked += lab.counter("asked") > before
    assert asked > 0


def test_asking_survives_a_kill_at_any_instruction() -> None:
    lab = made("rss")
    overflow(lab, 1, MANY)
    port = next(p for p in range(20000, 21000) if asks(lab, p))
    home = expected(lab, port, 80)
    packet = packets.ipv4(Ipv4(PEER, OUR, packets.TCP, segment(port, 80)))
    point, dies = 0, True
    while dies:
        point += 1
        lab.wire.deliver_ip(packet)
        dies = lab.runner.die_at(point)
        seen = []
        for _ in range(3):
            lab.run()
            ((lane, desc),) = [
                (i, desc) for i, each in enumerate(lab.lanes) for desc in each.received(keep=True)
            ]
            seen.append(lane)
            if not desc.arg & IF_YOURS:
                lab.lanes[lane].give_back(desc)
                break
            lab.lanes[lane].not_mine(desc)
            dies = lab.runner.die_at(point) or dies
        assert seen[-1] == home
        assert sorted(seen) == [0, 1, 2], f"died at crash point {point}"
    assert point > 2
    assert lab.wire.owner.out == 0


def asks(lab: IpLab, port: int) -> bool:
    before = lab.counter("asked")
    finds(lab, port, 80, owner=None)
    return lab.counter("asked") > before


def test_what_is_handed_back_wrongly_is_refused() -> None:
    lab = made("rss")
    lab.wire.deliver_ip(packets.ipv4(Ipv4(PEER, OUR, packets.TCP, segment(20000, 80))))
    home = expected(lab, 20000, 80)
    (desc,) = lab.lanes[home].received(keep=True)
    (ref,) = desc.refs
    for region in (0, 7, 16, 300):
        lab.lanes[home].not_mine(replace(desc, refs=(replace(ref, region=region),)))
    lab.lanes[home].not_mine(replace(desc, refs=()))
    lab.lanes[home].not_mine(replace(desc, tag=99))
    lab.run()
    assert lab.counter("bad_descriptor") == 6
    lab.lanes[home].not_mine(replace(desc, refs=(replace(ref, use=ref.use + 1),)))
    lab.lanes[home].not_mine(replace(desc, refs=(replace(ref, offset=1 << 40),)))
    lab.run()
    assert lab.counter("stale_reference") == 2
    lab.lanes[home].give_back(desc)


def test_what_the_host_sends_itself_is_passed_on_too() -> None:
    lab = made("rss")
    overflow(lab, 1, MANY)
    free = lab.buffers_free()
    asked = 0
    for port in range(20000, 20060):
        before = lab.counter("asked")
        lab.lanes[0].send(OUR, segment(port, 80), protocol=packets.TCP)
        while True:
            ((lane, desc),) = [
                (i, desc) for i, each in enumerate(lab.lanes) for desc in each.received(keep=True)
            ]
            if not desc.arg & IF_YOURS:
                break
            lab.lanes[lane].not_mine(desc)
        lab.lanes[lane].give_back(desc)
        asked += lab.counter("asked") > before
    assert asked > 0
    assert lab.buffers_free() == free
