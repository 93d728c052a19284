"""TCP sockets over an area: connecting, data, ends and errors, as Linux answers them."""

import errno
import select
import socket

from newtos_py.libc_shim.sockets._sockets import ffi, lib

from .conftest import (
    BOUND,
    BROKEN,
    CLOSE,
    CONNECTING,
    DOORBELL,
    RESET,
    SHUT_RD,
    SHUT_WR,
    TAKEN,
    World,
    error_of,
)

IN = select.POLLIN | select.POLLRDNORM
OUT = select.POLLOUT | select.POLLWRNORM
HUP, ERR, RDHUP = select.POLLHUP, select.POLLERR, select.POLLRDHUP
PEER = ("10.0.0.2", 80)


def test_a_socket_takes_a_granted_slot(world: World) -> None:
    assert error_of(world.program.socket) == errno.EAGAIN
    assert world.tcp.area.hints.activity == 1
    sock = world.stream()
    mail = world.tcp.theirs(sock.identity().slot)
    assert mail.control == TAKEN
    assert mail.generation == world.tcp.generation == sock.identity().generation
    assert world.tcp.area.program.grant_head == 1


def test_what_socket_refuses(world: World) -> None:
    world.tcp.grant(3)
    assert error_of(lambda: world.program.socket(socket.AF_UNIX)) == errno.EAFNOSUPPORT
    raw = socket.SOCK_RAW
    assert error_of(lambda: world.program.socket(kind=raw)) == errno.EPERM
    assert error_of(lambda: world.program.socket(protocol=17)) == errno.EPROTONOSUPPORT


def test_connect_reports_as_linux_does(world: World) -> None:
    sock = world.stream()
    slot = sock.identity().slot
    assert sock.poll() == OUT | HUP
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    assert world.tcp.activity() == [slot]
    assert world.tcp.answer(slot) == PEER
    world.tcp.ours(slot).state = CONNECTING
    assert error_of(lambda: sock.connect(PEER)) == errno.EALREADY
    assert sock.poll() == 0
    assert error_of(lambda: sock.recv(1)) == errno.EAGAIN
    assert error_of(lambda: sock.send(b"x")) == errno.EAGAIN
    assert error_of(sock.getpeername) == errno.ENOTCONN
    world.tcp.connected(slot)
    assert sock.poll() == OUT
    assert sock.getpeername() == PEER
    assert sock.getsockname() == ("10.0.0.3", 40000)
    sock.connect(PEER)
    assert error_of(lambda: sock.connect(PEER)) == errno.EISCONN


def test_data_may_flow_before_connect_is_called_again(world: World) -> None:
    sock = world.stream()
    slot = sock.identity().slot
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    world.tcp.answer(slot)
    world.tcp.connected(slot)
    world.tcp.deliver(slot, b"hello")
    assert sock.recv(10) == b"hello"
    assert sock.send(b"answer") == 6
    assert world.tcp.acknowledge(slot) == b"answer"
    sock.connect(PEER)
    assert error_of(lambda: sock.connect(PEER)) == errno.EISCONN


