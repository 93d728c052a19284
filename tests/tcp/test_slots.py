"""Slots, requests, and programs that die or write nonsense."""

import errno
import random
import socket

import pytest
from newtos_py.libc_shim.sockets.program import Socket
from newtos_py.servers.tcp.sockets import read_sockets

from newtos_py.kernel.server import Memory
from newtos_py.kernel.sockets import SocketState
from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, SYN, Dialogue, Peer, ffi, lib

ADDRESS = bytes(10) + b"\xff\xff"


def connected(d: Dialogue, port: int = 5000) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(port, to=80)
    peer.shake_hands()
    sock, _ = listener.accept()
    return sock, peer


def slot_state(d: Dialogue, slot: int) -> int:
    return int(lib.nt_sim_host_area(d.host, 0).slot_server[slot].state)


FREE, GRANTED, BROKEN = 0, 1, 6


def test_sockets_are_granted_in_time(d: Dialogue) -> None:
    socks = [d.socket() for _ in range(40)]
    slots = {sock.identity().slot for sock in socks}
    assert len(slots) == 40
    for sock in socks:
        sock.close()
    d.run()
    assert {slot_state(d, slot) for slot in slots} <= {FREE, GRANTED}


def test_all_slots_can_be_used_and_come_back(d: Dialogue) -> None:
    for _ in range(2):
        socks = [d.socket() for _ in range(lib.NT_SIM_SLOTS)]
        with pytest.raises(OSError, match=r"unavailable|buffer"):
            d.socket()
        for sock in socks:
            sock.close()
        d.run()


def test_a_slot_comes_back_when_all_is_acknowledged(d: Dialogue) -> None:
    sock, peer = connected(d)
    slot = sock.identity().slot
    sock.send(b"x" * 100)
    sock.close()
    peer.expect(ACK | PSH | FIN, 100)
    assert slot_state(d, slot) not in (FREE, GRANTED)
    peer.send(ACK, ack=101)  # the data, not the FIN
    assert slot_state(d, slot) == FREE
    assert d.counter("tcbs_in_use") == 1


def test_a_slot_with_bytes_under_way_waits_for_a_fence(d: Dialogue) -> None:
    sock, peer = connected(d)
    slot = sock.identity().slot
    generation = sock.identity().generation
    lib.nt_sim_host_hold_fences(d.host, True)
    sock.send(b"x" * 100)
    peer.expect(ACK | PSH, 100)
    peer.send(RST | ACK)
    sock.close()
    d.after(ms=450)
    held = [d.socket() for _ in range(30)]
    assert slot not in {other.identity().slot for other in held}
    assert d.counter("fences") >= 3  # sent again: one may get lost with IP
    lib.nt_sim_host_hold_fences(d.host, False)
    d.after(ms=150)
    for other in held:
        other.close()
    d.run()
    again = [d.socket() for _ in range(60)]
    found = [s.identity() for s in again if s.identity().slot == slot]
    assert found
    assert found[0].generation > generation


def test_bind_conflicts(d: Dialogue) -> None:
    one, two, three = d.socket(), d.socket(), d.socket()
    assert d.bind(one, 8080) == 0
    assert one.getsockname() == ("0.0.0.0", 8080)
    assert d.bind(two, 8080, "10.0.0.2") == errno.EADDRINUSE
    assert d.bind(two, 8081, "10.0.0.77") == errno.EADDRNOTAVAIL
    assert d.bind(two, 0) == 0
    port = two.getsockname()[1]
    assert 32768 <= port < 61000
    one.close()
    d.run()
    assert d.bind(three, 8080) == 0


def test_reuseaddr(d: Dialogue) -> None:
    one, two = d.socket(), d.socket()
    for sock in (one, two):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert d.bind(sock, 8080) == 0
    assert d.start_listening(one, 4) == 0
    assert d.start_listening(two, 4) == errno.EADDRINUSE


