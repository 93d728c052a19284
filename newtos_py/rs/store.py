"""What rs holds for the syscall server: programs, socket areas, event queues, listeners, notes.

Each Keep message is stored as it came, with its descriptors; it is the very thing that a new
syscall server is handed again. The other servers are handed parts made from it.
"""

from collections.abc import Iterator, Sequence

from newtos_py.kernel import messages as m
from newtos_py.kernel.codec import Fd
from newtos_py.kernel.descriptors import close_all
from newtos_py.kernel.server import TCP
from newtos_py.rs import wiring

Keep = m.KeepProgram | m.KeepArea | m.KeepQueue | m.KeepListener | m.KeepNote | m.KeepFile


class Store:
    """All that is kept for one host. `tcp_servers` are the roles of its lanes."""

    def __init__(self, tcp_servers: Sequence[str]) -> None:
        self._tcp_servers = tuple(tcp_servers)
        self._programs: dict[int, m.KeepProgram] = {}
        self._areas: dict[int, m.KeepArea] = {}
        self._queues: dict[tuple[int, int], m.KeepQueue] = {}
        self._listeners: dict[int, m.KeepListener] = {}
        self._notes: dict[str, m.KeepNote] = {}
        self._files: dict[str, m.KeepFile] = {}

    # -- Storing -----------------------------------------------------------------------------

    def keep(self, message: Keep) -> None:
        """Store a message instead of what was there under the same name."""
        match message:
            case m.KeepProgram():
                _close(self._programs.get(message.program))
                self._programs[message.program] = message
            case m.KeepArea():
                _close(self._areas.get(message.area))
                self._areas[message.area] = message
            case m.KeepQueue():
                key = (message.program, message.queue)
                _close(self._queues.get(key))
                self._queues[key] = message
            case m.KeepListener():
                _close(self._listeners.get(message.listener))
                self._listeners[message.listener] = message
            case m.KeepNote():
                if message.text:
                    self._notes[message.key] = message
                else:
                    self._notes.pop(message.key, None)
            case m.KeepFile():
                _close(self._files.pop(message.key, None))
                if message.file is not None:
                    self._files[message.key] = message

    def drop_program(self, program: int) -> None:
        """Forget a program and its event queues."""
        _close(self._programs.pop(program, None))
        for key in [key for key in self._queues if key[0] == program]:
            _close(self._queues.pop(key))

    def drop_area(self, area: int) -> None:
        """Forget an area."""
        _close(self._areas.pop(area, None))

    def drop_listener(self, listener: int) -> None:
        """Forget a listener region."""
        _close(self._listeners.pop(listener, None))

    def close(self) -> None:
        """Close every descriptor."""
        for kept in (self._programs, self._areas, self._queues, self._listeners, self._files):
            for message in kept.values():
                _close(message)
            kept.clear()

    # -- Handing out -------------------------------------------------------------------------

    def parts_for(self, role: str) -> Iterator[object]:
        """All that a new generation of a server is handed before Start; numbers are 0."""
        if role == wiring.SYSCALL:
            yield from self._programs.values()
            yield from self._areas.values()
            yield from self._queues.values()
            yield from self._listeners.values()
            yield from self._notes.values()
            yield from self._files.values()
            return
        for area in self._areas.values():
            yield from self.area_parts(area, role)
        for listener in self._listeners.values():
            if role == self.listener_role(listener):
                yield listener_part(listener)

    def area_parts(self, area: m.KeepArea, role: str) -> Iterator[m.Part]:
        """What a server other than the syscall server is handed of an area."""
        serves = role == self.area_role(area)
        if not serves and role in (*self._tcp_servers, wiring.UDP):
            return
        yield m.AreaPart(
            0,
            area.area,
            area.protocol,
            area.slots,
            area.pid,
            area.memory,
            area.server if serves else None,
            area.hint if serves else None,
        )
        if serves:
            for queue in self._queues.values():
                if queue.program == area.program:
                    yield m.QueuePart(0, area.area, queue.queue, queue.doorbell)

    def queue_parts(self, queue: m.KeepQueue, role: str) -> Iterator[m.Part]:
        """What a server is handed of an event queue: a part for each area it serves."""
        for area in self._areas.values():
            if area.program == queue.program and role == self.area_role(area):
                yield m.QueuePart(0, area.area, queue.queue, queue.doorbell)

    def area_role(self, area: m.KeepArea) -> str:
        """Who serves an area."""
        return self._tcp_servers[area.lane] if area.protocol == TCP else wiring.UDP

    def listener_role(self, listener: m.KeepListener) -> str:
        """Who serves a listener region."""
        return self._tcp_servers[listener.lane]

    def listener(self, number: int) -> m.KeepListener | None:
        """The listener region of a number."""
        return self._listeners.get(number)


def listener_part(listener: m.KeepListener) -> m.ListenerPart:
    """What a TCP server is handed of a listener region."""
    return m.ListenerPart(0, listener.listener, listener.entries, listener.ring, listener.claims)


def _close(message: Keep | None) -> None:
    """Close the descriptors of a message that is not kept any more."""
    match message:
        case m.KeepProgram():
            _close_fds(message.connection)
            if message.process is not None:
                _close_fds(message.process)
        case m.KeepArea():
            _close_fds(message.memory, message.server, message.hint)
        case m.KeepQueue():
            _close_fds(message.doorbell)
        case m.KeepListener():
            _close_fds(message.ring, message.claims)
        case m.KeepFile():
            if message.file is not None:
                _close_fds(message.file)
        case _:
            pass


def _close_fds(*descriptors: Fd) -> None:
    close_all(descriptor.number for descriptor in descriptors)