def test_a_refused_connect_takes_a_fresh_slot(world: World) -> None:
    sock = world.stream()
    sock.set_queue(5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    slot = sock.identity().slot
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    world.tcp.answer(slot)
    world.tcp.broken(slot, errno.ECONNREFUSED)
    assert sock.poll() == IN | OUT | HUP | ERR | RDHUP
    assert error_of(lambda: sock.connect(PEER)) == errno.ECONNREFUSED
    assert sock.poll() == OUT | HUP
    assert error_of(lambda: sock.connect(PEER)) == errno.EAGAIN
    world.tcp.grant()
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    fresh = sock.identity().slot
    assert fresh != slot
    assert world.tcp.theirs(slot).control == TAKEN | CLOSE | RESET
    assert world.tcp.theirs(fresh).queue == 5
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_so_error_takes_the_error_of_a_refused_connect(world: World) -> None:
    sock = world.stream()
    slot = sock.identity().slot
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    world.tcp.broken(slot, errno.ECONNREFUSED)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert sock.poll() == IN | OUT | HUP | RDHUP
    assert error_of(lambda: sock.connect(PEER)) == errno.ECONNABORTED


def test_a_connect_refused_by_the_server_at_once(world: World) -> None:
    sock = world.stream()
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    world.tcp.answer(sock.identity().slot, errno.ENETUNREACH)
    assert error_of(lambda: sock.connect(PEER)) == errno.ENETUNREACH


def test_a_bound_socket_must_be_bound_again_after_a_failed_connect(world: World) -> None:
    sock = world.stream()
    local = sock.bind_check(("10.0.0.3", 5000))
    sock.bound(local)
    assert sock.getsockname() == ("10.0.0.3", 5000)
    assert error_of(lambda: sock.bind_check(("10.0.0.3", 5001))) == errno.EINVAL
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS
    world.tcp.broken(sock.identity().slot, errno.ECONNREFUSED)
    assert error_of(lambda: sock.connect(PEER)) == errno.ECONNREFUSED
    world.tcp.grant()
    assert error_of(lambda: sock.connect(PEER)) == errno.EDESTADDRREQ
    assert sock.bound_name() == local
    sock.bound(local)
    assert error_of(lambda: sock.connect(PEER)) == errno.EINPROGRESS


def test_data_then_end_of_file(world: World) -> None:
    sock, slot = world.connected()
    assert error_of(lambda: sock.recv(10)) == errno.EAGAIN
    assert sock.poll() == OUT
    world.tcp.deliver(slot, b"abcdef")
    assert sock.poll() == IN | OUT
    assert sock.rx_bytes() == 6
    assert sock.recv(4, socket.MSG_PEEK) == b"abcd"
    assert sock.recvv([1, 0, 3]) == [b"a", b"", b"bcd"]
    world.tcp.fin(slot)
    assert sock.poll() == IN | OUT | RDHUP
    assert sock.count(10, socket.MSG_TRUNC) == 2
    assert sock.recv(10) == b""
    assert sock.recv(10) == b""
    assert sock.send(b"still open") == 10
    assert world.tcp.acknowledge(slot) == b"still open"
    assert world.tcp.theirs(slot).rx_head == 6


def test_a_reset_is_reported_once(world: World) -> None:
    sock, slot = world.connected()
    world.tcp.deliver(slot, b"last words")
    world.tcp.broken(slot, errno.ECONNRESET)
    assert sock.poll() == IN | OUT | RDHUP | HUP | ERR
    assert sock.recv(100) == b"last words"
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET
    assert sock.recv(1) == b""
    assert error_of(lambda: sock.send(b"x")) == errno.EPIPE
    assert sock.poll() == IN | OUT | RDHUP | HUP
    assert error_of(lambda: sock.shutdown(socket.SHUT_WR)) == errno.ENOTCONN
    assert error_of(sock.getpeername) == errno.ENOTCONN


def test_a_reset_is_reported_by_send_too(world: World) -> None:
    sock, slot = world.connected()
    world.tcp.broken(slot, errno.ECONNRESET)
    assert error_of(lambda: sock.send(b"x")) == errno.ECONNRESET
    assert error_of(lambda: sock.send(b"x")) == errno.EPIPE


def test_shutdown(world: World) -> None:
    sock, slot = world.connected()
    assert sock.shutdown(socket.SHUT_WR) == 0
    assert world.tcp.theirs(slot).control == TAKEN | SHUT_WR
    assert world.tcp.activity() == [slot]
    assert error_of(lambda: sock.send(b"x")) == errno.EPIPE
    assert sock.poll() == OUT
    world.tcp.deliver(slot, b"more")
    assert sock.recv(9) == b"more"
    assert sock.shutdown(socket.SHUT_RD) == 0
    assert world.tcp.theirs(slot).control == TAKEN | SHUT_WR | SHUT_RD
    assert sock.recv(9) == b""
    assert sock.poll() == IN | OUT | HUP | RDHUP


def test_shutdown_of_what_is_not_connected(world: World) -> None:
    sock = world.stream()
    assert error_of(lambda: sock.shutdown(socket.SHUT_RDWR)) == errno.ENOTCONN
    assert error_of(lambda: sock.shutdown(7)) == errno.EINVAL


def test_use_of_what_is_not_connected(world: World) -> None:
    sock = world.stream()
    assert error_of(lambda: sock.recv(1)) == errno.ENOTCONN
    assert error_of(lambda: sock.send(b"x")) == errno.EPIPE
    assert error_of(sock.accept) == errno.EINVAL
    assert sock.getsockname() == ("0.0.0.0", 0)


def test_close_says_so_and_frees_the_object(world: World) -> None:
    sock, slot = world.connected()
    sock.close()
    assert world.tcp.theirs(slot).control == TAKEN | CLOSE
    assert world.tcp.activity() == [slot]


def test_close_with_linger_zero_resets(world: World) -> None:
    sock, slot = world.connected()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    sock.close()
    assert world.tcp.theirs(slot).control == TAKEN | CLOSE | RESET


def test_a_lingering_close_waits_for_its_fin(world: World) -> None:
    sock, slot = world.connected()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 5, 0, 0, 0]))
    assert sock.linger_ms() == 5000
    sock.shutdown(socket.SHUT_WR)
    assert not sock.drained()
    world.tcp.ours(slot).flags |= 2
    assert sock.drained()