def test_a_server_comes_back_to_its_port(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.close()  # TIME-WAIT will be ours
    peer.expect(FIN | ACK)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    plain, careful = d.socket(), d.socket()
    careful.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for listener in list(d.program._sockets.values()):
        if listener not in (plain, careful):
            listener.close()
    d.run()
    assert d.bind(plain, 80) == errno.EADDRINUSE
    assert d.bind(careful, 80) == 0


def test_a_request_that_comes_again_is_answered_again(d: Dialogue) -> None:
    sock = d.socket()
    ident = sock.identity()
    asked = {
        "area": 0, "slot": ident.slot, "generation": ident.generation,
        "endpoint": {"addr": ADDRESS + bytes(4), "port": 0},
    }  # fmt: skip
    first = d.request(lib.NT_REQ_BIND, number=500, **asked)
    again = d.request(lib.NT_REQ_BIND, number=500, **asked)
    assert first.error == again.error == 0
    assert first.endpoint.port == again.endpoint.port != 0
    other = d.request(lib.NT_REQ_BIND, number=501, **asked)
    assert other.error == errno.EINVAL  # it is bound


def test_requests_about_what_is_not_there(d: Dialogue) -> None:
    for area, slot, generation in ((0, 5, 99), (0, 9999, 1), (1, 0, 1), (300, 0, 1), (65535, 0, 0)):
        fields = {"area": area, "slot": slot, "generation": generation}
        assert d.request(lib.NT_REQ_BIND, **fields).error == errno.EBADF
        assert d.request(lib.NT_REQ_LISTEN, **fields).error == errno.EBADF
        assert d.request(lib.NT_REQ_UNLISTEN, **fields).error == 0
    assert d.request(99).error == errno.ENOSYS
    assert d.request(lib.NT_REQ_AREA_NEW, area=7).error == errno.ENXIO
    assert d.request(lib.NT_REQ_AREA_DEAD, area=7).error == 0


def test_unlisten_answers_when_nobody_waits_any_more(d: Dialogue) -> None:
    listener = d.listen(80)
    peer = d.peer(5000, to=80)
    peer.shake_hands()
    ident = listener.identity()
    reply = d.request(
        lib.NT_REQ_UNLISTEN, area=0, slot=ident.slot, generation=ident.generation, number=900
    )
    assert (reply.number, reply.error) == (900, 0)
    peer.expect(RST | ACK)
    listener.close()
    d.run()
    assert slot_state(d, ident.slot) in (FREE, GRANTED)
    assert d.bind(d.socket(), 80) == 0


def test_a_program_dies(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.send(b"last words")
    unread = d.peer(5001, to=80)
    unread.shake_hands()  # nobody accepted it
    unread.send(ACK, b"hello")
    d.socket()
    assert lib.nt_sim_host_push_request(
        d.host,
        lib_request(kind=lib.NT_REQ_AREA_DEAD, number=1234),
    )
    d.run()
    assert d.reply() is None  # not yet drained
    unread.expect(RST | ACK)
    # The FIN goes with the data, or after them if these were under way already.
    if d.heard("10.0.0.3", 5000)[0].flags & FIN:
        peer.expect(ACK | PSH | FIN, b"last words")
    else:
        peer.expect(ACK | PSH, b"last words")
        peer.expect(FIN | ACK)
    peer.send(ACK)
    d.after(ms=5)
    reply = d.reply()
    assert reply is not None
    assert (reply.number, reply.kind) == (1234, lib.NT_REQ_AREA_DEAD)
    peer.send(FIN | ACK)
    peer.expect(ACK)
    d.run()
    assert d.counter("tcbs_in_use") == 0
    assert d.request(lib.NT_REQ_AREA_NEW, area=0).error == 0  # another program's


def lib_request(**fields: int) -> object:
    return ffi.new("struct nt_request *", fields)


@pytest.mark.parametrize("seed", range(3))
def test_a_program_that_scribbles_harms_only_itself(d: Dialogue, seed: int) -> None:
    """Random bytes over every slot block, queue flag and header that the program can write."""
    rng = random.Random(seed)
    sock, peer = connected(d)
    other = d.request(lib.NT_REQ_AREA_NEW, area=1)
    assert other.error == 0
    memory = d.memory(0, 0)
    hints = d.memory(0, 2)
    for _ in range(60):
        for _ in range(20):
            slot = rng.choice((sock.identity().slot, rng.randrange(64)))
            at = 20480 + slot * 128 + rng.randrange(0, 128, 4)
            value = rng.choice((0, 1, 0xFFFFFFFF, rng.getrandbits(32), rng.getrandbits(8)))
            if at % 128 != 16 or rng.random() < 0.1:  # mostly with a generation that counts
                memory[at : at + 4] = value.to_bytes(4, "little")
        memory[16:20] = rng.getrandbits(32).to_bytes(4, "little")  # grant_head
        hints[0:4] = b"\1\0\0\0"
        hints[64:80] = rng.randbytes(16)
        hints[128:160] = rng.randbytes(32)
        peer.send(ACK, b"x", seq=peer.seq)
        while d.heard("10.0.0.3", 5000):
            d.heard("10.0.0.3", 5000).popleft()
    d.after(ms=100)
    lib.nt_sim_host_push_request(d.host, lib_request(kind=lib.NT_REQ_AREA_DEAD, number=77))
    d.after(ms=300_000)
    assert d.reply() is not None
    d.after(ms=300_000)
    assert d.counter("tcbs_in_use") == 0


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 20_000), (0, 0xFFFFFFFF), (4, 1), (4, 0xFFFFFFF0), (8, 0xFFFFFFFF), (28, 0xFFFF)],
    ids=["tx_tail", "tx_tail-1", "rx_head", "rx_head-16", "tx_geometry", "queue"],
)
def test_impossible_cursors_break_the_socket(d: Dialogue, offset: int, value: int) -> None:
    sock, peer = connected(d)
    slot = sock.identity().slot
    memory = d.memory(0, 0)
    at = 20480 + slot * 128
    memory[at + offset : at + offset + 4] = value.to_bytes(4, "little")
    if offset == 8:
        memory[at : at + 4] = (8).to_bytes(4, "little")
    sock.shutdown(socket.SHUT_RD)  # sets the activity bit
    peer.expect(RST | ACK)
    area = lib.nt_sim_host_area(d.host, 0)
    assert slot_state(d, slot) == BROKEN
    assert area.slot_server[slot].error == errno.ECONNABORTED
    assert d.counted("bad_program", 1)
    assert d.counted("established_total", 1)


