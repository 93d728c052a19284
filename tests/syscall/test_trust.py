"""What a program cannot do to the syscall server, or to others, by what it says about sockets."""

import errno
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import fake_transports as fake
import pytest
from fake_programs import Shim
from fake_sharing import (
    GENERATION,
    NAMED,
    SLOT,
    Connect,
    Fork,
    attach,
    leave,
    listen,
    moves,
    named,
    take,
)
from newtos_py.servers.syscall import SERVER
from newtos_py.servers.syscall.admission import UNNAMED_MAX
from newtos_py.servers.syscall.control import MESSAGE_BYTES, parse
from newtos_py.servers.syscall.shares import Named, Shares
from rs_world import World, until

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.server import TCP

PROGRAMS = SERVER.counters.index("programs")


def join(shim: Shim, listener: int) -> int:
    return shim.call(lib.NT_CTL_JOIN, protocol=TCP, slot=listener).message.error


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """Let this process have so many."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < count:
        pytest.skip(f"no more than {most} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def open_descriptors(world: World) -> int:
    return len(list(Path("/proc", str(world.process("syscall").pid), "fd").iterdir()))


def test_a_slot_beyond_the_area_is_no_socket(
    world: World, shim: Shim, fork: Fork, placeholder: int
) -> None:
    """Its block would lie among the program's own bytes, its activity bit among the server's."""
    area = attach(shim)
    inode = os.fstat(placeholder).st_ino
    child = fork(shim, NAMED.pack(inode, TCP, area, 200_000_000, 0), shown=[placeholder])
    generation = world.server("syscall").generation
    leave(shim, placeholder)
    leave(child, placeholder)
    assert world.server("syscall").generation == generation


def test_a_number_gives_nobody_what_another_holds(
    shim: Shim, connect: Connect, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    assert listen(shim) == 0
    child = fork(shim, named(placeholder), shown=[placeholder])
    attach(child)
    stranger = connect()
    area = attach(stranger)
    fork(stranger, named(placeholder, area))
    assert join(stranger, 0) == errno.EPERM
    assert join(child, 0) == 0


def test_a_listener_number_that_is_used_again_is_not_inherited(
    shim: Shim, connect: Connect, fork: Fork, placeholder: int
) -> None:
    attach(shim)
    assert listen(shim) == 0
    child = fork(shim, named(placeholder), shown=[placeholder])
    attach(child)
    shim.call(lib.NT_CTL_UNLISTEN, protocol=TCP, slot=SLOT, generation=GENERATION, arg=1)
    stranger = connect()
    assert listen(stranger, attach(stranger)) == 0
    assert join(child, 0) == errno.EPERM
    assert take(child, placeholder).arg == lib.NT_TAKEN_SLOT


def test_a_socket_that_listens_only_after_a_fork_is_joined(
    shim: Shim, fork: Fork, placeholder: int
) -> None:
    """bind(), daemon(), listen(), fork()."""
    attach(shim)
    child = fork(shim, named(placeholder), shown=[placeholder])
    attach(child)
    assert listen(shim) == 0
    assert take(child, placeholder).arg == lib.NT_TAKEN_LISTENER
    assert join(child, 0) == 0


def test_nobody_is_who_he_is_not(world: World, connect: Connect, fork: Fork) -> None:
    """A pid that is only said, or a pidfd of another's, would make one the pump, or end another."""
    parent = connect()
    attach(parent)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        stranger = fork(parent)
        with pytest.raises(OSError, match=r"Connection reset|Broken pipe"):
            stranger.call(lib.NT_CTL_HELLO, pidfd, arg=os.getpid())
        os.close(pidfd)
    attach(parent)
    assert world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 0


def test_one_that_speaks_for_another_ends_nobody(
    world: World, connect: Connect, fork: Fork
) -> None:
    """Two programs of one process, which know nothing of each other."""
    victim, stranger = fork(connect()), fork(connect())
    pidfd = os.pidfd_open(os.getpid())
    for shim in (victim, stranger):
        shim.call(lib.NT_CTL_HELLO, pidfd, arg=os.getpid())
    assert attach(victim) != attach(stranger)
    assert world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 0
    os.close(pidfd)


def test_a_file_is_no_process(world: World, shim: Shim, fork: Fork, tmp_path: Path) -> None:
    attach(shim)
    before = world.counter("syscall", PROGRAMS)
    with (tmp_path / "file").open("w") as file:
        child = fork(shim)
        with pytest.raises(OSError, match=r"Connection reset|Broken pipe"):
            child.call(lib.NT_CTL_HELLO, file.fileno(), arg=os.getpid())
    until(lambda: world.counter("syscall", PROGRAMS) == before)


def test_exec_ends_what_the_process_was(world: World, connect: Connect, fork: Fork) -> None:
    pidfd = os.pidfd_open(os.getpid())
    before = fork(connect())
    before.call(lib.NT_CTL_HELLO, pidfd, arg=os.getpid())
    attach(before)
    after = fork(before)
    after.call(lib.NT_CTL_HELLO, pidfd, arg=os.getpid())
    until(lambda: world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 1)
    os.close(pidfd)


def test_what_is_no_token_costs_nothing(world: World, shim: Shim) -> None:
    reader, writer = os.pipe()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        assert shim.text(lib.NT_CTL_HELLO) == ["web"]
        before = open_descriptors(world)
        for descriptor in (reader, other.fileno()) * 4:
            shim.tell(lib.NT_CTL_TOKEN, descriptor)
        assert shim.text(lib.NT_CTL_HELLO) == ["web"]
        until(lambda: open_descriptors(world) == before)
    os.close(reader)
    os.close(writer)


