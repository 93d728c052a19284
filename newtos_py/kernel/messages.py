"""What rs, the zygote and the servers say to each other.

rs to the zygote:      Fork                       answered by Forked; Exited follows, once a child
rs to a server:        Setup, then for everything that exists AreaPart, QueuePart, ListenerPart,
                       then Start (to fused ones: all Setups first; For says whose the parts are).
                       Answered by Ready or Failed. Afterwards the same parts, each with
                       a number, as they come and go; answered by Done.
syscall server to rs:  KeepProgram ... DropListener, each with a number. rs stores what it holds,
                       hands it to every server that needs it, and answers Done when all of them
                       have it mapped. KeepNote is not answered: sent is stored (link.py).
rs to the syscall server: every Keep that is stored, between Setup and Start, as the former
                       generation sent it; Restarted, when another server came back.

Numbers are the asker's own; 0 asks for no answer. Descriptors stay with rs as long as what they
belong to: so every part can be handed again to a server that was restarted.
"""

from dataclasses import dataclass

from newtos_py.kernel import region
from newtos_py.kernel.codec import Codec, Fd
from newtos_py.kernel.server import Emulation, HostName, NetConfig

# -- rs and the zygote -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fork:
    """Start a process that will talk with rs through `link`: of one server, or several fused."""

    number: int
    # For the process's name: a server's role, or what the fused ones are called together.
    host: str
    role: str
    # Where each ServerSpec is found: "module:NAME".
    references: tuple[str, ...]
    link: Fd
    # Standard error of the process.
    log: Fd


@dataclass(frozen=True, slots=True)
class Forked:
    """The process is there."""

    number: int
    pid: int
    pidfd: Fd


@dataclass(frozen=True, slots=True)
class Exited:
    """A process ended; `status` as os.waitpid has it."""

    pid: int
    status: int


ZYGOTE_CODEC = Codec(Fork, Forked, Exited)

# -- rs to a server: what it is made of ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegionPart:
    """A region to map, read-only but for some parts."""

    memory: Fd
    bytes: int
    writable: tuple[region.Part, ...]


@dataclass(frozen=True, slots=True)
class PoolPart:
    """A pool of `owner` ("" for that of a wire's other end) with its region number."""

    owner: str
    region: int
    memory: RegionPart


@dataclass(frozen=True, slots=True)
class NeighbourPart:
    """Another server."""

    role: str
    status: RegionPart
    doorbell: Fd


@dataclass(frozen=True, slots=True)
class ChannelsPart:
    """See newtos_py.kernel.server.Channels."""

    peer: str
    out: RegionPart | None
    into: RegionPart | None
    returns_out: RegionPart | None
    returns_in: RegionPart | None


@dataclass(frozen=True, slots=True)
class WirePart:
    """See newtos_py.kernel.server.WireEnd."""

    name: str
    side: int
    emulation: Emulation
    channels: ChannelsPart
    peer_pool: PoolPart
    peer: NeighbourPart


@dataclass(frozen=True, slots=True)
class LoopPart:
    """How the process is scheduled and idles."""

    core: int
    slice_us: int
    yields: int
    spin_ns: int


@dataclass(frozen=True, slots=True)
class Setup:
    """The whole plan of one server process; becomes its ServerContext."""

    host: str
    role: str
    index: int
    generation: int
    seed: int
    loop: LoopPart
    status: RegionPart
    doorbell: Fd
    arena: RegionPart | None
    pools: tuple[PoolPart, ...]
    drivers: tuple[str, ...]
    channels: tuple[ChannelsPart, ...]
    neighbours: tuple[NeighbourPart, ...]
    net: NetConfig
    wire: WirePart | None
    device: Fd | None
    capture: RegionPart | None
    names: tuple[HostName, ...]
    # The syscall server's listening control socket.
    control: Fd | None


@dataclass(frozen=True, slots=True)
class For:
    """What follows is for that server of a process, counted from 0; at first it is for 0."""

    server: int


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that exists has been handed over: begin."""


@dataclass(frozen=True, slots=True)
class AreaPart:
    """A socket area; IP and drivers get only the program side."""

    number: int
    area: int
    protocol: int
    slots: int
    pid: int
    program: Fd
    server: Fd | None
    hint: Fd | None


@dataclass(frozen=True, slots=True)
class AreaGone:
    """Unmap an area."""

    number: int
    area: int


@dataclass(frozen=True, slots=True)
class QueuePart:
    """An event queue of an area's program."""

    number: int
    area: int
    queue: int
    doorbell: Fd


@dataclass(frozen=True, slots=True)
class ListenerPart:
    """A listener region."""

    number: int
    listener: int
    entries: int
    ring: Fd
    claims: Fd


@dataclass(frozen=True, slots=True)
class ListenerGone:
    """Unmap a listener region."""

    number: int
    listener: int


# What a server may be handed while it runs.
Part = AreaPart | AreaGone | QueuePart | ListenerPart | ListenerGone


@dataclass(frozen=True, slots=True)
class Done:
    """What was asked under that number is done; an error is the text of what went wrong."""

    number: int
    error: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine has started; `cold` if its arena could not be recovered."""

    cold: bool
    # Of the other servers fused into the process, in order.
    also_cold: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The server could not start; the process ends."""

    reason: str


# -- Only for the syscall server -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restarted:
    """Another server of the host has a new generation."""

    role: str
    cold: bool


@dataclass(frozen=True, slots=True)
class KeepProgram:
    """Hold a program's control connection and, once it is known who it is, pidfd."""

    number: int
    program: int
    pid: int
    connection: Fd
    process: Fd | None


@dataclass(frozen=True, slots=True)
class DropProgram:
    """Forget a program, with its queues and notes; its areas are dropped one by one."""

    number: int
    program: int


@dataclass(frozen=True, slots=True)
class KeepArea:
    """Hold an area and map it wherever it must be: a program's nth of a protocol and lane."""

    number: int
    program: int
    area: int
    protocol: int
    lane: int
    nth: int
    slots: int
    pid: int
    memory: Fd
    server: Fd
    hint: Fd


@dataclass(frozen=True, slots=True)
class DropArea:
    """Unmap an area everywhere, then forget it."""

    number: int
    area: int


@dataclass(frozen=True, slots=True)
class KeepQueue:
    """Hold an event queue of a program; all servers of its areas, now and later, hear of it."""

    number: int
    program: int
    queue: int
    doorbell: Fd


@dataclass(frozen=True, slots=True)
class KeepListener:
    """Hold a listener region and map it in its lane's TCP server."""

    number: int
    listener: int
    lane: int
    entries: int
    ring: Fd
    claims: Fd


@dataclass(frozen=True, slots=True)
class DropListener:
    """Unmap a listener region, then forget it."""

    number: int
    listener: int


@dataclass(frozen=True, slots=True)
class KeepNote:
    """Keep a text under a key, instead of what was there; an empty one removes it."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class KeepFile:
    """Hold a descriptor under a key, instead of what was there; None removes it."""

    key: str
    file: Fd | None


SERVER_CODEC = Codec(
    Setup, For, Start, AreaPart, AreaGone, QueuePart, ListenerPart, ListenerGone, Done, Ready,
    Failed, Restarted, KeepProgram, DropProgram, KeepArea, DropArea, KeepQueue, KeepListener,
    DropListener, KeepNote, KeepFile,
)  # fmt: skip
