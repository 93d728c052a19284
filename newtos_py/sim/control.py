"""The syscall server's stand-in on a simulated host: socket areas, bind, listen, a program's end.

It does what the real one does that engines can notice: it makes the memory, sends numbered requests
(request.h) over the same channels, and takes the answers. It never dies and keeps no records.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from newtos_py.libc_shim.sockets.program import Endpoint, Identity
from newtos_py.sim._world import ffi, lib
from newtos_py.sim.simulation import TCP, UDP, SimHost, SimulationError

# The least that the real one makes: what was claimed is reused only a lap later.
_ENTRIES_MIN = 16
_ENTRIES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    error: int
    endpoint: Endpoint


def _nothing(_reply: Reply) -> None:
    """Nobody waits for this answer."""


def _slot(who: Identity) -> dict[str, object]:
    """How a request names a socket."""
    return {
        "area": who.area,
        "slot": who.slot,
        "generation": who.generation,
        "options": who.options,
    }


class Control:
    """The node that stands in for the syscall server of a host."""

    def __init__(self, host: SimHost, node: int) -> None:
        self.host = host
        self.node = node
        self._next_number = 1
        self._waiting: dict[int, Callable[[Reply], None]] = {}
        self._areas: dict[int, dict[int, int]] = {TCP: {}, UDP: {}}

    def bind(self, who: Identity, local: Endpoint, then: Callable[[Reply], None]) -> None:
        """Ask for a name."""
        name = {"addr": local.addr, "port": local.port}
        self._ask(who.protocol, lib.NT_REQ_BIND, then, {**_slot(who), "endpoint": name})

    def listen(self, who: Identity, listener: int, then: Callable[[Reply], None]) -> None:
        """Ask for a socket to listen, with a region made before."""
        self._ask(who.protocol, lib.NT_REQ_LISTEN, then, {**_slot(who), "arg": listener})

    def unlisten(self, who: Identity, then: Callable[[Reply], None]) -> None:
        """Ask for a socket to listen no more."""
        self._ask(who.protocol, lib.NT_REQ_UNLISTEN, then, _slot(who))

    def make_listener(self, backlog: int) -> tuple[int, int]:
        """Make a listener region: its number, its entries."""
        wanted = max(_ENTRIES_MIN, min(backlog + 1, _ENTRIES_MAX))
        entries = 1 << (wanted - 1).bit_length()
        number = lib.nt_world_listener_new(self.host.host, entries, min(backlog, entries))
        if number < 0:
            raise SimulationError("no more listener regions")
        return number, entries

    def end_listener(self, number: int) -> None:
        """Unmap a listener region."""
        lib.nt_world_listener_end(self.host.host, number)

    def attach(self, node: int, protocol: int, slots: int, then: Callable[[Reply], None]) -> int:
        """Make a socket area; `then` is called when its server knows it."""
        number = lib.nt_world_area_new(self.host.host, node, protocol, slots)
        if number < 0:
            raise SimulationError("no more socket areas")
        self._areas[protocol][int(number)] = node
        self._ask(protocol, lib.NT_REQ_AREA_NEW, then, {"area": number, "arg": node})
        return int(number)

    def server_lost(self, protocol: int) -> None:
        """A server comes back without its arena: tell it of the areas again."""
        for number, node in self._areas[protocol].items():
            self._ask(protocol, lib.NT_REQ_AREA_NEW, _nothing, {"area": number, "arg": node})

    def program_died(self, areas: dict[int, int]) -> None:
        """Say that a program is gone: areas by protocol; each is unmapped when it has drained."""
        for protocol, number in areas.items():
            del self._areas[protocol][number]
            self._ask(protocol, lib.NT_REQ_AREA_DEAD, self._unmapper(number), {"area": number})

    def _unmapper(self, number: int) -> Callable[[Reply], None]:
        def unmap(_reply: Reply) -> None:
            lib.nt_world_area_end(self.host.host, number)

        return unmap

    def turn(self) -> None:
        """Take the answers that are there, and sleep."""
        reply = ffi.new("struct nt_request *")
        for protocol in (TCP, UDP):
            while lib.nt_world_reply(self.host.host, protocol, reply):
                then = self._waiting.pop(reply.number, None)
                if then is None:
                    raise SimulationError(f"an answer to no request, number {reply.number}")
                endpoint = Endpoint(bytes(reply.endpoint.addr), reply.endpoint.port)
                then(Reply(reply.error, endpoint))
        lib.nt_world_sleep(self.host.sim.world, self.node, 0xFFFFFFFFFFFFFFFF)

    def _ask(
        self, protocol: int, kind: int, then: Callable[[Reply], None], fields: Mapping[str, object]
    ) -> None:
        number = self._next_number
        self._next_number += 1
        request = ffi.new("struct nt_request *", {"number": number, "kind": kind, **fields})
        if not lib.nt_world_request(self.host.host, protocol, request):
            raise SimulationError("the channel of requests is full")
        self._waiting[number] = then
