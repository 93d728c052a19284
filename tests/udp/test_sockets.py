"""Datagram sockets: slots, names, sending, receiving, errors; the program played by the test."""

import errno

import pytest
from newtos_py.servers.udp.face import sockets

from newtos_py.kernel.sockets import SocketState
from newtos_py.sim import packets
from newtos_py.sim.packets import Ipv4
from newtos_py.sim.udp_lab import (
    ANY,
    AREA_DEAD,
    BIND,
    BROADCAST,
    BROADCAST_OK,
    CSUM_VALID,
    ICMP_ERROR,
    LISTEN,
    LOOPBACK,
    OUR,
    PEER,
    REUSEADDR,
    REUSEPORT,
    SLOTS,
    V6ONLY,
    Program,
    Received,
    UdpLab,
)

DNS = (PEER, 53)
BIG = b"x" * 1000


# -- Slots -----------------------------------------------------------------------------------


def test_slots_are_granted_when_a_program_attaches(program: Program) -> None:
    taken = [program.socket() for _ in range(SLOTS)]
    assert [sock.slot for sock in taken] == list(range(SLOTS))
    assert [sock.generation for sock in taken] == [1] * SLOTS


def test_closed_slots_come_back_with_a_new_generation(lab: UdpLab, program: Program) -> None:
    taken = [program.socket() for _ in range(SLOTS)]
    for sock in (taken[3], taken[1]):
        sock.close()
    lab.run()
    again = [program.socket(), program.socket()]
    assert [(sock.slot, sock.generation) for sock in again] == [(3, 2), (1, 2)]


def test_a_closed_sockets_port_is_free_at_once(lab: UdpLab, program: Program) -> None:
    program.socket().bound(port=53).close()
    lab.run()
    assert program.socket().bind(port=53).error == 0


def test_a_program_without_slots_is_told_of_new_ones(lab: UdpLab, program: Program) -> None:
    taken = [program.socket() for _ in range(SLOTS)]
    program.ready()
    taken[2].close()
    lab.run()
    assert program.ready() == {2}


def test_many_generations_of_a_slot(lab: UdpLab, program: Program) -> None:
    for _ in range(300):
        program.socket().bound(port=9).close()
        lab.run()
    assert lab.counter("closes") == 300


# -- Names -----------------------------------------------------------------------------------


def test_bind_answers_the_name(program: Program) -> None:
    reply = program.socket().bind(OUR, 5353)
    assert (reply.error, reply.addr, reply.port) == (0, OUR, 5353)


def test_bind_chooses_a_port(program: Program) -> None:
    ports = {program.socket().bind().port for _ in range(SLOTS)}
    assert len(ports) == SLOTS
    assert all(32768 <= port <= 60999 for port in ports)


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ((ANY, 0), (ANY, 0), errno.EADDRINUSE),
        ((ANY, 0), (OUR, 0), errno.EADDRINUSE),
        ((OUR, 0), (ANY, 0), errno.EADDRINUSE),
        ((OUR, 0), ("127.0.0.1", 0), 0),
        ((OUR, REUSEADDR), (OUR, REUSEADDR), 0),
        ((OUR, REUSEADDR), (OUR, 0), errno.EADDRINUSE),
        ((ANY, REUSEPORT), (ANY, REUSEPORT), 0),
        ((ANY, REUSEPORT), (ANY, REUSEADDR), errno.EADDRINUSE),
        (("::", V6ONLY), (ANY, 0), 0),
        (("::", 0), (ANY, 0), errno.EADDRINUSE),
    ],
)
def test_who_may_share_a_port(
    program: Program, first: tuple[str, int], second: tuple[str, int], error: int
) -> None:
    program.socket().bound(first[0], 99, first[1])
    assert program.socket().bind(second[0], 99, second[1]).error == error