def test_accept(world: World) -> None:
    sock, listener = world.listening()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert error_of(sock.accept) == errno.EAGAIN
    assert sock.poll() == 0
    slot = listener.offer(world.tcp, ("10.0.0.9", 1234))
    world.tcp.deliver(slot, b"early")
    assert sock.poll() == IN
    accepted, peer = sock.accept()
    assert peer == ("10.0.0.9", 1234)
    assert accepted.getpeername() == peer
    assert accepted.getsockname() == ("10.0.0.2", 80)
    assert accepted.recv(9) == b"early"
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert world.tcp.theirs(slot).control == TAKEN
    assert world.tcp.theirs(slot).generation == world.tcp.generation
    assert error_of(sock.accept) == errno.EAGAIN
    assert error_of(lambda: sock.recv(1)) == errno.ENOTCONN
    assert error_of(lambda: sock.connect(PEER)) == errno.EISCONN


def test_accept_passes_over_what_the_server_took_back(world: World) -> None:
    sock, listener = world.listening()
    gone = listener.offer(world.tcp, ("10.0.0.9", 1))
    world.tcp.ours(gone).generation += 1
    listener.offer(world.tcp, ("10.0.0.9", 2))
    assert sock.accept()[1] == ("10.0.0.9", 2)


def test_a_listening_socket_that_is_shut_down_stops_listening(world: World) -> None:
    sock, _ = world.listening()
    assert sock.shutdown(socket.SHUT_WR) == 0
    assert sock.shutdown(socket.SHUT_RD) == 1
    assert error_of(sock.accept) == errno.EINVAL


def test_ringing_only_if_the_server_sleeps(world: World) -> None:
    sock, _ = world.connected()
    world.rung.clear()
    sock.send(b"x")
    assert world.rung == []
    world.tcp.sleeping[0] = 1
    sock.send(b"x")
    assert world.rung == [DOORBELL]
    assert world.program.flush() == []


def test_a_cold_start_is_a_reset(world: World) -> None:
    sock, slot = world.connected()
    world.tcp.deliver(slot, b"lost")
    world.tcp.area.server.cold_starts += 1
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET
    assert sock.recv(1) == b""
    assert error_of(lambda: sock.send(b"x")) == errno.EPIPE


