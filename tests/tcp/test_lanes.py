"""One of several TCP servers of a host: ports that lead back, and listening beside other lanes."""

import errno
from collections.abc import Callable

import pytest
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.net._net import ffi as net_ffi
from newtos_py.net._net import lib as net
from newtos_py.net.addr import pack
from newtos_py.sim.tcp_dialogue import ACK, FIN, OURS, RST, SYN, THEIRS, Dialogue, lib

ANY = bytes(10) + b"\xff\xff" + bytes(4)
Make = Callable[..., Dialogue]


def lane_of(d: Dialogue, port: int, remote_port: int) -> int:
    """Where segments of a connection of ours arrive."""
    config = net_ffi.new(
        "struct nt_steering_config *",
        {"kind": net.NT_STEERING_RSS, "lanes": d.steering.lanes, "key": d.steering.key},
    )
    steering = net_ffi.new("struct nt_steering *")
    net.nt_steering_init(steering, config)
    ends = net_ffi.from_buffer(pack(THEIRS)), net_ffi.from_buffer(pack(OURS))
    return net.nt_steering_lane(
        steering, net_ffi.new("struct nt_flow *", (*ends, remote_port, port))
    )


def connected(d: Dialogue, sock: Socket) -> int:
    d.connect(sock, 80)
    queue = next(queue for (_, port), queue in d._heard.items() if port == 80)
    return queue[-1].src_port


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_an_active_connection_gets_a_port_that_leads_back(make: Make, lanes: int) -> None:
    d = make(lanes=lanes)
    ports = [connected(d, d.socket()) for _ in range(12)]
    assert len(set(ports)) == 12
    assert {lane_of(d, port, 80) for port in ports} == {0}
    assert d.steered() == []


def bound_elsewhere(d: Dialogue) -> int:
    """A port from which a connection's answers arrive in another lane."""
    return next(port for port in range(4000, 4100) if lane_of(d, port, 80) != 0)


def test_who_named_its_port_is_found_by_exact_match(make: Make) -> None:
    d = make(lanes=2)
    sock = d.socket()
    port = bound_elsewhere(d)
    assert d.bind(sock, port) == 0
    assert connected(d, sock) == port
    assert d.steered() == [(port, THEIRS, 80, True)]
    peer = d.peer(80, to=port)
    peer.expect(SYN)
    peer.send(RST | ACK)
    assert d.steered() == [(port, THEIRS, 80, False)]


def test_time_wait_is_still_found(make: Make) -> None:
    d = make(lanes=2)
    sock = d.socket()
    port = bound_elsewhere(d)
    assert d.bind(sock, port) == 0
    d.connect(sock, 80)
    assert d.steered() == [(port, THEIRS, 80, True)]
    peer = d.peer(80, to=port)
    peer.expect(SYN)
    peer.send(SYN | ACK)
    sock.close()
    d.run()
    peer.send(FIN | ACK, ack=2)
    assert d.steered() == [], "it waits"
    d.after(ms=61_000)
    assert d.steered() == [(port, THEIRS, 80, False)]


def test_a_named_port_that_leads_here_needs_no_match(make: Make) -> None:
    d = make(lanes=2)
    sock = d.socket()
    port = next(port for port in range(4000, 4100) if lane_of(d, port, 80) == 0)
    assert d.bind(sock, port) == 0
    assert connected(d, sock) == port
    assert d.steered() == []


# -- Asked whether a segment is of a connection here ----------------------------------------


def test_what_no_connection_has_is_handed_back(make: Make) -> None:
    d = make(lanes=2)
    d.listen(80)
    lib.nt_sim_host_set_arg(d.host, lib.NT_PACKET_IF_YOURS | 1)
    for flags in (SYN, ACK, SYN | ACK, FIN | ACK):
        d.peer(5000, to=80).send(flags)
        d.peer(5000, to=80).expect_nothing()
    assert lib.nt_sim_host_not_mine(d.host) == 4
    assert lib.nt_sim_host_buffers_out(d.host) == 0
    lib.nt_sim_host_set_arg(d.host, 1)
    d.peer(5000, to=80).shake_hands()


def test_a_connection_takes_its_own(make: Make) -> None:
    d = make(lanes=2)
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    lib.nt_sim_host_set_arg(d.host, lib.NT_PACKET_IF_YOURS | 2)
    peer.send(ACK, b"hello")
    sock, _ = listener.accept()
    assert sock.recv(5) == b"hello"
    assert lib.nt_sim_host_not_mine(d.host) == 0


# -- Names, for another lane's sockets -------------------------------------------------------


def may_bind(d: Dialogue, port: int, options: int = 0) -> tuple[int, int]:
    reply = d.request(lib.NT_REQ_MAY_BIND, options=options, endpoint={"addr": ANY, "port": port})
    return reply.error, reply.endpoint.port


def test_another_lane_asks_before_it_binds(d: Dialogue) -> None:
    assert may_bind(d, 80) == (0, 80)
    listener = d.listen(80)
    assert may_bind(d, 80)[0] == errno.EADDRINUSE
    assert may_bind(d, 80, lib.NT_OPTION_REUSEPORT)[0] == errno.EADDRINUSE
    assert may_bind(d, 81) == (0, 81)
    listener.close()  # seen before the question is answered
    assert may_bind(d, 80) == (0, 80)


def test_a_lane_proposes_a_port(d: Dialogue) -> None:
    error, port = may_bind(d, 0)
    assert error == 0
    assert port >= 32768


# -- A socket that listens in another lane, too ----------------------------------------------


def listen_beside(d: Dialogue, number: int, port: int, area: int = 0) -> tuple[int, int, int]:
    if lib.nt_sim_host_listener_view(d.host, number).entries == 0:
        lib.nt_sim_host_listener(d.host, number, 8)
    reply = d.request(lib.NT_REQ_JOIN, area=area, arg=number, endpoint={"addr": ANY, "port": port})
    return reply.error, reply.slot, reply.generation


def test_a_listener_beside_another_lanes_takes_connections(d: Dialogue) -> None:
    error, slot, generation = listen_beside(d, 3, 80)
    assert error == 0
    assert listen_beside(d, 3, 80) == (0, slot, generation), "asked again"
    peer = d.peer(5000, to=80)
    peer.send(SYN)
    peer.expect(SYN | ACK)
    peer.send(ACK)
    region = lib.nt_sim_host_listener_view(d.host, 3)
    assert region.header.tail == 1
    assert region.entry[0].peer.port == 5000


def test_a_name_that_is_taken_here_can_not_listen_beside(d: Dialogue) -> None:
    d.listen(80)
    assert listen_beside(d, 3, 80)[0] == errno.EADDRINUSE
    assert listen_beside(d, 3, 81)[0] == 0


def test_it_ends_as_any_listener_does(d: Dialogue) -> None:
    error, slot, generation = listen_beside(d, 3, 80)
    assert error == 0
    reply = d.request(lib.NT_REQ_UNLISTEN, area=0, slot=slot, generation=generation)
    assert reply.error == 0
    d.peer(5000, to=80).send(SYN)
    d.peer(5000, to=80).expect(RST | ACK)
    assert may_bind(d, 80) == (0, 80)


@pytest.mark.parametrize("area", [3, 900])
def test_it_needs_an_area(d: Dialogue, area: int) -> None:
    assert listen_beside(d, 3, 80, area)[0] == errno.EBADF
