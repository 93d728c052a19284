"""A fake TCP (or UDP) server that answers requests of the real syscall server, and counts them.

status.counter: requests handled by kind (index), areas mapped (10), listeners mapped (11), queues
(12), areas unmapped (13), listeners unmapped (14). BIND to port 0 gives port 40000; LISTEN on slot
99 fails with EADDRINUSE. MOVE answers slot 50, generation 500; of slot 99 it fails with EBADF.
While a file "hold" is in the folder NEWTOS_FAKES, nothing is taken; while "lose" is there, nothing
that is taken is answered.
"""

# ruff: noqa: ARG002 (a fake need not look at what it is handed)

import errno
import os
from pathlib import Path

from fake_servers import DESC_BYTES, FakeServer

from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.server import AreaMapping, ListenerMapping, ServerSpec

MAPPED, LISTENERS, QUEUES, UNMAPPED, LISTENERS_GONE = range(10, 15)
FREE_PORT = 40000
BAD_SLOT = 99
MOVED_SLOT, MOVED_GENERATION = 50, 500
REQUEST_BYTES = ffi.sizeof("struct nt_request")


class FakeTransport(FakeServer):
    """A transport without sockets."""

    def map_area(self, area: AreaMapping) -> None:
        assert area.server is not None
        self.status.counter[MAPPED] += 1

    def unmap_area(self, number: int) -> None:
        self.status.counter[UNMAPPED] += 1

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        self.status.counter[QUEUES] += 1
        os.eventfd_write(doorbell, 1 + area)

    def map_listener(self, listener: ListenerMapping) -> None:
        self.status.counter[LISTENERS] += 1

    def unmap_listener(self, number: int) -> None:
        self.status.counter[LISTENERS_GONE] += 1

    def _step(self, _context: object, _now_ns: int, _budget: int) -> int:
        if (Path(os.environ["NEWTOS_FAKES"]) / "hold").exists():
            return 0
        slot = ffi.new("struct nt_desc *")
        done = 0
        for producer, consumer in self.ends:
            while lib.nt_face_consumer_pending(consumer):
                expected = lib.nt_face_desc_check(consumer.head)
                lib.nt_consumer_pop(consumer, slot)
                assert (slot.kind, slot.inline_len) == (lib.NT_DESC_REQUEST, REQUEST_BYTES)
                assert slot.check == expected
                self._answer(ffi.cast("struct nt_request *", slot.data))
                if (Path(os.environ["NEWTOS_FAKES"]) / "lose").exists():
                    continue
                slot.kind = lib.NT_DESC_REPLY
                slot.check = lib.nt_face_desc_check(producer.tail)
                assert lib.nt_producer_push(producer, slot)
                os.eventfd_write(self.context.neighbour("syscall").doorbell, 1)
                done += 1
        return done

    def _answer(self, request: object) -> None:
        self.status.counter[request.kind] += 1
        if request.kind == lib.NT_REQ_BIND and request.endpoint.port == 0:
            request.endpoint.port = FREE_PORT
        if request.kind == lib.NT_REQ_MOVE:
            request.error = errno.EBADF if request.slot == BAD_SLOT else 0
            request.area = request.arg
            request.slot, request.generation = MOVED_SLOT, MOVED_GENERATION
        if request.kind == lib.NT_REQ_LISTEN and request.slot == BAD_SLOT:
            request.error = errno.EADDRINUSE


def transport(name: str) -> ServerSpec:
    return ServerSpec(name, arena_bytes=4096, counters=(), create=FakeTransport)


TCP = transport("tcp")
UDP = transport("udp")
assert ffi.sizeof("struct nt_desc") == DESC_BYTES