def test_impossible_cursors_cost_only_this_socket(world: World) -> None:
    sock, slot = world.connected()
    other, other_slot = world.connected()
    world.tcp.ours(slot).rx_tail = 1 << 20
    assert error_of(lambda: sock.recv(1)) == errno.EIO
    assert error_of(lambda: sock.send(b"x")) == errno.EIO
    assert sock.poll() == IN | OUT | ERR | HUP
    world.tcp.ours(other_slot).tx_head = 1
    assert error_of(lambda: other.send(b"x")) == errno.EIO
    third, slot = world.connected()
    world.tcp.ours(slot).rx_geometry = 63
    world.tcp.ours(slot).rx_tail = 1
    assert error_of(lambda: third.recv(1)) == errno.EIO


def test_sendfile_reads_into_the_ring(world: World) -> None:
    sock, slot = world.connected()
    assert sock.sendfile(b"contents") == 8
    assert world.tcp.unacknowledged(slot) == b"contents"
    assert sock.sendfile(bytes(100_000)) == 16384 - 8
    assert error_of(lambda: sock.sendfile(b"x")) == errno.EAGAIN


def test_msg_more_corks_until_a_send_without(world: World) -> None:
    sock, slot = world.connected()
    cork = 2
    sock.send(b"a", socket.MSG_MORE)
    assert world.tcp.theirs(slot).options & cork
    sock.send(b"b")
    assert not world.tcp.theirs(slot).options & cork
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.send(b"c")
    assert world.tcp.theirs(slot).options & cork


def test_the_server_hears_of_room_when_it_may_have_run_short(world: World) -> None:
    sock, slot = world.connected()
    world.tcp.deliver(slot, bytes(1000))
    sock.recv(1000)
    assert world.tcp.activity() == []
    world.tcp.deliver(slot, bytes(16384))
    sock.recv(2000)
    assert world.tcp.activity() == []
    sock.recv(3000)
    assert world.tcp.activity() == [slot]


def test_a_broken_slot_without_an_errno_is_a_reset(world: World) -> None:
    sock, slot = world.connected()
    world.tcp.ours(slot).state = BROKEN
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET


def test_disconnect(world: World) -> None:
    sock, slot = world.connected()
    assert error_of(lambda: sock.connect(None)) == errno.EAGAIN
    world.tcp.grant()
    sock.connect(None)
    assert world.tcp.theirs(slot).control == TAKEN | CLOSE | RESET
    assert sock.poll() == OUT | HUP | ERR
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET
    assert sock.poll() == OUT | HUP
    assert not world.tcp.ours(sock.identity().slot).flags & BOUND


def test_an_object_that_is_used_again_starts_afresh(world: World) -> None:
    sock, slot = world.connected()
    for name in (socket.SO_KEEPALIVE, socket.SO_RCVBUF, socket.SO_SNDBUF, socket.SO_OOBINLINE):
        sock.setsockopt(socket.SOL_SOCKET, name, 50_000)
    for _ in range(3):
        world.tcp.deliver(slot, bytes(16384))
        sock.recv(16384)
    sock.send(bytes(100))
    sock.shutdown(socket.SHUT_WR)
    world.tcp.broken(slot, errno.ECONNRESET)
    assert error_of(lambda: sock.recv(1)) == errno.ECONNRESET
    sock.close()
    world.tcp.grant(2)
    lib.nt_sock_create(world.program.context, sock.sock, 2, 1, 0, world.program.wake)
    fresh = world.stream()
    for field, _ in ffi.typeof("struct nt_sock").fields:
        if field in ("slot", "generation", "program", "server"):
            continue
        again, anew = getattr(sock.sock, field), getattr(fresh.sock, field)
        if isinstance(again, ffi.CData) and ffi.typeof(again).kind in ("struct", "array"):
            again, anew = (bytes(ffi.buffer(ffi.addressof(s.sock, field))) for s in (sock, fresh))
        assert again == anew, field
