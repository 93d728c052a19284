"""The syscall server, as programs talk with it, over rs and fake transports."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import fake_transports as fake
import pytest
from fake_programs import Answer, Shim
from newtos_py.servers.syscall import SERVER
from newtos_py.servers.syscall.control import (
    MESSAGE_BYTES,
    ControlMessage,
    Endpoint,
    emit,
)
from rs_world import DEADLINE_S, World, until

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.doorbell import create_doorbell, drain
from newtos_py.kernel.region import RegionError, all_of, map_memory, unmap_memory
from newtos_py.kernel.server import TCP, UDP
from newtos_py.rs.process_id import send_signal, wait_for_exit

MAPPED_ANY = bytes(10) + b"\xff\xff" + bytes(4)
WEB = bytes(10) + b"\xff\xff" + ip_address("10.0.0.2").packed
PROGRAMS, REQUESTS = (SERVER.counters.index(name) for name in ("programs", "requests"))


def is_gone(shim: Shim) -> bool:
    try:
        return shim.connection.recv(MESSAGE_BYTES) == b""
    except ConnectionResetError:  # there was more that was not read
        return True


Connect = Callable[[], Shim]


# -- Names -------------------------------------------------------------------------------------


def test_hello_names_the_host(shim: Shim) -> None:
    assert shim.text(lib.NT_CTL_HELLO) == ["web"]


def test_resolve(shim: Shim) -> None:
    for name, address in (
        ("10.1.2.3", "10.1.2.3"),
        ("localhost", "127.0.0.1"),
        ("a.LocalHost", "127.0.0.1"),
        ("client", "10.0.0.3"),
        ("Web.", "10.0.0.2"),
    ):
        assert shim.text(lib.NT_CTL_RESOLVE, text=name.encode()) == [address]
    answer = shim.call(lib.NT_CTL_RESOLVE, text=b"no.such.host.invalid")
    assert answer.message.error == errno.ENOENT


def test_interfaces(shim: Shim) -> None:
    lines = shim.text(lib.NT_CTL_IFADDRS)
    assert lines[0] == f"lo 127.0.0.1/8 {0x49} 65535"
    assert re.fullmatch(f"lan 10.0.0.2/24 {0x1043} 1500 (..:){{5}}..", lines[1])
    assert len(lines) == 2


# -- Memory ------------------------------------------------------------------------------------


def attach(shim: Shim, protocol: int = TCP) -> Answer:
    answer = shim.call(lib.NT_CTL_ATTACH, protocol=protocol)
    assert answer.message.error == 0
    assert len(answer.descriptors) == 5
    return answer


def test_attach_hands_out_an_area_that_all_have_mapped(world: World, shim: Shim) -> None:
    answer = attach(shim)
    assert world.counter("tcp0", fake.MAPPED) == 1
    assert world.counter("tcp0", lib.NT_REQ_AREA_NEW) == 1
    assert world.counter("ip", 0) == world.counter("wire.lan", 0) == 1
    slots = answer.message.arg
    sizes = [
        lib.nt_area_program_bytes(slots), lib.nt_area_server_bytes(slots), lib.nt_area_hint_bytes()
    ]  # fmt: skip
    program, server, hint, doorbell, status = answer.descriptors
    memories = [
        map_memory(program, sizes[0], all_of(sizes[0])),
        map_memory(server, sizes[1]),
        map_memory(hint, sizes[2], all_of(sizes[2])),
    ]
    area = ffi.new("struct nt_area *")
    bases = [ffi.cast("void *", memory.address) for memory in memories]
    assert lib.nt_area_open(area, *bases, slots) == 0
    assert area.program.pid == os.getpid()
    for memory in memories:
        unmap_memory(memory)
    for read_only, size in ((server, sizes[1]), (status, lib.NT_PAGE)):
        with pytest.raises(RegionError):
            map_memory(read_only, size, all_of(size))
    os.eventfd_write(doorbell, 1)


def test_attaching_again_is_the_same_area(world: World, shim: Shim) -> None:
    areas = [attach(shim, protocol).message.area for protocol in (TCP, UDP, TCP)]
    assert areas == [0, 1, 0]
    assert world.counter("tcp0", fake.MAPPED) == world.counter("udp", fake.MAPPED) == 1


def test_a_program_attaches_one_area_after_the_other(world: World, shim: Shim) -> None:
    def ask(nth: int, **more: int) -> tuple[int, int]:
        message = shim.call(lib.NT_CTL_ATTACH, protocol=TCP, nth=nth, **more).message
        return message.error, message.area

    assert ask(1) == (errno.EINVAL, 0)
    assert [ask(0), ask(1), ask(2), ask(1)] == [(0, 0), (0, 1), (0, 2), (0, 1)]
    assert ask(0, lane=1) == (errno.EINVAL, 0)
    assert shim.call(lib.NT_CTL_ATTACH, protocol=TCP).message.lanes == 1
    assert world.counter("tcp0", fake.MAPPED) == 3
    # A name belongs to the area that is named beside the slot.
    bind = shim.call(lib.NT_CTL_BIND, protocol=TCP, area=2, slot=4, generation=1).message
    assert bind.error == 0
    assert shim.call(lib.NT_CTL_BIND, protocol=TCP, area=3, slot=4).message.error == errno.EBADF


def test_queues_reach_every_server_whatever_comes_first(world: World, shim: Shim) -> None:
    early, late = create_doorbell(), create_doorbell()
    assert shim.call(lib.NT_CTL_QUEUE, early, arg=1).message.error == 0
    attach(shim, TCP)
    assert shim.call(lib.NT_CTL_QUEUE, late, arg=2).message.error == 0
    # The fake rings what it is handed.
    assert (drain(early), drain(late)) == (1, 1)
    assert world.counter("tcp0", fake.QUEUES) == 2
    assert world.counter("udp", fake.QUEUES) == 0


def test_what_is_out_of_range_is_refused(shim: Shim) -> None:
    for queue in (256, 2**32 - 1):
        answer = shim.call(lib.NT_CTL_QUEUE, create_doorbell(), arg=queue)
        assert answer.message.error == errno.EINVAL
    for kind in (0, 99, 65535):
        assert shim.call(kind).message.error == errno.ENOSYS
    assert shim.call(lib.NT_CTL_BIND, protocol=TCP).message.error == errno.EBADF
    assert shim.call(lib.NT_CTL_LISTEN, protocol=UDP).message.error == errno.EOPNOTSUPP
    assert shim.call(lib.NT_CTL_ATTACH, protocol=1).message.error == errno.EPROTONOSUPPORT


# -- Names of sockets --------------------------------------------------------------------------


def test_bind_is_done_by_the_transport(world: World, shim: Shim) -> None:
    attach(shim)
    fields = {"protocol": TCP, "slot": 3, "generation": 7, "endpoint": Endpoint(WEB, 80)}
    answer = shim.call(lib.NT_CTL_BIND, **fields)
    assert (answer.message.error, answer.message.endpoint) == (0, Endpoint(WEB, 80))
    answer = shim.call(lib.NT_CTL_BIND, protocol=TCP, endpoint=Endpoint(MAPPED_ANY))
    assert answer.message.endpoint == Endpoint(MAPPED_ANY, fake.FREE_PORT)
    assert world.counter("tcp0", lib.NT_REQ_BIND) == 2


def test_listen_hands_out_a_region(world: World, shim: Shim) -> None:
    attach(shim)
    fields = {"protocol": TCP, "slot": 3, "generation": 7}
    answer = shim.call(lib.NT_CTL_LISTEN, arg=100, **fields)
    assert answer.message.error == 0
    ring, claims = answer.descriptors
    entries = answer.message.arg
    assert entries == 1024
    size = lib.nt_listener_ring_bytes(entries)
    with pytest.raises(RegionError):
        map_memory(ring, size, all_of(size))
    map_memory(claims, lib.nt_listener_claims_bytes(), all_of(lib.nt_listener_claims_bytes()))
    assert world.counter("tcp0", fake.LISTENERS) == 1
    # listen() on a listening socket is no second region.
    assert shim.call(lib.NT_CTL_LISTEN, arg=100, **fields).message.arg == 1024
    assert world.counter("tcp0", fake.LISTENERS) == 1
    assert shim.call(lib.NT_CTL_UNLISTEN, **fields).message.error == 0
    assert world.counter("tcp0", lib.NT_REQ_UNLISTEN) == 1
    assert world.counter("tcp0", fake.LISTENERS_GONE) == 1


def test_a_refused_listen_leaves_no_region(world: World, shim: Shim) -> None:
    attach(shim)
    answer = shim.call(lib.NT_CTL_LISTEN, protocol=TCP, slot=fake.BAD_SLOT, arg=1)
    assert (answer.message.error, answer.descriptors) == (errno.EADDRINUSE, [])
    assert world.counter("tcp0", fake.LISTENERS_GONE) == 1


# -- Programs that misbehave, or end -----------------------------------------------------------


def test_nonsense_ends_the_connection_and_nothing_else(shim: Shim, connect: Connect) -> None:
    hello = emit(ControlMessage(lib.NT_CTL_HELLO, 1))
    for data in (b"x", bytes(MESSAGE_BYTES), b"\xff" * MESSAGE_BYTES, hello[:-1]):
        other = connect()
        other.connection.send(data)
        assert is_gone(other)
    assert shim.text(lib.NT_CTL_HELLO) == ["web"]


def test_what_a_dead_program_had_is_unmapped_everywhere(
    world: World, shim: Shim, connect: Connect
) -> None:
    attach(shim, TCP)
    attach(shim, UDP)
    shim.call(lib.NT_CTL_LISTEN, protocol=TCP, slot=3)
    shim.connection.close()
    until(lambda: world.counter("syscall", PROGRAMS) == 0)
    for role in ("tcp0", "udp"):
        assert world.counter(role, lib.NT_REQ_AREA_DEAD) == 1
        assert world.counter(role, fake.UNMAPPED) == 1
    assert world.counter("tcp0", fake.LISTENERS_GONE) == 1
    assert world.counter("ip", 2) == world.counter("wire.lan", 2) == 2
    # Its numbers are free again.
    assert attach(connect(), TCP).message.area == 0


def test_programs_that_come_and_go_leave_nothing_open(world: World, connect: Connect) -> None:
    def come_and_go() -> list[int]:
        shim, bell = connect(), create_doorbell()
        for protocol in (TCP, UDP):
            close_all(attach(shim, protocol).descriptors)
        shim.call(lib.NT_CTL_QUEUE, bell, arg=1)
        close_all(shim.call(lib.NT_CTL_LISTEN, protocol=TCP, slot=3).descriptors)
        os.close(bell)
        shim.connection.close()
        until(lambda: world.counter("syscall", PROGRAMS) == 0)
        record = world.host()
        processes = (record.rs, *record.processes)
        return [len(list(Path(f"/proc/{each.pid}/fd").iterdir())) for each in processes]

    # The zygote may be forking its spare just now. What leaks grows each time; that does not.
    until(lambda: come_and_go() == come_and_go())


def test_a_process_that_ends_is_noticed_though_its_connection_lives(world: World) -> None:
    """Its child may have inherited the connection."""
    program = """
