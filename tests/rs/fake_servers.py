"""Servers small enough to know by heart, for testing rs with: each is a step function in Python.

A fake answers every descriptor of the syscall server with the same one, its tag replaced by the
process's pid and its arg by how often it has answered so far, which it keeps in its arena. It
misbehaves if a file of one of these names is in the folder NEWTOS_FAKES: fail.ROLE (its start
fails), die.ROLE (its process ends), spin.ROLE (its first generation never comes back from a step).
The fake syscall server keeps one of everything for each program that connects.
"""

# ruff: noqa: ARG002 (a fake need not look at what it is handed)

import os
import socket
import time
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.doorbell import create_doorbell
from newtos_py.kernel.link import Link
from newtos_py.kernel.memfd import create_memfd
from newtos_py.kernel.server import (
    AreaMapping,
    ArenaUnusableError,
    Channels,
    ListenerMapping,
    Memory,
    PoolShape,
    ServerContext,
    ServerSpec,
)

DESC_BYTES = 192
POLL_NS = 1_000_000
ARENA_MAGIC = 0x46414B45
TCP_PROTOCOL = 6


def is_told_to(misbehave: str, role: str) -> bool:
    return (Path(os.environ["NEWTOS_FAKES"]) / f"{misbehave}.{role}").exists()


def cast(kind: str, memory: Memory) -> object:
    return ffi.cast(kind, memory.address)


class FakeServer:
    """A RunningServer that echoes what the syscall server sends."""

    def __init__(self, context: ServerContext) -> None:
        if is_told_to("fail", context.role):
            raise NewtosError("told to fail")
        self.context = context
        self.arena = cast("uint32_t *", context.arena)
        if self.arena[0] not in (0, ARENA_MAGIC):
            raise ArenaUnusableError("scribbled over")
        self.arena[0] = ARENA_MAGIC
        self.ends = [self._open(each) for each in context.channels if each.peer == "syscall"]
        self.status = cast("struct nt_status *", context.status)
        self.callbacks = (
            ffi.callback("uint32_t(void *, uint64_t, uint32_t)", self._step),
            ffi.callback("bool(void *)", lambda _: False),
            ffi.callback("uint64_t(void *)", lambda _: time.monotonic_ns() + POLL_NS),
        )
        self.engine = ffi.new("struct nt_engine *")
        self.engine.step, self.engine.has_work, self.engine.next_deadline = self.callbacks
        self.engine.status = self.status
        self.engine.device_fd = -1

    @property
    def engines(self) -> list[int]:
        return [int(ffi.cast("uintptr_t", self.engine))]

    def start(self) -> None:
        if is_told_to("die", self.context.role):
            os._exit(3)
        print(f"started as generation {self.context.generation}")

    def map_area(self, area: AreaMapping) -> None:
        """Show in counters how many areas there are, and which parts."""
        self.status.counter[0] += 1
        self.status.counter[1] += area.server is not None

    def unmap_area(self, number: int) -> None:
        self.status.counter[2] += 1

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        self.status.counter[3] += 1
        os.eventfd_write(doorbell, 1)

    def map_listener(self, listener: ListenerMapping) -> None:
        self.status.counter[4] += 1

    def unmap_listener(self, number: int) -> None:
        self.status.counter[5] += 1

    def _open(self, channels: Channels) -> tuple[object, object]:
        producer, consumer = ffi.new("struct nt_producer *"), ffi.new("struct nt_consumer *")
        out, into = channels.out, channels.into
        assert out is not None
        assert into is not None
        base = cast("void *", out)
        assert lib.nt_producer_open(producer, base, out.bytes, DESC_BYTES) == 0
        base = cast("void *", into)
        assert lib.nt_consumer_open(consumer, base, into.bytes, DESC_BYTES) == 0
        return producer, consumer

    def _step(self, _context: object, _now_ns: int, _budget: int) -> int:
        while is_told_to("spin", self.context.role) and self.context.generation == 1:
            pass
        done = 0
        slot = ffi.new("struct nt_desc *")
        for producer, consumer in self.ends:
            while lib.nt_consumer_pop(consumer, slot):
                self.arena[1] += 1
                slot.tag, slot.arg = os.getpid(), self.arena[1]
                lib.nt_producer_push(producer, slot)
                done += 1
        return done


def run_syscall(context: ServerContext, link: Link) -> None:
    """A syscall server that only keeps; each connection is answered when all is kept."""
    kept = 0
    while not isinstance(link.receive(), m.Start):
        kept += 1
    status = cast("struct nt_status *", context.status)
    status.counter[0] = kept
    status.state = lib.NT_SERVER_RUNNING
    link.send(m.Ready(cold=False))
    listening = socket.socket(fileno=context.control_fd)
    while True:
        program, _ = listening.accept()
        word = program.recv(100)
        for message in keep_all(program.fileno()) if word == b"keep" else drop_all():
            link.send(message)
            while not isinstance(link.receive(), m.Done):
                pass
        link.send(m.KeepNote("name", "text" if word == b"keep" else ""))
        program.send(b"done")


def keep_all(program: int) -> list[object]:
    sizes = (lib.nt_area_program_bytes(8), lib.nt_area_server_bytes(8), lib.nt_area_hint_bytes())
    parts = [Fd(create_memfd("area", size)) for size in sizes]
    ring = Fd(create_memfd("ring", lib.nt_listener_ring_bytes(8)))
    claims = Fd(create_memfd("claims", lib.nt_listener_claims_bytes()))
    bell = Fd(create_doorbell())
    return [
        m.KeepProgram(1, 7, os.getpid(), Fd(program), Fd(os.pidfd_open(os.getpid()))),
        m.KeepArea(2, 7, 0, TCP_PROTOCOL, 0, 0, 8, os.getpid(), *parts),
        m.KeepQueue(3, 7, 1, bell),
        m.KeepListener(4, 3, 0, 8, ring, claims),
    ]


def drop_all() -> list[object]:
    return [m.DropListener(5, 3), m.DropArea(6, 0), m.DropProgram(7, 7)]


def fake(name: str, *, pool: bool = False) -> ServerSpec:
    shape = PoolShape(small_count=8, large_count=2) if pool else None
    return ServerSpec(
        name, arena_bytes=4096, counters=("areas_mapped",), create=FakeServer, pool=shape
    )


WIRE = fake("wire", pool=True)
IP = fake("ip", pool=True)
UDP = fake("udp")
TCP = fake("tcp")
SYSCALL = ServerSpec("syscall", arena_bytes=0, counters=("kept",), run=run_syscall)
