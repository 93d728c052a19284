"""The channels to a TCP or UDP server: requests down, replies up (request.h).

Requests are numbered; each is done exactly once, whoever dies. What makes it so:

* before a request is published, it is noted with rs, with the channel index that it will have. So
  a new generation of this server knows whether it had been published: its index then lies before
  the channel's tail, and its reply is still to come (the other server passes on exactly once);
* a reply is taken from the channel only after it has been noted, too. A new generation may read it
  a second time, and finds that it knows it.

Numbers of one generation never meet those of another: the upper bits are the generation.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from newtos_py.servers.syscall.control import Endpoint, read_endpoint, write_endpoint

from newtos_py.errors import NewtosError
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import Memory, ServerContext

DESC_BYTES: int = ffi.sizeof("struct nt_desc")
REQUEST_BYTES: int = ffi.sizeof("struct nt_request")
INDEX_MASK = 0xFFFFFFFF
# The one bell of each table.
_BELL = 0

# A cffi object.
_C = Any


class TransportError(NewtosError):
    """The channels are not what they should be: a bug, or another version."""


@dataclass(frozen=True, slots=True)
class Request:
    """The fields of struct nt_request."""

    number: int
    kind: int
    area: int
    slot: int = 0
    generation: int = 0
    arg: int = 0
    options: int = 0
    error: int = 0
    endpoint: Endpoint = field(default_factory=Endpoint)


class Transport:
    """Both channels with one server, and its doorbell."""

    def __init__(self, context: ServerContext, role: str) -> None:
        """TransportError if the context has no such channels."""
        channels = context.channels_with(role)
        self.role = role
        self._producer = ffi.new("struct nt_producer *")
        self._consumer = ffi.new("struct nt_consumer *")
        _open(lib.nt_producer_open, self._producer, channels.out, role)
        _open(lib.nt_consumer_open, self._consumer, channels.into, role)
        neighbour = context.neighbour(role)
        self._bells = ffi.new("struct nt_bells *")
        lib.nt_bells_init(self._bells)
        sleeping = ffi.cast("uint32_t *", neighbour.sleeping)
        lib.nt_bells_set(self._bells, _BELL, sleeping, neighbour.doorbell)
        self._unsent: deque[tuple[Request, Callable[[int], None]]] = deque()

    def was_published(self, index: int) -> bool:
        """Whether the request that got channel index `index` has been published."""
        behind: int = (self._producer.tail - index) & INDEX_MASK
        return 0 < behind <= INDEX_MASK // 2

    def send(self, request: Request, note: Callable[[int], None]) -> None:
        """Publish a request, as soon as there is room; `note` is told its index just before."""
        self._unsent.append((request, note))
        self.flush()

    def flush(self) -> None:
        """Publish what there was no room for."""
        while self._unsent and lib.nt_face_producer_room(self._producer, 1):
            request, note = self._unsent.popleft()
            note(self._producer.tail)
            slot = ffi.new("struct nt_desc *")
            slot.kind = lib.NT_DESC_REQUEST
            slot.inline_len = REQUEST_BYTES
            slot.check = lib.nt_face_desc_check(self._producer.tail)
            ffi.memmove(slot.data, to_bytes(request), REQUEST_BYTES)
            lib.nt_producer_push(self._producer, slot)
            lib.nt_face_bells_mark(self._bells, _BELL)
            lib.nt_bells_ring(self._bells)

    def receive(self, handle: Callable[[Request], None]) -> None:
        """Take all replies; each is off the channel once `handle` has returned."""
        while lib.nt_face_consumer_pending(self._consumer):
            slot = ffi.cast("const struct nt_desc *", lib.nt_face_consumer_slot(self._consumer))
            is_whole = (
                slot.kind == lib.NT_DESC_REPLY
                and slot.inline_len == REQUEST_BYTES
                and slot.check == lib.nt_face_desc_check(self._consumer.head)
            )
            if is_whole:
                handle(from_bytes(bytes(ffi.buffer(slot.data, REQUEST_BYTES))))
            self._consumer.head = (self._consumer.head + 1) & INDEX_MASK
            lib.nt_face_consumer_publish(self._consumer)

    def ring(self) -> None:
        """Wake the server: what a former generation published may not have been rung for."""
        lib.nt_bells_ring_all(self._bells)


def to_bytes(request: Request) -> bytes:
    """Write a struct nt_request."""
    raw = ffi.new("struct nt_request *")
    raw.number, raw.kind, raw.area = request.number, request.kind, request.area
    raw.slot, raw.generation = request.slot, request.generation
    raw.arg, raw.options, raw.error = request.arg, request.options, request.error
    write_endpoint(raw.endpoint, request.endpoint)
    return bytes(ffi.buffer(raw))


def from_bytes(data: bytes) -> Request:
    """Read a struct nt_request."""
    raw = ffi.from_buffer("struct nt_request *", data)
    return Request(
        raw.number,
        raw.kind,
        raw.area,
        raw.slot,
        raw.generation,
        raw.arg,
        raw.options,
        raw.error,
        read_endpoint(raw.endpoint),
    )


def _open(open_end: _C, end: _C, memory: Memory | None, role: str) -> None:
    if memory is None:
        raise TransportError(f"the syscall server lacks a channel with {role}")
    base = ffi.cast("void *", memory.address)
    if open_end(end, base, memory.bytes, DESC_BYTES) != 0:
        raise TransportError(f"the channel with {role} is no channel of this version")
