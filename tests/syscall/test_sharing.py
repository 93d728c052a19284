"""Sockets that several programs hold, as the syscall server sees them: over fake transports."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import fake_transports as fake
import pytest
from fake_programs import Shim
from fake_sharing import Connect, Fork, attach, leave, listen, moves, named, take, tell_of
from newtos_py.servers.syscall import SERVER
from newtos_py.servers.syscall.control import ControlMessage, emit
from rs_world import World, until

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.region import open_region
from newtos_py.kernel.server import TCP
from newtos_py.rs.runtime import region_name

PROGRAMS = SERVER.counters.index("programs")


def test_a_child_takes_what_it_uses(world: World, shim: Shim, fork: Fork, placeholder: int) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    area = attach(child)
    answer = take(child, placeholder)
    assert (answer.error, answer.arg, answer.area) == (0, lib.NT_TAKEN_SLOT, area)
    assert (answer.slot, answer.generation) == (fake.MOVED_SLOT, fake.MOVED_GENERATION)
    assert take(child, placeholder).slot == fake.MOVED_SLOT
    assert moves(world) == (1, 1)


def test_a_child_without_an_area_is_told_to_attach(
    shim: Shim, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    answer = take(child, placeholder)
    assert (answer.error, answer.protocol) == (errno.ENOTCONN, TCP)


def test_the_last_to_leave_is_told_so(shim: Shim, fork: Fork, placeholder: int) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    grandchild = fork(child)
    assert leave(child, placeholder) == 0
    assert leave(grandchild, placeholder) == 0
    assert leave(shim, placeholder) == 1
    assert leave(shim, placeholder) == 1


def test_a_child_that_ends_holds_nothing(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    until(lambda: world.counter("syscall", PROGRAMS) == 2)
    child.connection.close()
    until(lambda: world.counter("syscall", PROGRAMS) == 1)
    assert leave(shim, placeholder) == 1


def test_only_what_is_listed_goes_along(shim: Shim, fork: Fork, placeholder: int) -> None:
    attach(shim)
    fork(shim, named(placeholder), shown=[placeholder])
    child = fork(shim, b"", lib.NT_TOKEN_ONLY)
    assert child.text(lib.NT_CTL_HELLO) == ["web"]
    with socket.socket(socket.AF_UNIX) as other:
        child = fork(shim, named(other.fileno()), lib.NT_TOKEN_ONLY, [other.fileno()])
        attach(child)
        assert take(child, other.fileno()).error == 0


def test_a_list_may_go_on_in_a_memory_file(shim: Shim, connect: Connect, placeholder: int) -> None:
    attach(shim)
    tell_of(shim, placeholder)
    listed = os.memfd_create("list")
    os.write(listed, named(placeholder))
    with token_with(shim, listed) as child:
        attach(child)
        assert take(child, placeholder).error == 0
        assert leave(shim, placeholder) == 0
    os.close(listed)
    reader, writer = os.pipe()  # never says anything
    stranger = connect()
    with (
        token_with(stranger, reader),
        pytest.raises(OSError, match=r"Connection reset|Broken pipe"),
    ):
        stranger.text(lib.NT_CTL_HELLO)
    os.close(reader)
    os.close(writer)
    assert shim.text(lib.NT_CTL_HELLO) == ["web"]


@contextmanager
def token_with(shim: Shim, listed: int) -> Iterator[Shim]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        shim.tell(lib.NT_CTL_TOKEN, theirs.fileno(), listed, arg=lib.NT_TOKEN_ONLY)
    with ours:
        yield Shim(ours)


def test_what_others_hold_outlives_its_program(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    shim.connection.close()
    until(lambda: world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 1)
    assert moves(world) == (1, 1)
    attach(child)
    assert take(child, placeholder).error == 0
    assert moves(world) == (2, 2)


def test_nobody_else_can_take_it(shim: Shim, placeholder: int) -> None:
    attach(shim)
    assert take(shim, placeholder).error == errno.EBADF


def test_a_kill_forgets_neither_tokens_nor_references(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    area = attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    grandchild = fork(child)
    world.kill("syscall")
    assert leave(child, placeholder) == 0
    world.kill("syscall")
    assert leave(shim, placeholder) == 0
    assert attach(grandchild) != area
    assert take(grandchild, placeholder).slot == fake.MOVED_SLOT
    world.kill("syscall")
    assert take(grandchild, placeholder).slot == fake.MOVED_SLOT
    assert leave(grandchild, placeholder) == 1
    assert moves(world) == (1, 1)


def test_a_move_that_the_server_died_over_is_finished(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    attach(child)
    world.tell("hold")
    child.send(lib.NT_CTL_TAKE, placeholder, protocol=TCP)
    world.kill("syscall")
    (world.root / "hold").unlink()
    answer = child.receive().message
    assert (answer.error, answer.slot) == (0, fake.MOVED_SLOT)


# A program that says who it is through its descriptor argv[1], and ends when its input does.
SAYS_WHO_IT_IS = """
import os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(connection, [bytes.fromhex(sys.argv[2])], [os.pidfd_open(os.getpid())])
sys.stdin.read()
"""


def test_a_program_that_ended_still_lets_its_children_in(
    world: World, shim: Shim, fork: Fork
) -> None:
    """A child without a token hands its own in through the connection that it inherited."""
    holder = fork(shim)
    hello = emit(ControlMessage(lib.NT_CTL_HELLO, 900, arg=1)).hex()
    number = holder.connection.fileno()
    command = [sys.executable, "-c", SAYS_WHO_IT_IS, str(number), hello]
    holder.number = 900
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[number]):
        assert holder.receive().message.error == 0
        attach(holder)
    until(lambda: world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 1)
    child = fork(holder, b"", lib.NT_TOKEN_ONLY)
    assert child.text(lib.NT_CTL_HELLO) == ["web"]
    attach(child)


def test_what_a_server_lost_with_its_memory_is_asked_again(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    """The last who holds a listening socket closes it, and TCP starts cold before it answers."""
    attach(shim)
    assert listen(shim) == 0
    child = fork(shim, named(placeholder), shown=[placeholder])
    leave(shim, placeholder)
    until(lambda: world.counter("tcp0", lib.NT_REQ_HOLD) == 1)
    world.tell("lose")
    child.send(lib.NT_CTL_LEAVE, text=named(placeholder))
    until(lambda: world.counter("tcp0", lib.NT_REQ_HOLD) == 2)
    lose_arena(world, "tcp0")
    (world.root / "lose").unlink()
    world.kill("tcp0")
    assert child.receive().message.arg == 1


def lose_arena(world: World, role: str) -> None:
    region = open_region(region_name(world.host().token, "web", f"arena.{role}"), writable=True)
    os.pwrite(region.descriptor, b"junk", 0)
    os.close(region.descriptor)
