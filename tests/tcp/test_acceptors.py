"""Several programs accept from one listening socket."""

import errno
import socket

import pytest
from accepting import Lab, claim
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, SYN, Dialogue, lib

POLLIN, POLLOUT = 1, 4


@pytest.fixture
def lab(d: Dialogue) -> Lab:
    return Lab(d)


def test_connections_go_round_among_those_who_accept(lab: Lab) -> None:
    areas = []
    for _ in range(4):
        peer = lab.connect()
        worker = lab.told()
        areas.append(worker.area)
        sock = worker.accept()
        peer.send(ACK, b"hello")
        assert sock.recv(10) == b"hello"
        sock.send(b"you")
        peer.expect(ACK | PSH, b"you")
    assert sorted(areas) == [1, 1, 2, 2] or lab.d.crashes  # whose turn it is is forgotten
    assert lab.d.counted("accept_moves", 0)


def test_who_sleeps_is_told_first(lab: Lab) -> None:
    busy, idle = lab.workers
    for _ in range(2):
        idle.queue.sleep()
        lab.connect()
        assert lab.told() is idle
        idle.queue.wake()
        idle.accept()
    assert not busy.accepts()


def test_any_may_take_what_another_was_told_of(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"early")
    told = lab.told()
    other = lab.other(told)
    assert other.listener.poll() & POLLIN
    sock = other.accept()
    assert not told.accepts()
    # Before the server has moved it: a connection on which nothing has come.
    with pytest.raises(BlockingIOError):
        sock.recv(10)
    assert sock.poll() & POLLOUT
    sock.send(b"welcome")
    lab.d.run()
    assert sock in other.queue.collect()
    assert sock.recv(10) == b"early"
    peer.expect(ACK | PSH, b"welcome")
    peer.send(ACK, b"more")
    assert sock.recv(10) == b"more"
    assert lab.d.counted("accept_moves", 1)
    assert sock.getpeername() == ("10.0.0.3", 5000)


def test_what_came_out_of_order_moves_along(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"def", seq=4)
    sock = lab.other(lab.told()).accept()
    lab.d.run()
    peer.send(ACK, b"abc", seq=1)
    assert sock.recv(10) == b"abcdef"


def test_a_peer_that_has_gone_is_accepted_all_the_same(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"bye")
    peer.send(FIN | ACK)
    sock = lab.other(lab.told()).accept()
    lab.d.run()
    assert sock.recv(10) == b"bye"
    assert sock.recv(10) == b""
    gone = lab.connect()
    gone.send(RST | ACK)
    lost = lab.other(lab.told()).accept()
    lab.d.run()
    with pytest.raises(ConnectionResetError):
        lost.recv(10)


def test_what_the_chosen_one_does_not_take_is_told_to_all(lab: Lab) -> None:
    lab.connect()
    told = lab.told()
    lab.d.after(ms=0.5)
    assert not lab.other(told).is_told() or lab.d.crashes
    lab.d.after(ms=1)
    assert lab.other(told).is_told()
    assert told.is_told()
    lab.d.after(ms=4)  # whoever found no room for it, or missed the edge, gets another
    assert lab.other(told).is_told()
    lab.other(told).accept()
    lab.d.after(ms=3000)
    lab.other(told).queue.collect()
    lab.d.after(ms=3000)
    assert not lab.other(told).is_told() or lab.d.crashes


def test_a_master_that_only_holds_the_socket_gets_nothing(lab: Lab) -> None:
    for _ in range(6):
        lab.connect()
        lab.told().accept()
    with pytest.raises(BlockingIOError):
        lab.master.accept()


def test_a_dead_workers_connections_are_served_by_others(lab: Lab) -> None:
    peers = [lab.connect() for _ in range(4)]
    for peer in peers:
        peer.send(ACK, b"hello")
    dead, alive = lab.workers
    alive.queue.collect()
    drained = lab.dies(dead)
    assert alive.is_told()
    for _ in peers:
        sock = alive.accept()
        lab.d.run()
        assert sock.recv(10) == b"hello"
        sock.send(b"you")
    lab.d.after(ms=5)
    for peer in peers:
        peer.expect(ACK | PSH, b"you")
    assert drained()
    late = lab.connect()
    late.send(ACK, b"!")
    assert alive.accept().recv(1) == b"!"