def test_a_file_of_that_inode_is_no_placeholder(shim: Shim, fork: Fork, tmp_path: Path) -> None:
    attach(shim)
    with (tmp_path / "file").open("w") as file:
        inode = os.fstat(file.fileno()).st_ino
        fork(shim, NAMED.pack(inode, TCP, 0, SLOT, GENERATION), shown=[file.fileno()])
        assert take(shim, file.fileno()).error == errno.EBADF


def test_the_place_of_a_program_that_ended_is_nobodys(
    world: World, shim: Shim, connect: Connect, fork: Fork, placeholder: int
) -> None:
    """What could not be kept is lost, and not what the next program has at that number."""
    area = attach(shim)
    inode = os.fstat(placeholder).st_ino
    child = fork(shim, NAMED.pack(inode, TCP, area, fake.BAD_SLOT, GENERATION), shown=[placeholder])
    attach(child)
    shim.connection.close()
    until(lambda: world.counter("syscall", PROGRAMS) == 1)
    assert moves(world) == (1, 0)
    assert attach(connect()) == area
    assert take(child, placeholder).error == errno.EBADF
    assert moves(world) == (1, 0)


def test_what_is_in_messages_is_counted_not_listed() -> None:
    """A program that sends a socket for ever, to itself or to nobody, makes nothing grow."""
    notes: dict[str, str] = {}
    shares = Shares(notes.__setitem__)
    shares.register(1, Named(77, TCP, 0, SLOT, GENERATION), None)
    shared = shares.find(77)
    assert shared is not None
    for _ in range(1000):
        shares.send(1, shared)
    assert max(len(text) for text in notes.values()) < 100
    restored = Shares(notes.__setitem__)
    for key, text in list(notes.items()):
        assert restored.restore(key, text)
    again = restored.find(77)
    assert again is not None
    for _ in range(1000):
        assert restored.is_held(again)
        restored.receive(again)
    assert not restored.is_held(again)


def test_nobody_names_what_he_does_not_have(
    shim: Shim, connect: Connect, fork: Fork, placeholder: int
) -> None:
    """A number that is guessed would keep the socket of that number from being shared."""
    attach(shim)
    stranger = connect()
    area = attach(stranger)
    with socket.socket(socket.AF_UNIX) as other:
        fork(stranger, named(placeholder, area))
        fork(stranger, named(placeholder, area), shown=[other.fileno()])
    assert stranger.text(lib.NT_CTL_HELLO) == ["web"]
    child = fork(shim, named(placeholder), shown=[placeholder])
    assert leave(child, placeholder) == 0
    assert leave(shim, placeholder) == 1


def test_who_leaks_tokens_is_refused_and_nobody_else(
    world: World, shim: Shim, connect: Connect, fork: Fork
) -> None:
    """Each costs the host a descriptor: there is an end, which the next child is told."""
    attach(shim)
    with descriptors(2 * UNNAMED_MAX):
        children = [fork(shim) for _ in range(UNNAMED_MAX + 1)]
    refused = parse(children[-1].connection.recv(MESSAGE_BYTES))
    assert (refused.kind, refused.error) == (lib.NT_CTL_REFUSED, errno.EMFILE)
    assert children[-1].connection.recv(1) == b""
    assert attach(shim) == attach(shim)
    assert fork(connect()).text(lib.NT_CTL_HELLO) == ["web"]
    before = world.counter("syscall", PROGRAMS)
    children[0].connection.close()
    until(lambda: world.counter("syscall", PROGRAMS) == before - 1)
    assert fork(shim).text(lib.NT_CTL_HELLO) == ["web"]


def test_a_process_that_leaks_connections_is_refused(connect: Connect) -> None:
    first = connect()
    for _ in range(100):
        last = connect()
    refused = parse(last.connection.recv(MESSAGE_BYTES))
    assert (refused.kind, refused.error) == (lib.NT_CTL_REFUSED, errno.EMFILE)
    assert first.text(lib.NT_CTL_HELLO) == ["web"]


def test_nobody_registers_more_than_he_can_have(world: World, shim: Shim, connect: Connect) -> None:
    attach(shim)
    slots = shim.call(lib.NT_CTL_ATTACH, protocol=TCP).message.arg
    with ExitStack() as sockets:
        sockets.enter_context(descriptors(slots + 1000))
        for _ in range(0, slots + 1, lib.NT_TOKEN_NEW_MAX):
            held = [
                sockets.enter_context(socket.socket(socket.AF_UNIX)).fileno()
                for _ in range(lib.NT_TOKEN_NEW_MAX)
            ]
            with suppress(ConnectionError):
                shim.tell(
                    lib.NT_CTL_TOKEN,
                    *held,
                    text=b"".join(named(each) for each in held),
                    arg=lib.NT_TOKEN_MORE,
                    options=len(held),
                )
    with pytest.raises(OSError, match=r"Connection reset|Broken pipe"):
        shim.text(lib.NT_CTL_HELLO)
    until(lambda: world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 1)
    assert connect().text(lib.NT_CTL_HELLO) == ["web"]
    # Nor is it much work to forget all of them: a server that seemed to spin was killed.
    assert world.server("syscall").generation == 1
