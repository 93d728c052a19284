"""Whole hosts in one process, in virtual time: the Python face of world.h.

    sim = Simulation(Tuning(seed=7))
    web, client = sim.add_host("web"), sim.add_host("client")
    sim.add_wire(web, client, Link(loss=0.02))
    sim.boot()
    program = web.add_program(); program.start(serve(program))   # program.py
    sim.run(limit_s=60)

Engines are stepped by C; Python runs only when a program is to run, or the syscall server's
stand-in has an answer. Everything random comes from the seed: `sim.random` is for programs.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from newtos_py.errors import NewtosError
from newtos_py.kernel.server import InterfaceConfig, LocalAddress, NetConfig, SteeringConfig
from newtos_py.net import netconf
from newtos_py.net.addr import pack_prefix
from newtos_py.sim._world import ffi, lib

if TYPE_CHECKING:
    from newtos_py.sim.program import SimProgram

# A cffi object: a pointer, a struct or an array.
CData = Any

TCP, UDP = 6, 17
MTU = 1500
SECOND_NS = 1_000_000_000
_FOREVER = (1 << 64) - 1
_STEERING_KEY_BYTES = 40
# A run that takes more is one that makes no progress: about a minute of real time.
_STEPS_MAX = 20_000_000


class SimulationError(NewtosError):
    """An invariant did not hold, or nothing happens any more though something should."""


class Role(IntEnum):
    """What a node is (enum nt_world_role)."""

    WIRE = 0
    IP = 1
    UDP = 2
    TCP = 3
    SYSCALL = 4
    PROGRAM = 5


class _Stop(IntEnum):
    NODE = 1
    TIME = 2
    IDLE = 3
    STEPS = 4
    FAILED = 5


class TraceLevel(IntEnum):
    """How much is written down (enum nt_world_trace_level)."""

    OFF = 0
    EVENTS = 1
    STEPS = 2


@dataclass(frozen=True, slots=True)
class Link:
    """What a wire does to frames, in each direction; chances are 0 to 1."""

    latency_us: int = 0
    # Bits a second; 0: as fast as it goes.
    rate: int = 0
    loss: float = 0
    reorder: float = 0
    duplicate: float = 0
    corrupt: float = 0


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a simulation is scheduled; chances are of the steps of a node that had work."""

    seed: int
    start_ns: int = SECOND_NS
    budget_max: int = 32
    step_ns: int = 2000
    crash: Mapping[Role, float] = field(default_factory=dict)
    restart_us: int = 5000
    # A server does not die again so soon.
    life_us: int = 0
    stall: float = 0
    stall_us: int = 0
    # An engine is audited after every so many of its steps; 0: at the end only.
    audit_every: int = 16
    # Of deaths: those that take the arena along. Not for TCP and UDP, whose sockets would be lost.
    cold: float = 0
    # Channels' indices start shortly before they wrap.
    wrap: bool = False