def test_who_dies_between_claim_and_word_loses_nothing(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"hello")
    told = lab.told()
    thief = lab.other(told)
    granted = thief.program.socket()
    claim(thief, slot=granted.identity().slot)
    assert not told.accepts()
    lab.dies(thief)
    assert told.is_told()
    assert told.accept().recv(10) == b"hello"
    assert lab.d.counted("accept_again", 1)


def test_who_dies_between_claim_and_its_own_slot_loses_nothing(lab: Lab) -> None:
    peer = lab.connect()
    peer.send(ACK, b"hello")
    told = lab.told()
    entry = told.listener.sock.listener.entry[0]
    claim(told, slot=entry.slot)
    drained = lab.dies(told)
    other = lab.other(told)
    assert other.is_told()
    sock = other.accept()
    lab.d.run()
    assert sock.recv(10) == b"hello"
    lab.d.after(ms=5)
    assert drained()


@pytest.mark.parametrize(("area", "slot"), [(1, 60), (0, 2), (2, 8000), (65535, 1)])
def test_a_claim_for_what_is_not_ones_own_costs_the_connection(
    lab: Lab, area: int, slot: int
) -> None:
    peer = lab.connect()
    claim(lab.workers[1], area=area, slot=slot)
    lab.connect()  # somebody looks at the queue
    peer.expect(RST | ACK)
    assert lab.d.counter("bad_program") >= 1
    assert any(worker.accepts() for worker in lab.workers)


def test_a_claim_for_an_area_that_is_gone_is_void(lab: Lab) -> None:
    lab.connect()
    claim(lab.workers[1], area=200, slot=1)
    lab.connect()
    assert lab.d.counted("accept_again", 1)
    assert [lab.workers[0].accepts() for _ in range(3)] == [True, True, False]


def test_scribbled_claim_words_cost_connections_only(lab: Lab) -> None:
    peers = [lab.connect() for _ in range(3)]
    words = lab.master.sock.listener.claims.claim
    for i, word in enumerate((0, 2**64 - 1, 12345)):
        words[i] = word
    lab.connect()
    for peer in peers:
        peer.expect(RST | ACK)
    assert any(worker.accepts() for worker in lab.workers)