def test_bind_refuses(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    assert sock.bind("10.0.0.77", 5).error == errno.EADDRNOTAVAIL
    assert sock.bind(OUR, 5).error == 0
    assert sock.bind(OUR, 6).error == errno.EINVAL
    assert lab.request(BIND, 0, slot=sock.slot, generation=sock.generation + 1).error == errno.EBADF
    assert lab.request(BIND, 0, slot=SLOTS + 5).error == errno.EBADF
    assert lab.request(BIND, 77).error == errno.EBADF
    assert (
        lab.request(LISTEN, 0, slot=sock.slot, generation=sock.generation).error == errno.EOPNOTSUPP
    )


def test_a_repeated_request_is_not_done_twice(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    first = lab.request(BIND, 0, slot=sock.slot, generation=sock.generation, number=900)
    again = lab.request(BIND, 0, slot=sock.slot, generation=sock.generation, number=900)
    assert first == again
    assert first.error == 0
    assert lab.counter("binds") == 1


def test_observers_see_bound_sockets(lab: UdpLab, program: Program) -> None:
    program.socket().bound(OUR, 53)
    other = program.socket()
    assert other.connect(DNS) == 0
    found = {info.local.port: info for info in sockets(lab.arena)}
    assert found[53].state is SocketState.CLOSED
    assert found[53].pid == 1000
    assert found[other.name()[1]].state is SocketState.ESTABLISHED
    assert found[other.name()[1]].peer.port == 53


# -- Sending ---------------------------------------------------------------------------------


def test_the_first_send_binds(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    sock.send(b"query", DNS)
    (sent,) = lab.sent()
    assert (sent.src, sent.dst, sent.payload) == ((OUR, sock.name()[1]), DNS, b"query")
    assert sock.name()[1] >= 32768


def test_small_datagrams_are_copied_and_free_at_once(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    lab.hold_fences = True
    for size in (0, 1, 92):
        sock.send(b"s" * size, DNS)
    assert [sent.referenced for sent in lab.sent()] == [False] * 3
    assert sock.server.tx_head == 3
    assert lab.fences == []


def test_large_ones_are_free_when_drivers_have_gathered_them(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    lab.hold_fences = True
    for _ in range(5):
        sock.send(BIG, DNS)
    assert [sent.referenced for sent in lab.sent()] == [True] * 5
    assert sock.server.tx_head == 0
    sock.send(b"small, but behind them", DNS)
    assert len(lab.sent()) == 1
    assert sock.server.tx_head == 0
    lab.pass_fences()
    lab.run(after_ms=1)
    assert sock.server.tx_head == 6


def test_a_busy_socket_frees_group_by_group(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    lab.hold_fences = True
    sock.send(BIG, DNS)
    lab.sent()
    (first,) = lab.fences
    for _ in range(3):
        sock.send(BIG, DNS)
        lab.sent()
    for each in lab.neighbours[:1]:
        lab.world.write(each.status, 192 + 64, first.to_bytes(8, "little"))
    lab.run(after_ms=1)
    assert sock.server.tx_head == 1
    lab.pass_fences()
    lab.run(after_ms=1)
    assert sock.server.tx_head == 4


def test_a_lost_fence_is_sent_again(lab: UdpLab, program: Program) -> None:
    lab.hold_fences = True
    program.socket().send(BIG, DNS)
    lab.sent()
    lab.run(after_ms=250)
    lab.descriptors()
    assert lab.fences == [lab.fences[0]] * 3
    assert lab.counter("fences_repeated") == 2


def test_fences_wait_for_every_driver() -> None:
    lab = UdpLab(drivers=2)
    sock = lab.program().socket()
    lab.hold_fences = True
    sock.send(BIG, DNS)
    lab.sent()
    status = lab.neighbours[0].status
    lab.world.write(status, 192 + 64, (9).to_bytes(8, "little"))
    lab.run(after_ms=1)
    assert sock.server.tx_head == 0
    lab.pass_fences()
    lab.run(after_ms=1)
    assert sock.server.tx_head == 1


def test_without_drivers_nothing_is_waited_for() -> None:
    lab = UdpLab(drivers=0)
    sock = lab.program().socket()
    for _ in range(3):
        sock.send(BIG, ("127.0.0.1", 9))
        assert len(lab.sent()) == 1
        lab.run(after_ms=1)
    assert sock.server.tx_head == 3


def test_a_closed_slot_with_ungathered_datagrams_is_kept(lab: UdpLab, program: Program) -> None:
    lab.hold_fences = True
    sock = program.socket()
    sock.send(BIG, DNS)
    sock.close()
    assert len(lab.sent()) == 1
    others = [program.socket().slot for _ in range(SLOTS - 1)]
    assert sock.slot not in others
    lab.pass_fences()
    lab.run(after_ms=1)
    assert program.socket().slot == sock.slot


def test_room_is_told_when_half_or_all_is_free(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound()
    lab.run()
    program.ready()
    events = int(sock.server.events)
    for _ in range(8):
        sock.send(b"few", DNS)
    lab.sent()
    assert sock.server.events == events
    for _ in range(9):
        sock.send(b"more than eight", DNS)
    lab.sent()
    assert sock.server.events > events
    assert program.ready() == {sock.slot}


def test_a_full_channel_to_ip_leaves_datagrams_in_the_ring(lab: UdpLab, program: Program) -> None:
    senders = [program.socket() for _ in range(SLOTS)]
    total = 0
    while total < 1100:
        for sock in senders:
            while sock.own.tx_tail - sock.server.tx_head < 60:
                sock.send(b"s", DNS)
                total += 1
        lab.runner.step(64)
        if all(sock.own.tx_tail - sock.server.tx_head == 60 for sock in senders):
            break
    sent = len(lab.sent())
    for _ in range(20):
        lab.run(after_ms=1)
        sent += len(lab.sent())
    assert sent == total
    assert all(sock.own.tx_tail == sock.server.tx_head for sock in senders)


@pytest.mark.parametrize(
    ("to", "error"),
    [
        (None, errno.EDESTADDRREQ),
        (("198.51.100.7", 9), errno.ENETUNREACH),
        (("fe80::1", 9), errno.ENETUNREACH),
        ((BROADCAST, 9), errno.EACCES),
    ],
)
def test_what_cannot_be_sent_is_an_error(
    lab: UdpLab, program: Program, to: tuple[str, int] | None, error: int
) -> None:
    sock = program.socket()
    sock.send(b"nowhere", to)
    assert sock.error() == error
    assert sock.error() == 0
    assert lab.sent() == []
    assert sock.server.tx_head == 1


def test_broadcast_with_leave(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(options=BROADCAST_OK)
    sock.send(b"all", (BROADCAST, 9))
    assert [sent.dst for sent in lab.sent()] == [(BROADCAST, 9)]


def test_the_bound_address_is_the_source(lab: UdpLab, program: Program) -> None:
    program.socket().bound(OUR, 7).send(b"x", ("10.9.1.1", 9))
    assert [sent.src for sent in lab.sent()] == [(OUR, 7)]


def test_a_datagram_can_name_its_source(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(ANY, 7)
    sock.send(b"x", ("127.0.0.1", 9), source="127.0.0.9")
    sock.send(b"y", ("127.0.0.1", 9))
    assert [sent.src for sent in lab.sent()] == [("127.0.0.9", 7), ("127.0.0.1", 7)]
    sock.send(b"z", ("127.0.0.1", 9), source=PEER)
    assert sock.error() == errno.EINVAL


def test_any_address_means_oneself(lab: UdpLab, program: Program) -> None:
    program.socket().send(b"x", (ANY, 9))
    (sent,) = lab.sent()
    assert (sent.src[0], sent.dst) == ("127.0.0.1", ("127.0.0.1", 9))


def test_ttl_is_passed_on(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    sock.send(b"x", DNS, ttl=3)
    sock.send(b"y", DNS)
    assert [sent.ttl for sent in lab.sent()] == [3, 64]


# -- Receiving -------------------------------------------------------------------------------


def test_a_datagram_arrives_with_its_names(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(port=53)
    program.ready()
    lab.deliver(b"hello", (OUR, 53), (PEER, 999))
    assert sock.receive() == [Received(b"hello", (PEER, 999), OUR)]
    assert program.ready() == {sock.slot}


def test_buffers_go_back_to_their_owners(lab: UdpLab, program: Program) -> None:
    program.socket().bound(port=53)
    for owner in (0, 1):
        for port in (53, 54):
            lab.deliver(b"hello", (OUR, port), owner=owner)
    lab.run()
    assert [owner.out for owner in lab.owners] == [0, 0]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1472, 60000])
def test_sizes(lab: UdpLab, program: Program, size: int) -> None:
    sock = program.socket().bound(port=53)
    payload = bytes(i % 251 for i in range(size))
    lab.deliver(payload, (OUR, 53))
    assert [got.payload for got in sock.receive()] == [payload]


def test_a_full_ring_drops(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(port=53)
    for number in range(70):
        lab.deliver(b"%d" % number, (OUR, 53))
        lab.run()
    assert lab.counter("rx_full") == 6
    assert [got.payload for got in sock.receive()] == [b"%d" % i for i in range(64)]
    lab.deliver(b"again", (OUR, 53))
    assert [got.payload for got in sock.receive()] == [b"again"]


def test_the_data_ring_wraps_without_harm(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(port=53)
    expected: list[bytes] = []
    for number in range(120):
        payload = bytes([number]) * (20000 + number)
        lab.deliver(payload, (OUR, 53))
        lab.run()
        expected.append(payload)
        if number % 7 == 6:
            assert [got.payload for got in sock.receive()] == expected
            expected.clear()
    assert lab.counter("rx_full") == 0


def test_large_datagrams_fill_the_data_before_the_slots(lab: UdpLab, program: Program) -> None:
    sock = program.socket().bound(port=53)
    for number in range(40):
        lab.deliver(bytes([number]) * 60000, (OUR, 53))
        lab.run()
    got = sock.receive()
    assert [one.payload[0] for one in got] == list(range(17))
    assert lab.counter("rx_full") == 40 - 17


def test_who_gets_a_datagram(lab: UdpLab, program: Program) -> None:
    """The better a socket fits, the rather it is the one."""
    anybody = program.socket().bound(ANY, 53, REUSEADDR)
    ours = program.socket().bound(OUR, 53, REUSEADDR)
    friend = program.socket().bound(OUR, 53, REUSEADDR)
    assert friend.connect((PEER, 1000)) == 0
    lab.deliver(b"from the friend", (OUR, 53), (PEER, 1000))
    lab.deliver(b"from a stranger", (OUR, 53), (PEER, 1001))
    lab.deliver(b"to localhost", ("127.0.0.1", 53), ("127.0.0.1", 7), flags=LOOPBACK | CSUM_VALID)
    assert [got.payload for got in friend.receive()] == [b"from the friend"]
    assert [got.payload for got in ours.receive()] == [b"from a stranger"]
    assert [got.payload for got in anybody.receive()] == [b"to localhost"]


def test_ipv6_to_oneself(lab: UdpLab, program: Program) -> None:
    """The socket takes an IPv6 name by its first datagram, and hears of both families."""
    sock = program.socket()
    sock.send(b"x", ("::1", 9))
    (sent,) = lab.sent()
    assert (sent.src[0], sent.dst) == ("::1", ("::1", 9))
    local = sock.name()
    assert local[0] == "::"
    lab.deliver_ipv6(b"six", ("::1", local[1]), ("::1", 9))
    lab.deliver(b"four", (OUR, local[1]))
    got = sock.receive()
    assert [(one.payload, one.peer[0]) for one in got] == [(b"six", "::1"), (b"four", PEER)]


def test_ipv6_is_not_for_sockets_of_ipv4(lab: UdpLab, program: Program) -> None:
    four, six = program.socket().bound(ANY, 53), program.socket().bound("::1", 54)
    assert six.connect(("::1", 53)) == 0
    lab.deliver_ipv6(b"x", ("::1", 53), ("::1", 54))
    assert four.receive() == []
    assert six.error() == errno.ECONNREFUSED
    assert lab.counter("no_port") == 1
    assert lab.icmp_sent() == []


def test_a_datagram_too_long_for_ipv6(program: Program) -> None:
    sock = program.socket()
    sock.send(bytes(65488), ("::1", 9))
    assert sock.error() == errno.EMSGSIZE
    sock.send(bytes(65487), ("::1", 9))
    assert sock.error() == 0


def test_reuseport_spreads_flows_and_keeps_each(lab: UdpLab, program: Program) -> None:
    group = [program.socket().bound(ANY, 53, REUSEPORT) for _ in range(4)]
    got: list[list[int]] = [[], [], [], []]
    for port in (*range(1, 33), *range(1, 33)):
        lab.deliver(b"x", (OUR, 53), (PEER, port), flow_hash=port * 0x12345671 % 2**32)
        for ports, sock in zip(got, group, strict=True):
            ports += [one.peer[1] for one in sock.receive()]
    assert sorted(port for ports in got for port in ports) == sorted([*range(1, 33)] * 2)
    assert all(len(ports) == 2 * len(set(ports)) for ports in got)
    assert min(len(ports) for ports in got) >= 4


def test_broadcasts_reach_all_who_listen(lab: UdpLab, program: Program) -> None:
    first = program.socket().bound(ANY, 67, REUSEADDR)
    second = program.socket().bound(ANY, 67, REUSEADDR)
    ours = program.socket().bound(OUR, 67, REUSEADDR)
    lab.deliver(b"to all", (BROADCAST, 67))
    assert [got.payload for got in first.receive()] == [b"to all"]
    assert [got.payload for got in second.receive()] == [b"to all"]
    assert ours.receive() == []


def test_a_broadcast_nobody_wants_is_not_answered(lab: UdpLab, program: Program) -> None:
    assert program.socket()
    lab.deliver(b"to all", (BROADCAST, 67))
    assert lab.icmp_sent() == []
    assert lab.counter("no_port") == 1


# -- ICMP ------------------------------------------------------------------------------------


def test_port_unreachable_is_answered(lab: UdpLab) -> None:
    lab.deliver(b"anybody?", (OUR, 53), (PEER, 999))
    ((to, message),) = lab.icmp_sent()
    assert to == (PEER, 0)
    assert message[:2] == bytes([3, 3])
    assert packets.checksum(message) == 0
    assert message[8 + 12 : 8 + 20] == packets.v4(PEER) + packets.v4(OUR)
    assert message[28:32] == (999).to_bytes(2, "big") + (53).to_bytes(2, "big")


def refuse(lab: UdpLab, local: tuple[str, int], peer: tuple[str, int], code: int = 3) -> None:
    quote = packets.ipv4(Ipv4(local[0], peer[0], packets.UDP, packets.udp(*local, *peer, b"")))
    message = packets.icmp(3, code, 0, quote)
    lab.deliver_packet(Ipv4(peer[0], local[0], packets.ICMP, message), kind=ICMP_ERROR)


@pytest.mark.parametrize(
    ("code", "error"),
    [(3, errno.ECONNREFUSED), (2, errno.ENOPROTOOPT), (4, errno.EMSGSIZE), (1, 0), (0, 0)],
)
def test_a_connected_socket_hears_of_errors(
    lab: UdpLab, program: Program, code: int, error: int
) -> None:
    sock = program.socket()
    assert sock.connect(DNS) == 0
    program.ready()
    refuse(lab, sock.name(), DNS, code)
    assert sock.error() == error
    assert (program.ready() == {sock.slot}) is (error != 0)


def test_others_do_not(lab: UdpLab, program: Program) -> None:
    unconnected = program.socket().bound(OUR, 5000)
    connected = program.socket()
    assert connected.connect(DNS) == 0
    refuse(lab, (OUR, 5000), DNS)
    refuse(lab, connected.name(), (PEER, 54))
    assert unconnected.error() == connected.error() == 0


def test_the_same_error_twice_is_two_errors(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    assert sock.connect(DNS) == 0
    for _ in range(2):
        refuse(lab, sock.name(), DNS)
        assert sock.error() == errno.ECONNREFUSED


# -- Connecting ------------------------------------------------------------------------------


def test_connect_names_both_ends(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    assert sock.connect(DNS) == 0
    assert sock.name()[0] == OUR
    sock.send(b"to the peer")
    assert [(sent.src, sent.dst) for sent in lab.sent()] == [(sock.name(), DNS)]


def test_a_connected_socket_hears_only_its_peer(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    assert sock.connect(DNS) == 0
    local = sock.name()
    lab.deliver(b"peer", local, DNS)
    lab.deliver(b"stranger", local, (PEER, 54))
    assert [got.payload for got in sock.receive()] == [b"peer"]
    assert lab.counter("no_port") == 1


def test_disconnect(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    assert sock.connect(DNS) == 0
    port = sock.name()[1]
    assert sock.connect(None) == 0
    lab.deliver(b"stranger", (OUR, port), (PEER, 54))
    assert [got.payload for got in sock.receive()] == [b"stranger"]
    sock.send(b"no peer")
    assert sock.error() == errno.EDESTADDRREQ


def test_connect_fails_without_a_route(program: Program) -> None:
    assert program.socket().connect(("198.51.100.1", 9)) == errno.ENETUNREACH


def test_what_was_sent_before_connect_goes_where_it_was_to_go(
    lab: UdpLab, program: Program
) -> None:
    sock = program.socket()
    sock.send(b"first", (PEER, 1))
    assert sock.connect((PEER, 2)) == 0
    sock.send(b"second")
    assert [(sent.payload, sent.dst[1]) for sent in lab.sent()] == [(b"first", 1), (b"second", 2)]


# -- The end ---------------------------------------------------------------------------------


def test_what_was_sent_before_close_is_sent(lab: UdpLab, program: Program) -> None:
    sock = program.socket()
    for number in range(40):
        sock.send(b"%d" % number, DNS)
    sock.close()
    assert [sent.payload for sent in lab.sent()] == [b"%d" % number for number in range(40)]


def test_a_dead_programs_sockets_are_closed(lab: UdpLab, program: Program) -> None:
    for port in range(1, 4):
        program.socket().bound(port=port)
    reply = lab.request(AREA_DEAD, program.number)
    assert reply.error == 0
    other = lab.program()
    assert other.socket().bind(port=2).error == 0
    again = lab.request(AREA_DEAD, program.number)
    assert again.error == 0


def test_a_dead_area_lives_until_its_datagrams_are_gathered(lab: UdpLab, program: Program) -> None:
    lab.hold_fences = True
    program.socket().send(BIG, DNS)
    lab.sent()
    assert lab.post(AREA_DEAD, program.number) == []
    lab.pass_fences()
    lab.run(after_ms=1)
    (reply,) = lab.replies()
    assert (reply.kind, reply.area, reply.error) == (AREA_DEAD, 0, 0)
    lab.server.unmap_area(program.number)
    lab.run()
