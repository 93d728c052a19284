"""A program with more sockets than an area has slots."""

import socket
from collections.abc import Callable

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, Dialogue, Peer, ffi, lib

# More than an area's 64 slots, of which one listens and some are granted ahead; no more than TCBs.
MANY = 60


def connect(d: Dialogue, port: int) -> Peer:
    peer = d.peer(port, 80)
    peer.shake_hands()
    return peer


def accept(d: Dialogue, listener: Socket) -> Socket:
    sock, _ = listener.accept()
    sock.set_queue(lib.NT_SIM_QUEUE)
    d.run()
    return sock


def fill(d: Dialogue, listener: Socket, count: int) -> list[tuple[Peer, Socket]]:
    return [(connect(d, 5000 + i), accept(d, listener)) for i in range(count)]


@pytest.fixture
def listener(d: Dialogue) -> Socket:
    """Of a program with two areas."""
    sock = d.listen(80)
    d.further_area(1)
    d.map_area(d.program, 1)
    return sock


def test_connections_go_where_there_is_room(d: Dialogue, listener: Socket) -> None:
    pairs = fill(d, listener, MANY)
    areas = [sock.identity().area for _, sock in pairs]
    assert areas == sorted(areas)
    assert areas.count(1) > 0
    for peer, sock in pairs:
        peer.send(ACK, b"hello")
        assert sock.recv(10) == b"hello"
        sock.send(b"you")
        d.run()
        peer.expect(ACK | PSH, b"you")
    for peer, sock in pairs:
        sock.close()
        peer.expect(FIN | ACK)
        peer.send(FIN | ACK)
        peer.expect(ACK)
    d.run()
    assert d.counter("tcbs_in_use") == 0
    assert d.counted("no_slot", 0)


def test_what_has_no_slot_waits_for_one(make: Callable[..., Dialogue]) -> None:
    d = make()
    listener = d.listen(80)
    pairs = fill(d, listener, 40)
    while d.counter("no_slot") == 0:
        pairs.append((connect(d, 6000 + len(pairs)), listener))
    late, _ = pairs[-1]
    d.further_area(1)
    d.map_area(d.program, 1)
    late.send(ACK, b"hello")  # the last ACK of its handshake comes again
    queued = [accept(d, listener) for _ in pairs[40:]]
    assert queued[-1].identity().area == 1
    assert queued[-1].recv(10) == b"hello"


def test_an_area_that_the_program_has_not_mapped_yet(d: Dialogue) -> None:
    """The server has it a moment before: its connections are moved, as another program's are."""
    listener = d.listen(80)
    fill(d, listener, 40)
    d.further_area(1)
    peer = None
    for i in range(12):  # beyond the slots of area 0, which has some granted for socket()
        peer = connect(d, 6000 + i)
        peer.send(ACK, b"hello")
        sock = accept(d, listener)
        assert sock.identity().area == 0
        assert sock.recv(10) == b"hello"
    assert peer is not None
    sock.send(b"you")
    d.run()
    peer.expect(ACK | PSH, b"you")


@pytest.mark.usefixtures("listener")
def test_sockets_are_made_where_there_is_room(d: Dialogue) -> None:
    areas = [d.socket().identity().area for _ in range(100)]
    assert areas.count(0) >= 40
    assert areas.count(1) >= 40


def test_other_programs_areas_are_left_alone(d: Dialogue) -> None:
    listener = d.listen(80)
    d.other_program(1)
    fill(d, listener, 40)
    while d.counter("no_slot") == 0:
        connect(d, 6000 + d.counter("established_total"))
    assert lib.nt_sim_host_area(d.host, 1).server.grant_tail == 16


def test_a_dead_program_leaves_nothing_in_any_area(d: Dialogue, listener: Socket) -> None:
    pairs = fill(d, listener, MANY)
    open_peer = connect(d, 7000)  # not accepted by anybody
    for area in (0, 1):
        asked = {"number": 7000 + area, "area": area, "kind": lib.NT_REQ_AREA_DEAD}
        assert lib.nt_sim_host_push_request(d.host, ffi.new("struct nt_request *", asked))
        d.run()
    for peer, _ in pairs:
        peer.expect(FIN | ACK)
        peer.send(FIN | ACK)
        peer.expect(ACK)
    open_peer.expect(RST | ACK)
    d.after(ms=1000)
    assert d.counter("tcbs_in_use") == 0


def test_a_socket_moves_to_any_of_a_programs_areas(d: Dialogue, listener: Socket) -> None:
    other = d.other_program(2)
    d.further_area(3, of=2)
    d.map_area(other, 3)
    peer, sock = fill(d, listener, 1)[0]
    who = sock.identity()
    named = {"area": who.area, "slot": who.slot, "generation": who.generation}
    first = d.request(lib.NT_REQ_MOVE, **named, arg=2)
    # Asked for again, after the requester has died: whichever area it names.
    again = d.request(lib.NT_REQ_MOVE, **named, arg=3)
    assert (again.error, again.area, again.slot) == (0, 2, first.slot)
    assert peer.port != 0
    assert sock.sock.type == socket.SOCK_STREAM
