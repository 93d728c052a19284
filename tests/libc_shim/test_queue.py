"""Event queues: what a sweep finds, in which order, and going to sleep without missing anything."""

import errno
import select

from hypothesis import given, settings
from hypothesis import strategies as st
from newtos_py.libc_shim.sockets.program import Program, Queue, Socket

from .conftest import QUEUE, Server, World, error_of


def test_news_reach_the_queue_that_the_socket_names(world: World) -> None:
    sock, slot = world.connected()
    sock.set_queue(QUEUE)
    assert world.queue.collect() == []
    before = sock.events()
    world.tcp.deliver(slot, b"x")
    assert world.queue.collect() == [sock]
    assert sock.events() != before
    assert world.queue.collect() == []
    sock.set_queue(0)
    world.tcp.deliver(slot, b"y")
    assert world.queue.collect() == []
    assert Queue(world.program, 0).collect() == []  # a new owner forgets the old one's news


def test_both_areas_are_swept(world: World) -> None:
    stream, stream_slot = world.connected()
    dgram = world.dgram()
    for sock in (stream, dgram):
        sock.set_queue(QUEUE)
    world.tcp.deliver(stream_slot, b"x")
    world.udp.datagram(dgram.identity().slot, b"x", ("10.0.0.2", 1))
    assert set(world.queue.collect()) == {stream, dgram}


def test_a_closed_socket_is_not_found(world: World) -> None:
    sock, slot = world.connected()
    sock.set_queue(QUEUE)
    world.tcp.deliver(slot, b"x")
    sock.close()
    assert world.queue.collect() == []
    assert error_of(lambda: sock.recv(1)) == errno.EBADF


def test_sleeping_raises_every_areas_flag(world: World) -> None:
    flags = [server.area.queue[QUEUE] for server in (world.tcp, world.udp)]
    assert world.queue.sleep()
    assert [flag.sleeping for flag in flags] == [1, 1]
    assert world.queue.sleep()
    world.queue.wake()
    assert [flag.sleeping for flag in flags] == [1, 1]
    world.queue.wake()
    assert [flag.sleeping for flag in flags] == [0, 0]


def test_nobody_sleeps_over_news(world: World) -> None:
    sock, slot = world.connected()
    sock.set_queue(QUEUE)
    world.tcp.deliver(slot, b"x")
    assert not world.queue.sleep()
    world.queue.wake()
    assert world.queue.collect() == [sock]
    assert world.queue.sleep()


def test_an_area_that_comes_while_somebody_sleeps(world: World) -> None:
    assert world.queue.sleep()
    late = Server(6, number=2)
    world.program.attach(late.view, 6, late.sleeping, 99)
    assert late.area.queue[QUEUE].sleeping == 1
    assert late.area.queue[QUEUE + 1].sleeping == 0
    world.queue.wake()
    assert late.area.queue[QUEUE].sleeping == 0


def many(count: int) -> tuple[Server, Program, Queue, list[Socket]]:
    server = Server(6, slots=count)
    program = Program()
    program.attach(server.view, 6, server.sleeping, 1)
    server.grant(count)
    socks = [program.socket() for _ in range(count)]
    for sock in socks:
        sock.set_queue(QUEUE)
    return server, program, Queue(program, QUEUE), socks


def test_a_short_sweep_goes_on_where_it_stopped() -> None:
    server, _, queue, socks = many(200)
    for slot in range(200):
        server.tell(slot)
    found: list[Socket] = []
    while batch := queue.collect(7):
        assert len(batch) <= 7
        found += batch
        server.tell(0)  # a busy socket must not starve the others
        if len(found) > 300:
            break
    assert set(found) == set(socks)
    assert found.index(socks[199]) < 230


def test_a_stale_summary_bit_costs_a_look_in_vain() -> None:
    server, _, queue, _ = many(4)
    server.area.ready[QUEUE].summary[0] = 0xFFFF_FFFF_FFFF_FFFF
    server.area.ready[QUEUE].summary[1] = 0xFFFF_FFFF_FFFF_FFFF
    server.area.ready[QUEUE].bitmap[100] = 5  # of slots that the area doesn't have
    assert queue.collect() == []
    assert queue.sleep()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_sweep_finds_exactly_what_was_told(data: st.DataObject) -> None:
    server, _, queue, socks = many(130)
    told: set[int] = set()
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            for slot in data.draw(st.sets(st.integers(0, 129), max_size=20)):
                server.tell(slot)
                told.add(slot)
        else:
            limit = data.draw(st.integers(1, 30))
            batch = queue.collect(limit)
            slots = {sock.identity().slot for sock in batch}
            assert len(batch) == len(slots) == min(limit, len(told))
            assert slots <= told
            told -= slots
    rest = queue.collect(256)
    assert {socks.index(sock) for sock in rest} == told


def test_edge_and_level(world: World) -> None:
    """What the shim's epoll builds on: the counter moves with news, the level stays."""
    sock, slot = world.connected()
    sock.set_queue(QUEUE)
    world.tcp.deliver(slot, b"ab")
    seen = sock.events()
    assert world.queue.collect() == [sock]
    sock.recv(1)
    assert sock.poll() & select.POLLIN
    assert sock.events() == seen
    world.tcp.deliver(slot, b"c")
    assert sock.events() != seen