class Simulation:
    """Hosts, wires between them, one clock, one seed."""

    def __init__(self, tuning: Tuning, trace: TraceLevel = TraceLevel.OFF) -> None:
        self.tuning = tuning
        self.random = random.Random(tuning.seed)
        self.hosts: list[SimHost] = []
        self.programs: dict[int, SimProgram] = {}
        self._wires = 0
        self._trace = trace
        config = ffi.new("struct nt_world_tuning *")
        config.seed = tuning.seed
        for name in ("start_ns", "budget_max", "step_ns", "audit_every"):
            setattr(config, name, getattr(tuning, name))
        config.restart_ns = tuning.restart_us * 1000
        config.life_ns = tuning.life_us * 1000
        config.stall_ns = tuning.stall_us * 1000
        config.stall_ppm = _ppm(tuning.stall)
        config.cold_ppm = _ppm(tuning.cold)
        config.wrap = tuning.wrap
        for role, chance in tuning.crash.items():
            config.crash_ppm[role] = _ppm(chance)
        self.world = ffi.gc(lib.nt_world_new(config, trace), lib.nt_world_free)

    # -- Building --

    def add_host(
        self, name: str, lanes: int = 1, steering: str = "rss", design: int = 0
    ) -> "SimHost":
        """A new host, without an interface.

        `steering` says how segments find their lane, `design` (enum nt_listen_design) who gets a
        connection.
        """
        host = SimHost(self, name, lanes, steering, design)
        self.hosts.append(host)
        return host

    def add_wire(self, a: "SimHost", b: "SimHost", link: Link) -> tuple[str, str]:
        """Connect two hosts; their addresses on that wire."""
        config = ffi.new("struct nt_world_link *")
        config.latency_ns = link.latency_us * 1000
        config.rate_bits = link.rate
        for name in ("loss", "reorder", "duplicate", "corrupt"):
            setattr(config, f"{name}_ppb", int(getattr(link, name) * 1e9))
        lib.nt_world_wire_new(a.host, b.host, config)
        self._wires += 1
        ends = (f"10.0.{self._wires}.1", f"10.0.{self._wires}.2")
        a.addresses.append(ends[0])
        b.addresses.append(ends[1])
        return ends

    def boot(self) -> None:
        """Make all engines."""
        for host in self.hosts:
            host.boot()

    # -- Running --

    @property
    def now_ns(self) -> int:
        """The virtual clock."""
        return int(lib.nt_world_now(self.world))

    @property
    def past_s(self) -> float:
        """Seconds since the start."""
        return (self.now_ns - self.tuning.start_ns) / SECOND_NS

    @property
    def steps(self) -> int:
        """How many turns nodes had."""
        return int(lib.nt_world_steps(self.world))

    @property
    def why(self) -> str:
        """The first invariant that did not hold."""
        return _text(lib.nt_world_why(self.world))

    def run(self, limit_s: float) -> None:
        """Run until all programs are done; SimulationError if they are not in that time."""
        until = self.now_ns + int(limit_s * SECOND_NS)
        while any(program.tasks for program in self.programs.values()):
            stop = self._run(until)
            if stop == _Stop.IDLE:
                raise SimulationError(f"everybody sleeps for ever; {self._waiting()}")
            if stop != _Stop.NODE:
                raise SimulationError(f"not done after {limit_s:.0f} s; {self._waiting()}")

    def drain(self, limit_s: float = 1000) -> None:
        """Let everything end that programs left behind, then look for what was forgotten."""
        lib.nt_world_calm(self.world)
        until = self.now_ns + int(limit_s * SECOND_NS)
        while (stop := self._run(until)) == _Stop.NODE:
            pass
        if stop != _Stop.IDLE:
            raise SimulationError(
                f"the servers are not idle {limit_s:.0f} s after the last call; {self._deadlines()}"
            )
        lib.nt_world_settle(self.world)
        while (stop := self._run(until)) == _Stop.NODE:
            pass
        self.audit()
        if lib.nt_world_at_rest(self.world) != 0:
            raise SimulationError(self.why)

    def audit(self) -> None:
        """Check every invariant of every engine."""
        if lib.nt_world_audit(self.world) != 0:
            raise SimulationError(self.why)

    def calm(self) -> None:
        """No more deaths and stalls."""
        lib.nt_world_calm(self.world)

    def kill(self, host: "SimHost", role: Role, number: int = 0, *, cold: bool = False) -> None:
        """Kill a server now; `cold`: its arena is lost, too."""
        lib.nt_world_kill(self.world, self.node_number(host, role, number), cold)
        if cold and role in (Role.TCP, Role.UDP):
            host.control.server_lost(TCP if role is Role.TCP else UDP, number)

    def stall(self, host: "SimHost", role: Role, number: int = 0, *, us: float) -> None:
        """Keep a server from running for so long."""
        node = self.node_number(host, role, number)
        lib.nt_world_stall(self.world, node, int(us * 1000))

    def take_down(self, host: "SimHost", role: Role, number: int = 0) -> None:
        """Kill a server, which is back only when it is brought back."""
        lib.nt_world_take_down(self.world, self.node_number(host, role, number))

    def bring_back(self, host: "SimHost", role: Role, number: int = 0) -> None:
        """Restart a server that was taken down."""
        lib.nt_world_bring_back(self.world, self.node_number(host, role, number))

    def _run(self, until: int) -> _Stop:
        stop = _Stop(lib.nt_world_run(self.world, until, _STEPS_MAX))
        if stop == _Stop.FAILED:
            raise SimulationError(self.why)
        if stop == _Stop.STEPS:
            raise SimulationError(f"{_STEPS_MAX} steps without a program; {self._waiting()}")
        if stop == _Stop.NODE:
            self._run_node(lib.nt_world_stopped_at(self.world))
        return stop

    def _run_node(self, node: int) -> None:
        program = self.programs.get(node)
        if program is not None:
            program.turn()
            return
        for host in self.hosts:
            if host.control.node == node:
                host.control.turn()

    def _waiting(self) -> str:
        tasks = [task for program in self.programs.values() for task in program.describe()]
        return "waiting: " + "; ".join(tasks)

    def _deadlines(self) -> str:
        nodes = (lib.nt_world_node_at(self.world, i) for i in range(lib.nt_world_nodes(self.world)))
        due = [
            f"{_text(node.name)} in {(node.wake_ns - self.now_ns) / SECOND_NS:.3f} s"
            for node in nodes
            if node.wake_ns != _FOREVER
        ]
        return "to wake: " + ", ".join(due)

    # -- Looking --

    def note(self, line: str) -> None:
        """Write a line into the trace."""
        if self._trace != TraceLevel.OFF:
            lib.nt_world_note(self.world, line.encode())

    @property
    def tracing(self) -> bool:
        """Whether notes are kept."""
        return self._trace != TraceLevel.OFF

    def trace(self) -> str:
        """All that was written down."""
        size = lib.nt_world_trace_bytes(self.world)
        if size == 0:
            return ""
        return bytes(ffi.buffer(lib.nt_world_trace_text(self.world), size)).decode()

    def nodes(self) -> list[tuple[str, Role, int, int]]:
        """Name, role, steps and deaths of each node."""
        found = []
        for i in range(lib.nt_world_nodes(self.world)):
            node = lib.nt_world_node_at(self.world, i)
            found.append((_text(node.name), Role(node.role), int(node.steps), int(node.crashes)))
        return found

    @property
    def deaths(self) -> int:
        """How often a server died."""
        return sum(deaths for _, _, _, deaths in self.nodes())

    def node_number(self, host: "SimHost", role: Role, number: int = 0) -> int:
        """The number of a server's node."""
        for i in range(lib.nt_world_nodes(self.world)):
            node = lib.nt_world_node_at(self.world, i)
            if node.host == host.host and (node.role, node.number) == (role, number):
                return i
        raise SimulationError(f"{host.name} has no {role.name.lower()}{number}")

    def counter(self, host: "SimHost", role: Role, counter: int, number: int = 0) -> int:
        """A counter of a server's status page."""
        node = self.node_number(host, role, number)
        return int(lib.nt_world_counter(self.world, node, counter))