def test_a_cold_start_forgets_everything(d: Dialogue) -> None:
    sock, peer = connected(d)
    before = lib.nt_sim_host_area(d.host, 0).server.cold_starts
    d.restart(cold=True)
    assert lib.nt_sim_host_area(d.host, 0).server.cold_starts == before + 1
    assert d.request(lib.NT_REQ_AREA_NEW, area=0).error == 0
    peer.send(ACK, b"hello?")
    peer.expect(RST, seq=1)
    with pytest.raises(ConnectionResetError):
        sock.recv(10)
    sock.close()
    fresh = d.socket()
    assert d.bind(fresh, 80) == 0


def test_an_arena_of_nonsense_is_refused(d: Dialogue) -> None:
    connected(d)
    size = ffi_size()
    base = lib.nt_sim_host_arena(d.host, size)

    memory = ffi.buffer(ffi.cast("char *", base), size[0])
    memory[8:12] = b"\xff\xff\xff\xff"  # the layout's version
    assert lib.nt_sim_host_restart(d.host, False) != ffi.NULL
    assert lib.nt_sim_host_restart(d.host, True) == ffi.NULL


def ffi_size() -> object:
    return ffi.new("uint64_t *")


def test_keepalive(d: Dialogue) -> None:
    sock, peer = connected(d)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    d.after(ms=9_500)
    d.expect_nothing()
    d.after(ms=1_000)
    peer.expect(ACK, seq=0)
    peer.send(ACK)
    d.after(ms=12_000)
    peer.expect(ACK, seq=0)
    d.after(ms=20_000)
    peer.expect(ACK, seq=0)
    peer.expect(ACK, seq=0)
    peer.expect(RST | ACK)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT


def test_keepalive_probes_are_answered(d: Dialogue) -> None:
    _, peer = connected(d)
    peer.send(ACK, seq=0)
    peer.expect(ACK, seq=1, ack=1)


def test_loopback(d: Dialogue) -> None:
    """A host that talks to itself: what it sends is given back to it."""
    listener = d.listen(80)
    sock = d.socket()
    d.connect(sock, 80, address="127.0.0.1")
    port = sock.getsockname()[1]
    for _ in range(12):
        for queue in ((80, "127.0.0.1"), (port, "127.0.0.1")):
            waiting = d.heard(queue[1], queue[0])
            while waiting:
                d.deliver(waiting.popleft().pack("127.0.0.1", "127.0.0.1"))
        d.after(ms=2)
    accepted, address = listener.accept()
    assert address == ("127.0.0.1", port)
    sock.send(b"to myself")
    d.run()
    while d.heard("127.0.0.1", 80):
        d.deliver(d.heard("127.0.0.1", 80).popleft().pack("127.0.0.1", "127.0.0.1"))
    assert accepted.recv(100) == b"to myself"
    assert SYN


def test_observers_see_the_sockets(d: Dialogue) -> None:

    sock, peer = connected(d)
    peer.send(ACK, b"12345")
    sock.send(b"123")
    d.run()
    size = ffi_size()
    base = lib.nt_sim_host_arena(d.host, size)
    found = list(read_sockets(Memory(int(ffi.cast("uintptr_t", base)), size[0])))
    states = {info.state: info for info in found}
    assert set(states) == {SocketState.LISTEN, SocketState.ESTABLISHED}
    info = states[SocketState.ESTABLISHED]
    assert (info.recv_q, info.send_q, info.pid) == (5, 3, 77)
    assert (info.local.port, info.peer.port) == (80, 5000)
    assert info.internals is not None
    assert (info.internals.mss, info.internals.bytes_in_flight) == (1448, 3)
    assert list(read_sockets(Memory(int(ffi.cast("uintptr_t", base)), 64))) == []