def test_an_offered_slot_is_not_its_programs_before_the_claim(lab: Lab) -> None:
    peer = lab.connect()
    told = lab.told()
    entry = told.listener.sock.listener.entry[0]
    area = told.listener.sock.area.view
    program = area.slot_program[entry.slot]
    program.tx_geometry = 14
    program.tx_tail = 5
    program.generation = entry.generation
    area.hints.bitmap[entry.slot // 64] |= 1 << entry.slot % 64
    area.hints.summary[0] |= 1 << entry.slot // 64
    area.hints.activity = 1
    lab.d.run()
    peer.expect_nothing()
    assert lab.other(told).accept().getpeername() == ("10.0.0.3", peer.port)


def test_the_last_member_ends_it(lab: Lab) -> None:
    waiting = lab.connect()
    lab.master.close()
    lab.workers[0].listener.close()
    lab.d.run()
    late = lab.connect()
    lab.workers[1].listener.close()
    lab.d.run()
    waiting.expect(RST | ACK)
    late.expect(RST | ACK)
    refused = lab.d.peer(5999, to=80)
    refused.send(SYN)
    refused.expect(RST | ACK)
    assert lab.d.counted("tcbs_in_use", 0)


def test_unlisten_says_whether_others_go_on(lab: Lab) -> None:
    def unlisten(sock: Socket, arg: int = 0) -> int:
        name = sock.identity()
        reply = lab.d.request(
            lib.NT_REQ_UNLISTEN, area=name.area, slot=name.slot, generation=name.generation, arg=arg
        )
        assert reply.error == 0
        return int(reply.arg)

    assert unlisten(lab.master) == 1
    assert unlisten(lab.workers[0].listener) == 1
    lab.connect()
    assert unlisten(lab.workers[1].listener) == 0
    assert lab.d.bind(lab.d.socket(), 80) == 0


def test_shutdown_ends_it_for_all(lab: Lab) -> None:
    name = lab.master.identity()
    reply = lab.d.request(
        lib.NT_REQ_UNLISTEN, area=0, slot=name.slot, generation=name.generation, arg=1
    )
    assert (reply.error, reply.arg) == (0, 0)
    assert lab.master.sock.listener.header.closed == 1
    assert all(worker.is_told() for worker in lab.workers)
    for sock in (lab.master, *(worker.listener for worker in lab.workers)):
        sock.close()
    lab.d.run()
    assert lab.d.bind(lab.d.socket(), 80) == 0


def test_joining_again_is_the_same(lab: Lab) -> None:
    number = lab.d.region_number(lab.master)
    again = lab.d.request(lib.NT_REQ_JOIN, area=1, arg=number)
    assert (again.error, again.slot) == (0, lab.workers[0].listener.identity().slot)
    assert lab.d.request(lib.NT_REQ_JOIN, area=1, arg=3).error == errno.EBADF
    assert lab.d.request(lib.NT_REQ_JOIN, area=99, arg=number).error == errno.EBADF


def test_a_held_listener_waits_for_who_inherited_it(d: Dialogue) -> None:
    master = d.listen(80)
    number = d.region_number(master)
    assert d.request(lib.NT_REQ_HOLD, arg=number, options=1).error == 0
    other = d.other_program(1)
    master.close()
    d.run()
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK)  # nobody is there to have it yet
    listener = d.join(master, other, 1)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK)
    listener.accept()
    assert d.request(lib.NT_REQ_HOLD, arg=number, options=0).error == 0
    listener.close()
    d.run()
    assert d.request(lib.NT_REQ_HOLD, arg=number, options=1).error == errno.EBADF


def test_a_held_listener_ends_when_it_is_let_go(d: Dialogue) -> None:
    master = d.listen(80)
    number = d.region_number(master)
    d.request(lib.NT_REQ_HOLD, arg=number, options=1)
    waiting = d.peer(5000, to=80)
    waiting.shake_hands()
    master.close()
    d.run()
    waiting.expect_nothing()
    d.request(lib.NT_REQ_HOLD, arg=number, options=0)
    d.run()
    waiting.expect(RST | ACK)


def test_an_accept_queue_of_all_is_bounded(d: Dialogue) -> None:
    lab = Lab(d, backlog=2)
    for _ in range(3):
        lab.connect()
    late = d.peer(5900, to=80)
    late.send(SYN)
    late.expect_nothing()
    assert sum(lab.workers[0].accepts() for _ in range(4)) == 3
    lab.d.run()
    lab.connect()


def test_heirs_of_a_reuseport_group(d: Dialogue) -> None:
    one, other = d.socket(), d.other_program(1)
    two = other.socket()
    for sock in (one, two):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        assert d.bind(sock, 80) == 0
        assert d.start_listening(sock, 8) == 0
    peers = []
    for port in range(5000, 5008):
        peer = d.peer(port, to=80)
        peer.shake_hands()
        peer.send(ACK, b"hi")
        peers.append(peer)
    half = d.peer(5100, to=80)
    half.send(SYN)
    half.expect(SYN | ACK)
    served = 0
    while True:
        try:
            two.accept()
        except BlockingIOError:
            break
        served += 1
    assert 0 < served < 8
    one.close()
    d.run()
    half.send(ACK)
    half.send(ACK, b"hi")
    rest = [two.accept()[0] for _ in range(8 - served + 1)]
    d.run()
    assert [sock.recv(5) for sock in rest] == [b"hi"] * (8 - served + 1)
    for peer in peers:
        assert all(segment.flags == ACK for segment in d.heard(peer.address, peer.port))
    assert d.bind(d.socket(), 80) == errno.EADDRINUSE