import socket, sys
from newtos_py.kernel._kernel import lib
from newtos_py.servers.syscall.control import ControlMessage, emit
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
connection.send(emit(ControlMessage(lib.NT_CTL_ATTACH, 1, protocol=6)))
connection.recv(4096)
handover = socket.socket(fileno=int(sys.argv[2]))
socket.send_fds(handover, [b"x"], [connection.fileno()])
"""
    ours, theirs = socket.socketpair()
    path = world.runtime.control_path(world.host().token, "web")
    command = [sys.executable, "-Pc", program, str(path), str(theirs.fileno())]
    subprocess.run(command, pass_fds=[theirs.fileno()], check=True, timeout=DEADLINE_S)
    with ours, theirs:
        _, (connection,), _, _ = socket.recv_fds(ours, 1, 1)
    until(lambda: world.counter("tcp0", lib.NT_REQ_AREA_DEAD) == 1)
    os.close(connection)


# -- Restarts ----------------------------------------------------------------------------------


def test_a_restarted_syscall_server_goes_on_with_its_programs(world: World, shim: Shim) -> None:
    attach(shim)
    fields = {"protocol": TCP, "slot": 3, "generation": 7}
    shim.call(lib.NT_CTL_LISTEN, arg=1, **fields)
    world.kill("syscall")
    assert shim.text(lib.NT_CTL_HELLO) == ["web"]
    assert attach(shim).message.area == 0
    assert world.counter("tcp0", fake.MAPPED) == 1
    assert shim.call(lib.NT_CTL_UNLISTEN, **fields).message.error == 0
    assert world.counter("tcp0", fake.LISTENERS_GONE) == 1
    shim.connection.close()
    until(lambda: world.counter("tcp0", fake.UNMAPPED) == 1)


def test_a_request_that_the_server_died_over_is_done_once(world: World, shim: Shim) -> None:
    attach(shim)
    world.tell("hold")
    before = world.counter("syscall", REQUESTS)
    shim.send(lib.NT_CTL_BIND, protocol=TCP, slot=3, endpoint=Endpoint(WEB, 80))
    until(lambda: world.counter("syscall", REQUESTS) > before)
    world.kill("syscall")
    world.kill("syscall")
    (world.root / "hold").unlink()
    assert shim.receive().message.endpoint == Endpoint(WEB, 80)
    assert world.counter("tcp0", lib.NT_REQ_BIND) == 1


def test_a_request_that_is_repeated_is_done_once(world: World, shim: Shim) -> None:
    attach(shim)
    world.tell("hold")
    fields = {"protocol": TCP, "slot": 3, "endpoint": Endpoint(WEB, 80)}
    shim.send(lib.NT_CTL_BIND, **fields)
    shim.send_again(lib.NT_CTL_BIND, **fields)
    (world.root / "hold").unlink()
    assert shim.receive().message.error == 0
    assert shim.text(lib.NT_CTL_HELLO) == ["web"]
    assert world.counter("tcp0", lib.NT_REQ_BIND) == 1


def test_a_program_that_ended_while_the_server_was_down_is_buried(world: World, shim: Shim) -> None:
    attach(shim)
    process = world.process("syscall")
    assert send_signal(process, signal.SIGSTOP)
    shim.connection.close()
    assert send_signal(process, signal.SIGKILL)
    assert wait_for_exit(process, DEADLINE_S)
    until(lambda: world.counter("tcp0", fake.UNMAPPED) == 1)


def test_a_request_outlives_a_restart_of_its_transport(world: World, shim: Shim) -> None:
    attach(shim)
    world.tell("hold")
    shim.send(lib.NT_CTL_BIND, protocol=TCP, slot=3, endpoint=Endpoint(WEB, 80))
    world.kill("tcp0")
    (world.root / "hold").unlink()
    assert shim.receive().message.error == 0


def test_listening_again_changes_the_backlog(shim: Shim) -> None:
    attach(shim)
    offset = ffi.offsetof("struct nt_listener_header", "backlog")
    for asked, found in ((5, 5), (511, 511), (0, 0), (4096, 1022)):
        answer = shim.call(lib.NT_CTL_LISTEN, protocol=TCP, slot=3, generation=7, arg=asked)
        assert answer.message.error == 0
        backlog = int.from_bytes(os.pread(answer.descriptors[0], 4, offset), sys.byteorder)
        assert backlog == found
