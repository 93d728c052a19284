"""Sockets move from one program's area to another's (request.h: MOVE, MOVED)."""

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from moving import Mover
from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, FIN, PSH, RST, SYN, Dialogue, Peer, ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable

POLLIN, POLLOUT = 1, 4


@pytest.fixture
def mover(d: Dialogue) -> Mover:
    return Mover(d)


def accepted(d: Dialogue, port: int = 5000) -> tuple[Socket, Peer]:
    listener = d.listen(80)
    peer = d.peer(port, to=80)
    peer.shake_hands()
    sock, _ = listener.accept()
    sock.set_queue(lib.NT_SIM_QUEUE)
    return sock, peer


def slot_state(d: Dialogue, area: int, slot: int) -> int:
    return int(lib.nt_sim_host_area(d.host, area).slot_server[slot].state)


FREE, GRANTED = 0, 1


def test_a_connection_goes_on_elsewhere(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    old = sock.identity().slot
    peer.send(ACK, b"read this")
    assert sock.recv(5) == b"read "
    sock.send(b"sent before")
    peer.expect(ACK | PSH, b"sent before")
    peer.send(ACK)
    moved = mover.move(sock)
    assert moved.recv(20) == b"this"
    moved.send(b"sent after")
    peer.expect(ACK | PSH, b"sent after")
    peer.send(ACK, b"more")
    assert moved.recv(20) == b"more"
    assert moved.getpeername() == ("10.0.0.3", 5000)
    assert moved.getsockname() == ("10.0.0.2", 80)
    d.after(ms=5)
    assert slot_state(d, 0, old) in (FREE, GRANTED)
    peer.expect(ACK)
    moved.close()
    peer.expect(FIN | ACK)
    assert d.counted("moves", 1)


def test_bytes_that_were_not_acknowledged_are_sent_again_from_there(
    d: Dialogue, mover: Mover
) -> None:
    sock, peer = accepted(d)
    sock.send(b"x" * 3000)
    peer.expect(ACK, 1448)
    peer.expect(ACK, 1448)
    peer.expect(ACK | PSH, 104)
    moved = mover.move(sock)
    peer.send(ACK, ack=1 + 1448)
    d.after(ms=1500)
    again = peer.expect(ACK, 1448, seq=1 + 1448)
    assert again.data == b"x" * 1448
    peer.send(ACK, ack=3001)
    d.run()
    moved.send(b"y")
    d.run()
    assert d.heard("10.0.0.3", 5000)[-1].data == b"y"


def test_bytes_that_wait_for_a_window_go_with_it(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    peer.send(ACK, window=0)
    sock.send(b"held back")
    d.run()
    moved = mover.move(sock)
    moved.send(b", then this")
    peer.send(ACK, window=1000)
    peer.send(ACK, ack=10, window=1000)
    d.after(ms=1)
    said = b"".join(segment.data for segment in d.heard("10.0.0.3", 5000))
    assert said == b"held back, then this"


def test_what_came_out_of_order_goes_along(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    peer.send(ACK, b"ab")
    peer.send(ACK, b"efg", seq=5)
    moved = mover.move(sock)
    peer.send(ACK, b"cd", seq=3)
    assert moved.recv(20) == b"abcdefg"


def test_life_goes_on_between_the_steps(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    sock.send(b"question")
    peer.expect(ACK | PSH, b"question")
    mover.begin(sock)
    peer.send(ACK, b"answer")
    peer.send(ACK, b"gap", seq=20)
    mover.copy(sock)
    peer.send(FIN | ACK, b" and bye", seq=7)
    moved = mover.finish(sock)
    assert moved.recv(20) == b"answer and bye"
    assert moved.recv(20) == b""
    peer.send(ACK, ack=9, seq=16)
    moved.send(b"bye")
    d.run()
    assert d.heard("10.0.0.3", 5000)[-1].data == b"bye"


def test_a_reset_between_the_steps_is_reported(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    mover.begin(sock)
    peer.send(RST | ACK)
    mover.copy(sock)
    moved = mover.finish(sock)
    with pytest.raises(ConnectionResetError):
        moved.recv(1)


def test_who_slept_on_the_old_slot_is_told(d: Dialogue, mover: Mover) -> None:
    sock, _ = accepted(d)
    d.queue.collect()
    mover.begin(sock)
    assert sock in d.queue.collect()


def test_a_half_closed_connection(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    sock.shutdown(socket.SHUT_WR)
    peer.expect(FIN | ACK)
    peer.send(ACK, b"the rest")
    moved = mover.move(sock)
    assert moved.recv(20) == b"the rest"
    with pytest.raises(BrokenPipeError):
        moved.send(b"no")
    peer.send(FIN | ACK)
    assert moved.recv(20) == b""


def test_a_connection_that_is_being_made(d: Dialogue, mover: Mover) -> None:
    sock = d.socket()
    d.connect(sock, 80)
    peer = Peer(d, 80, sock.getsockname()[1])
    peer.expect(SYN, seq=0)
    moved = mover.move(sock)
    peer.send(SYN | ACK)
    assert moved.poll() & POLLOUT
    moved.send(b"hello")
    d.after(ms=2)
    assert d.heard("10.0.0.3", 80)[-1].data == b"hello"


def test_bound_sockets_and_fresh_ones(d: Dialogue, mover: Mover) -> None:
    bound, fresh = d.socket(), d.socket()
    assert d.bind(bound, 8080) == 0
    moved = mover.move(bound)
    assert moved.getsockname() == ("0.0.0.0", 8080)
    assert d.start_listening(moved, 4) == 0
    other = mover.move(fresh)
    assert d.bind(other, 8080) == errno.EADDRINUSE
    assert d.bind(other, 8081) == 0


def test_a_listening_socket(d: Dialogue, mover: Mover) -> None:
    listener = d.listen(80)
    waiting = d.peer(5000, to=80)
    waiting.shake_hands()
    waiting.send(ACK, b"early")
    mover.begin(listener)
    slot, generation = mover.targets[listener]
    reply = d.request(lib.NT_REQ_MOVED, area=1, slot=slot, generation=generation)
    assert reply.error == 0
    region = listener.sock.listener
    moved = mover.other.joined(1, slot, generation)
    shim_listening(moved, region)
    d.program.abandon(listener)
    d.run()
    late = d.peer(5001, to=80)
    late.shake_hands()
    socks = [moved.accept()[0] for _ in range(2)]
    d.run()
    assert sorted(sock.recv(9) if sock.poll() & POLLIN else b"" for sock in socks) == [
        b"",
        b"early",
    ]


def shim_listening(sock: Socket, region: object) -> None:
    from newtos_py.libc_shim.sockets._sockets import lib as shim_lib  # noqa: PLC0415

    shim_lib.nt_sock_listening(sock.sock, region)


def test_asking_twice_is_asking_once(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    mover.begin(sock)
    again = mover.ask(sock)
    assert (again.error, again.area) == (0, 1)
    assert (again.slot, again.generation) == mover.targets[sock]
    mover.copy(sock)
    moved = mover.finish(sock)
    slot, generation = mover.targets[sock]
    assert d.request(lib.NT_REQ_MOVED, area=1, slot=slot, generation=generation).error == 0
    peer.send(ACK, b"x")
    assert moved.recv(1) == b"x"
    assert mover.ask(sock).error == errno.EBADF


@pytest.mark.parametrize("step", ["begun", "copied"])
def test_the_new_program_dies_on_the_way(d: Dialogue, mover: Mover, step: str) -> None:
    sock, peer = accepted(d)
    old = sock.identity().slot
    mover.begin(sock)
    if step == "copied":
        mover.copy(sock)
    push_death(d, 1)
    peer.expect(RST | ACK)
    slot, generation = mover.targets[sock]
    reply = d.request(lib.NT_REQ_MOVED, area=1, slot=slot, generation=generation)
    assert reply.error in (0, errno.EBADF) or reply.kind == lib.NT_REQ_AREA_DEAD
    d.program.abandon(sock)
    d.after(ms=5)
    assert slot_state(d, 0, old) in (FREE, GRANTED)
    assert d.counted("tcbs_in_use", 1) or d.counted("tcbs_in_use", 0)


def test_the_old_program_dies_on_the_way(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    peer.send(ACK, b"kept")
    mover.begin(sock)
    push_death(d, 0)
    mover.copy(sock)
    slot, generation = mover.targets[sock]
    assert lib.nt_sim_host_push_request(
        d.host,
        ffi.new(
            "struct nt_request *",
            {"kind": lib.NT_REQ_MOVED, "number": 800, "area": 1, "slot": slot,
             "generation": generation},
        ),
    )  # fmt: skip
    d.after(ms=5)
    kinds = {d.reply().kind for _ in range(2)}
    assert kinds == {lib.NT_REQ_MOVED, lib.NT_REQ_AREA_DEAD}
    moved = mover.other.resumed(sock, 1, slot, generation)
    assert moved.recv(10) == b"kept"
    peer.send(ACK, b"and more")
    assert moved.recv(10) == b"and more"


def push_death(d: Dialogue, area: int) -> None:
    request = ffi.new(
        "struct nt_request *", {"kind": lib.NT_REQ_AREA_DEAD, "number": 700 + area, "area": area}
    )
    assert lib.nt_sim_host_push_request(d.host, request)
    d.run()


def test_a_slot_that_was_left_waits_for_a_fence(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    old = sock.identity().slot
    sock.send(b"under way")
    lib.nt_sim_host_hold_fences(d.host, True)
    peer.expect(ACK | PSH, b"under way")
    moved = mover.move(sock)
    d.after(ms=150)
    taken = [d.socket() for _ in range(30)]
    assert old not in {other.identity().slot for other in taken}
    lib.nt_sim_host_hold_fences(d.host, False)
    d.after(ms=150)
    assert slot_state(d, 0, old) in (FREE, GRANTED)
    peer.send(ACK, b"fine")
    assert moved.recv(4) == b"fine"


@pytest.mark.parametrize("wrong", ["area", "slot", "generation", "target", "closed", "waiting"])
def test_what_cannot_be_moved(d: Dialogue, wrong: str) -> None:
    d.other_program(1)
    sock, _ = accepted(d)
    name = sock.identity()
    asked = {"area": 0, "slot": name.slot, "generation": name.generation, "arg": 1}
    changes: dict[str, Callable[[], None]] = {
        "area": lambda: asked.update(area=200),
        "slot": lambda: asked.update(slot=name.slot + 1),
        "generation": lambda: asked.update(generation=name.generation + 1),
        "target": lambda: asked.update(arg=2),
        "closed": sock.close,
        "waiting": lambda: d.peer(5001, to=80).shake_hands(),
    }
    changes[wrong]()
    if wrong == "waiting":
        entry = next(iter(d.regions())).entry[1]
        asked.update(slot=entry.slot, generation=entry.generation)
    assert d.request(lib.NT_REQ_MOVE, **asked).error == errno.EBADF


def test_a_full_area_takes_no_more(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    taken = []
    while True:
        try:
            taken.append(mover.other.socket())
        except BlockingIOError:
            d.run()
            try:
                taken.append(mover.other.socket())
            except BlockingIOError:
                break
    assert mover.ask(sock).error == errno.ENOBUFS
    peer.send(ACK, b"still here")
    assert sock.recv(20) == b"still here"


def test_cursors_that_cannot_be_cost_the_connection(d: Dialogue, mover: Mover) -> None:
    sock, peer = accepted(d)
    peer.send(ACK, b"abc")
    mover.begin(sock)
    mover.copy(sock)
    slot, _ = mover.targets[sock]
    mover.other.context.area[0].view.slot_program[slot].rx_head = 17
    moved = mover.finish(sock)
    peer.expect(RST | ACK)
    with pytest.raises(OSError, match="Input/output"):
        moved.recv(1)


def test_a_slot_that_was_left_is_free_whatever_arrives_where_it_went(
    d: Dialogue, mover: Mover
) -> None:
    """The slot that its socket went to is used again, by another that is just arriving."""
    sock, _ = accepted(d)
    fresh = d.socket()
    left = fresh.identity().slot
    mover.begin(fresh)
    mover.copy(fresh)
    moved = mover.finish(fresh)
    there = moved.identity().slot
    moved.close()
    d.run()
    mover.begin(sock)
    assert mover.targets[sock][0] == there or d.crashes
    d.program.abandon(fresh)
    d.after(ms=5)
    mover.copy(sock)
    mover.finish(sock)
    d.after(ms=5)
    assert left in slots_to_be_had(d)


def slots_to_be_had(d: Dialogue) -> set[int]:
    slots = set()
    with suppress(BlockingIOError):
        while True:
            slots.add(d.socket().identity().slot)
    return slots