class SimHost:
    """One host of a simulation."""

    def __init__(self, sim: Simulation, name: str, lanes: int, steering: str, design: int) -> None:
        from newtos_py.sim.control import Control  # noqa: PLC0415  # it needs this module

        self.sim = sim
        self.name = name
        self.addresses: list[str] = []
        self.lanes = lanes
        self.design = design
        self._steering = steering
        self.host = lib.nt_world_host_new(sim.world, name.encode(), lanes)
        self.control = Control(self, lib.nt_world_syscall_node(self.host))

    def seen_from(self, other: "SimHost") -> str:
        """This host's address on the wire to another; its first one for itself."""
        if other is self:
            return self.addresses[0]
        theirs = {address.rsplit(".", 1)[0] for address in other.addresses}
        return next(a for a in self.addresses if a.rsplit(".", 1)[0] in theirs)

    def add_program(self, *, slots: int = 64) -> "SimProgram":
        """A program with a socket area of so many slots in each transport server."""
        from newtos_py.sim.program import SimProgram  # noqa: PLC0415  # it needs this module

        program = SimProgram(self, slots)
        self.sim.programs[program.node] = program
        return program

    def boot(self) -> None:
        """Make the host's engines."""
        conf = netconf.to_bytes(self._net_config())
        if lib.nt_world_host_boot(self.host, conf, len(conf)) != 0:
            raise SimulationError(self.sim.why)

    def _net_config(self) -> NetConfig:
        index = self.sim.hosts.index(self)
        interfaces = tuple(
            InterfaceConfig(i, f"wire{i}", bytes([2, 0, 0, 0, index, i]), MTU, netconf.GSO_MAX,
                            csum_tx=True)
            for i in range(len(self.addresses))
        )  # fmt: skip
        addresses = tuple(
            LocalAddress(*pack_prefix(f"{address}/24"), i)
            for i, address in enumerate(self.addresses)
        )
        if self.lanes == 1:
            return NetConfig(interfaces, addresses, ())
        key = self.sim.random.randbytes(_STEERING_KEY_BYTES)
        steering = SteeringConfig(self._steering, self.lanes, key)
        return NetConfig(interfaces, addresses, (), steering)


def span(part: CData) -> CData:
    """The memory of a struct nt_world_span, for another module's ffi.from_buffer."""
    return ffi.buffer(part.base, part.bytes)


def _ppm(chance: float) -> int:
    return int(chance * 1_000_000)


def _text(value: CData) -> str:
    return bytes(ffi.string(value)).decode()
