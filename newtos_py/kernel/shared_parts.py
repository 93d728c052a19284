"""What programs share with a server: socket areas, event queues, listener regions.

A server process maps each once and shows it to its engine; a second engine in the same process
(after a cold start) is shown all of them again.
"""

import os
from collections.abc import Callable

from newtos_py.errors import NewtosError
from newtos_py.kernel import messages as m
from newtos_py.kernel._kernel import lib
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.mapping import map_part
from newtos_py.kernel.region import all_of, unmap_memory
from newtos_py.kernel.server import AreaMapping, ListenerMapping, Memory, RunningServer


class SharedParts:
    """All that is mapped now."""

    def __init__(self) -> None:
        self.areas: dict[int, AreaMapping] = {}
        self.queues: dict[tuple[int, int], int] = {}
        self.listeners: dict[int, ListenerMapping] = {}

    def add(self, message: object) -> Callable[[RunningServer], None]:
        """Map what a message brings; answers how to tell the engine.

        What is mapped already stays: rs repeats itself if the syscall server died over an attach.
        """
        match message:
            case m.AreaPart():
                return self._add_area(message)
            case m.AreaGone():
                return lambda running: self._drop_area(running, message.area)
            case m.QueuePart():
                return self._add_queue(message)
            case m.ListenerPart():
                return self._add_listener(message)
            case m.ListenerGone():
                return lambda running: self._drop_listener(running, message.listener)
        raise NewtosError(f"rs sent what a server can't use: {message!r}")

    def show_all(self, running: RunningServer) -> None:
        """Tell a new engine about everything."""
        for area in self.areas.values():
            running.map_area(area)
        for (number, queue), doorbell in self.queues.items():
            running.set_queue(number, queue, doorbell)
        for listener in self.listeners.values():
            running.map_listener(listener)

    def _add_area(self, part: m.AreaPart) -> Callable[[RunningServer], None]:
        if part.area in self.areas:
            parts = (part.program, part.server, part.hint)
            close_all(each.number for each in parts if each is not None)
            return _know_already
        area = self.areas[part.area] = _map_area(part)
        return lambda running: running.map_area(area)

    def _add_listener(self, part: m.ListenerPart) -> Callable[[RunningServer], None]:
        if part.listener in self.listeners:
            close_all((part.ring.number, part.claims.number))
            return _know_already
        listener = self.listeners[part.listener] = _map_listener(part)
        return lambda running: running.map_listener(listener)

    def _add_queue(self, part: m.QueuePart) -> Callable[[RunningServer], None]:
        key = (part.area, part.queue)
        old = self.queues.get(key)
        self.queues[key] = part.doorbell.number

        def tell(running: RunningServer) -> None:
            running.set_queue(part.area, part.queue, part.doorbell.number)
            if old is not None:
                os.close(old)

        return tell

    def _drop_area(self, running: RunningServer, number: int) -> None:
        area = self.areas.pop(number, None)
        if area is None:
            return
        running.unmap_area(number)
        for memory in (area.program, area.server, area.hint):
            if memory is not None:
                unmap_memory(memory)
        for key in [key for key in self.queues if key[0] == number]:
            os.close(self.queues.pop(key))

    def _drop_listener(self, running: RunningServer, number: int) -> None:
        listener = self.listeners.pop(number, None)
        if listener is None:
            return
        running.unmap_listener(number)
        unmap_memory(listener.ring)
        unmap_memory(listener.claims)


def _know_already(_running: RunningServer) -> None:
    """There is nothing to tell."""


def _map_area(part: m.AreaPart) -> AreaMapping:
    server = hint = None
    if part.server is not None and part.hint is not None:
        server = _map_writable(part.server, lib.nt_area_server_bytes(part.slots))
        hint = _map_writable(part.hint, lib.nt_area_hint_bytes())
    program = map_part(part.program, lib.nt_area_program_bytes(part.slots), ())
    return AreaMapping(part.area, part.protocol, part.slots, part.pid, program, server, hint)


def _map_listener(part: m.ListenerPart) -> ListenerMapping:
    return ListenerMapping(
        part.listener,
        part.entries,
        _map_writable(part.ring, lib.nt_listener_ring_bytes(part.entries)),
        _map_writable(part.claims, lib.nt_listener_claims_bytes()),
    )


def _map_writable(memory: Fd, size: int) -> Memory:
    return map_part(memory, size, all_of(size))
