"""The syscall server's stand-in on a simulated host: socket areas, bind, listen, a program's end.

It does what the real one does that engines can notice: it makes the memory, sends numbered requests
(request.h) over the same channels, and takes the answers. It never dies and keeps no records.

With several lanes a call takes several requests, to one server after the other. Such a call is a
generator: it yields what to ask, and is sent the answer.
"""

import errno
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from newtos_py.libc_shim.sockets.program import Endpoint, Identity
from newtos_py.sim._world import ffi, lib
from newtos_py.sim.simulation import TCP, UDP, SimHost, SimulationError

# The least that the real one makes: what was claimed is reused only a lap later.
_ENTRIES_MIN = 16
_ENTRIES_MAX = 4096
# Ports that a lane proposes and another has.
_PROPOSALS_MAX = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    error: int
    endpoint: Endpoint
    slot: "Place | None" = None
    # Of LISTEN: what the socket is in the lanes but its own, in the order of their regions.
    beside: tuple["Place", ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A slot of a program's."""

    area: int
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Region:
    """A listener region, of one lane."""

    number: int
    lane: int
    entries: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A socket that is to listen: in its own lane, whose region is the first, and all others."""

    who: Identity
    name: Endpoint
    regions: list[Region]
    # Its program's, by protocol and lane.
    areas: Mapping[tuple[int, int], int]


# What to ask: the lane, the kind of request, its fields.
Question = tuple[int, int, Mapping[str, object]]
Call = Generator[Question, Reply, Reply]
Then = Callable[[Reply], None]


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


def _named(name: Endpoint) -> dict[str, object]:
    """A request's endpoint."""
    return {"endpoint": {"addr": name.addr, "port": name.port}}


class Control:
    """The node that stands in for the syscall server of a host."""

    def __init__(self, host: SimHost, node: int) -> None:
        self.host = host
        self.node = node
        self._next_number = 1
        self._waiting: dict[int, Callable[[Reply], None]] = {}
        # By protocol and lane: the area's number, its program's node.
        self._areas: dict[tuple[int, int], dict[int, int]] = {(UDP, 0): {}}
        for lane in range(host.lanes):
            self._areas[TCP, lane] = {}
        # One bind at a time, so that no name is given away between question and answer.
        self._binds: deque[tuple[Call, Then]] = deque()

    def lane_of(self, area: int) -> int:
        """The lane of a TCP server's area."""
        return next(lane for (_, lane), known in self._areas.items() if area in known)

    def bind(self, who: Identity, local: Endpoint, then: Then) -> None:
        """Ask for a name."""
        if who.protocol == UDP or self.host.lanes == 1:
            fields = {**_slot(who), **_named(local)}
            self._ask(who.protocol, 0, lib.NT_REQ_BIND, then, fields)
            return
        self._binds.append((self._bind_in_lanes(who, local), then))
        if len(self._binds) == 1:
            self._run(self._binds[0][0], self._bound)

    def _bound(self, reply: Reply) -> None:
        _, then = self._binds.popleft()
        if self._binds:
            self._run(self._binds[0][0], self._bound)
        then(reply)

    def _bind_in_lanes(self, who: Identity, local: Endpoint) -> Call:
        home = self.lane_of(who.area)
        others = [lane for lane in range(self.host.lanes) if lane != home]
        options = {"options": who.options}
        for _ in range(_PROPOSALS_MAX if local.port == 0 else 1):
            name = local
            if local.port == 0:
                reply = yield home, lib.NT_REQ_MAY_BIND, {**options, **_named(local)}
                if reply.error:
                    return reply
                name = reply.endpoint
            errors = []
            for lane in others:
                reply = yield lane, lib.NT_REQ_MAY_BIND, {**options, **_named(name)}
                errors.append(reply.error)
            if not any(errors):
                return (yield home, lib.NT_REQ_BIND, {**_slot(who), **_named(name)})
        return Reply(errno.EADDRINUSE, local)

    def listen(self, wanted: Wanted, then: Then) -> None:
        """Ask for a socket to listen, with regions made before; in its own lane last."""
        self._run(self._listen_in_lanes(wanted), then)

    def _listen_in_lanes(self, wanted: Wanted) -> Call:
        home, *further = wanted.regions
        name = {"options": wanted.who.options, **_named(wanted.name)}
        beside: list[Place] = []
        for region in further:
            area = wanted.areas[TCP, region.lane]
            fields = {"area": area, "arg": region.number, **name}
            reply = yield region.lane, lib.NT_REQ_JOIN, fields
            if reply.error or reply.slot is None:
                yield from self._leave(beside)
                return reply
            beside.append(reply.slot)
        fields = {**_slot(wanted.who), "arg": home.number}
        reply = yield home.lane, lib.NT_REQ_LISTEN, fields
        if reply.error:
            yield from self._leave(beside)
        return Reply(reply.error, reply.endpoint, beside=tuple(beside))

    def join(self, regions: list[Region], areas: Mapping[tuple[int, int], int], then: Then) -> None:
        """Ask for another program to accept from a listening socket, in all lanes."""
        self._run(self._join_in_lanes(regions, areas), then)

    @staticmethod
    def _join_in_lanes(regions: list[Region], areas: Mapping[tuple[int, int], int]) -> Call:
        places: list[Place] = []
        for region in regions:
            fields = {"area": areas[TCP, region.lane], "arg": region.number}
            reply = yield region.lane, lib.NT_REQ_JOIN, fields
            if reply.error or reply.slot is None:
                return reply
            places.append(reply.slot)
        return Reply(0, reply.endpoint, places[0], tuple(places[1:]))

    def _leave(self, beside: list[Place]) -> Generator[Question, Reply, None]:
        for place in beside:
            fields = {"area": place.area, "slot": place.slot, "generation": place.generation}
            yield self.lane_of(place.area), lib.NT_REQ_UNLISTEN, fields

    def unlisten(self, who: Identity, beside: list[Place], then: Then) -> None:
        """Ask for a socket to listen no more, in any lane."""
        self._run(self._unlisten_in_lanes(who, beside), then)

    def _unlisten_in_lanes(self, who: Identity, beside: list[Place]) -> Call:
        yield from self._leave(beside)
        return (yield self.lane_of(who.area), lib.NT_REQ_UNLISTEN, _slot(who))

    def make_listeners(self, who: Identity, backlog: int) -> list[Region]:
        """Make a listener region for each lane, the socket's own first."""
        home = self.lane_of(who.area)
        further = [lane for lane in range(self.host.lanes) if lane != home]
        return [self._make_listener(lane, backlog) for lane in (home, *further)]

    def _make_listener(self, lane: int, backlog: int) -> Region:
        wanted = max(_ENTRIES_MIN, min(backlog + 1, _ENTRIES_MAX))
        entries = 1 << (wanted - 1).bit_length()
        number = lib.nt_world_listener_new(
            self.host.host, lane, entries, min(backlog, entries), self.host.design
        )
        if number < 0:
            raise SimulationError("no more listener regions")
        return Region(number, lane, entries)

    def end_listener(self, number: int) -> None:
        """Unmap a listener region."""
        lib.nt_world_listener_end(self.host.host, number)

    def attach(self, node: int, protocol: int, lane: int, slots: int, then: Then) -> int:
        """Make a socket area; `then` is called when its server knows it."""
        number = lib.nt_world_area_new(self.host.host, node, protocol, lane, slots)
        if number < 0:
            raise SimulationError("no more socket areas")
        self._areas[protocol, lane][int(number)] = node
        self._ask(protocol, lane, lib.NT_REQ_AREA_NEW, then, {"area": number, "arg": node})
        return int(number)

    def server_lost(self, protocol: int, lane: int) -> None:
        """A server comes back without its arena: tell it of the areas again."""
        for number, node in self._areas[protocol, lane].items():
            fields = {"area": number, "arg": node}
            self._ask(protocol, lane, lib.NT_REQ_AREA_NEW, _nothing, fields)

    def program_died(self, areas: Mapping[tuple[int, int], int]) -> None:
        """Say that a program is gone; each area is unmapped when it has drained."""
        for (protocol, lane), number in areas.items():
            del self._areas[protocol, lane][number]
            unmap = self._unmapper(number)
            self._ask(protocol, lane, lib.NT_REQ_AREA_DEAD, unmap, {"area": number})

    def _unmapper(self, number: int) -> Callable[[Reply], None]:
        def unmap(_reply: Reply) -> None:
            lib.nt_world_area_end(self.host.host, number)

        return unmap

    def turn(self) -> None:
        """Take the answers that are there, and sleep."""
        reply = ffi.new("struct nt_request *")
        servers = [(TCP, lane) for lane in range(self.host.lanes)]
        for protocol, lane in (*servers, (UDP, 0)):
            while lib.nt_world_reply(self.host.host, protocol, lane, reply):
                then = self._waiting.pop(reply.number, None)
                if then is None:
                    raise SimulationError(f"an answer to no request, number {reply.number}")
                endpoint = Endpoint(bytes(reply.endpoint.addr), reply.endpoint.port)
                slot = Place(reply.area, reply.slot, reply.generation)
                then(Reply(reply.error, endpoint, slot))
        lib.nt_world_sleep(self.host.sim.world, self.node, 0xFFFFFFFFFFFFFFFF)

    def _run(self, call: Call, then: Then, answer: Reply | None = None) -> None:
        """Go on with a call: ask what it asks next, or hand on what it came to."""
        try:
            lane, kind, fields = next(call) if answer is None else call.send(answer)
        except StopIteration as end:
            then(end.value)
            return
        self._ask(TCP, lane, kind, lambda reply: self._run(call, then, reply), fields)

    def _ask(
        self, protocol: int, lane: int, kind: int, then: Then, fields: Mapping[str, object]
    ) -> None:
        number = self._next_number
        self._next_number += 1
        request = ffi.new("struct nt_request *", {"number": number, "kind": kind, **fields})
        if not lib.nt_world_request(self.host.host, protocol, lane, request):
            raise SimulationError("the channel of requests is full")
        self._waiting[number] = then
