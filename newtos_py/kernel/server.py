"""The contract of a server's Python face: what it is given, and what it must offer.

An entry point of the group newtos.servers or newtos.drivers names a `ServerSpec`. The server's
process is a fork of the zygote that runs serve.py, the main function of all servers:

    1. it receives the plan and all descriptors from rs, and maps every region as the context says;
    2. create(context): the face opens its channels, pools and arena and builds its engine;
    3. map_area, set_queue, map_listener for everything that exists already: nothing at a boot, all
       that the previous generation had after a restart;
    4. start(): the engine initialises or recovers, sweeps every slot, and marks every bell once;
    5. the loop (loop.h) runs the engines; when rs says something, serve.py calls map_area & co
       between two steps, and runs the loop again.

All memory is handed over as addresses, because each face opens it with its own cffi module
(ffi.cast("struct nt_x *", address)). A mapping stays for the life of the process, an area's until
unmap_area has returned. The protections are those of the table in architecture.md §4: writing
where the context says "read-only" faults.

A server may be killed at any instruction. Whatever its next generation needs is in the arena and
in shared memory; nothing of what a face keeps in Python survives.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from newtos_py.errors import NewtosError
from newtos_py.kernel.link import Link
from newtos_py.kernel.sockets import SocketInfo

TCP = 6
UDP = 17


class ArenaUnusableError(NewtosError):
    """The arena can't be recovered; create or start raises it to ask for a cold start.

    serve.py then zeroes the arena and calls create again, with `recovered` False.
    """


@dataclass(frozen=True, slots=True)
class Memory:
    """A mapped region: its address in this process, and its length."""

    address: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Pool:
    """A mapped packet pool (pool.h), and its region number within the host (desc.h)."""

    memory: Memory
    region: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another server that this one talks with."""

    role: str
    # struct nt_status, read-only.
    status: Memory
    # &status->sleeping: with `doorbell` what nt_bells_set wants.
    sleeping: int
    # Its eventfd.
    doorbell: int
    # Only for the syscall server, which hands it to programs: the status page, opened read-only.
    status_fd: int = -1


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of a server with one neighbour; None where the wiring has no such channel.

    `out` and `into` carry descriptors (192-byte slots, desc.h), to and from the neighbour;
    `returns_out` and `returns_in` carry struct nt_return (8-byte slots).
    Open `out` and `returns_out` with nt_producer_open, the others with nt_consumer_open.
    """

    peer: str
    out: Memory | None = None
    into: Memory | None = None
    returns_out: Memory | None = None
    returns_in: Memory | None = None


@dataclass(frozen=True, slots=True)
class Emulation:
    """What a wire does to the frames that this end sends; chances in parts per 1e9."""

    latency_ns: int
    # 0: as fast as it goes.
    rate_bits: int
    loss_ppb: int
    reorder_ppb: int
    duplicate_ppb: int
    corrupt_ppb: int
    # Differs between the two ends.
    seed: int


@dataclass(frozen=True, slots=True)
class WireEnd:
    """One end of a wire.

    `channels.out` carries descriptors of frames that were gathered into the peer's buffers, and
    `channels.returns_in` the peer's grants of those; `into` and `returns_out` are the other way.
    """

    name: str
    # 0: the host that the topology names first; 1: the second.
    side: int
    emulation: Emulation
    channels: Channels
    # The peer's RX pool: data writable, header and use counts read-only.
    peer_pool: Pool
    peer: Neighbour


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What a driver needs to know to open its device: a host's `tap` key."""

    host: str
    device: str
    # The Linux side's address, 128 bit, IPv4 mapped; its prefix counts from 128.
    peer: bytes
    peer_prefix_bits: int
    mtu: int


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One interface (struct nt_interface, netconf.h)."""

    # The driver's index, or NT_INTERFACE_LOOPBACK.
    index: int
    name: str
    mac: bytes
    mtu: int
    # Payload bytes of the largest super-segment; 0: none.
    gso_max: int
    csum_tx: bool


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """One of the host's own addresses: 16 bytes, IPv4 mapped; prefixes count from 128."""

    address: bytes
    prefix_bits: int
    interface: int


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """One route; an all-zero gateway means that the network is attached."""

    prefix: bytes
    prefix_bits: int
    gateway: bytes
    interface: int


@dataclass(frozen=True, slots=True)
class SteeringConfig:
    """How arriving segments find their lane: net/steering.h. `key` is random a boot."""

    kind: str = "rss"
    lanes: int = 1
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class NetConfig:
    """A host's interfaces, addresses and routes; newtos_py.net.netconf fills the C struct."""

    interfaces: tuple[InterfaceConfig, ...]
    addresses: tuple[LocalAddress, ...]
    routes: tuple[RouteConfig, ...]
    steering: SteeringConfig = SteeringConfig()
    # enum nt_listen_design, by name.
    listen: str = "fine"


@dataclass(frozen=True, slots=True)
class HostName:
    """A host of the topology and its addresses, for name resolution."""

    name: str
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ServerContext:
    """All that a server is given. Regions are mapped before the face sees this."""

    host: str
    # "tcp0", "wire.lan", ...
    role: str
    # A driver's index (its interface and pool number), a TCP server's lane; else 0.
    index: int
    # Counts the processes that have had this role, from 1.
    generation: int
    # True if a former generation may have left something in the arena. The arena itself decides
    # (nt_arena_open); after a cold start this is False.
    recovered: bool
    # A random number of this host, the same for all generations of a server.
    seed: int
    # struct nt_status of this server, writable; already says pid, generation and STARTING.
    status: Memory
    # This server's own eventfd.
    doorbell: int
    # Writable; None for a server without one.
    arena: Memory | None
    # This server's own pool, writable; None if it has none.
    own_pool: Pool | None
    # All pools of the host by their owner's role, the own one included; the others are read-only.
    pools: tuple[tuple[str, Pool], ...]
    # Roles of the drivers; a driver's index is its position.
    drivers: tuple[str, ...]
    channels: tuple[Channels, ...]
    # Every server of the host but this one, in boot order.
    neighbours: tuple[Neighbour, ...]
    net: NetConfig
    # Only for a wire driver.
    wire: WireEnd | None = None
    # What ServerSpec.open_device has opened, else -1. rs keeps it open through restarts.
    device_fd: int = -1
    # Only for a driver: its capture ring (capture.h), the control page read-only, the rest
    # writable. It records each frame as it is at the device. None: nobody can observe.
    capture: Memory | None = None
    # Only for the syscall server: hosts whose names its programs can resolve.
    names: tuple[HostName, ...] = ()
    # Only for the syscall server: where programs connect, listening.
    control_fd: int = -1

    def channels_with(self, peer: str) -> Channels:
        """Find the channels with a neighbour; KeyError if the wiring has none."""
        for channels in self.channels:
            if channels.peer == peer:
                return channels
        raise KeyError(f"{self.role} has no channel with {peer}")

    def neighbour(self, role: str) -> Neighbour:
        """Find another server of this host; KeyError if there is none."""
        for neighbour in self.neighbours:
            if neighbour.role == role:
                return neighbour
        raise KeyError(f"host {self.host} has no server {role}")

    def pool(self, role: str) -> Pool:
        """Find a server's pool; KeyError if it has none."""
        for owner, pool in self.pools:
            if owner == role:
                return pool
        raise KeyError(f"{role} has no pool")


@dataclass(frozen=True, slots=True)
class AreaMapping:
    """A socket area, mapped for one server.

    The server of `protocol` gets all three parts (program side read-only, the others writable);
    IP and the drivers get only the program side, as region NT_REGION_AREA + number.
    """

    # Unique among all areas of the host, whatever their protocol.
    number: int
    protocol: int
    slots: int
    # Of the program that attached it.
    pid: int
    program: Memory
    server: Memory | None
    hint: Memory | None


@dataclass(frozen=True, slots=True)
class ListenerMapping:
    """A listener region (listener.h), mapped for the TCP server; both parts writable."""

    number: int
    entries: int
    ring: Memory
    claims: Memory


class RunningServer(Protocol):
    """What create returns. Nothing here may block; all but start is called between two steps."""

    @property
    def engines(self) -> Sequence[int]:
        """Addresses of the struct nt_engine that the loop runs, one (or several, fused)."""

    def start(self) -> None:
        """Initialise or recover, now that every area, queue and listener is mapped again.

        ArenaUnusableError asks for a cold start. Marks all bells once (doorbell.h).
        """

    def map_area(self, area: AreaMapping) -> None:
        """An area exists. Called again for the same number only after unmap_area."""

    def unmap_area(self, number: int) -> None:
        """Forget an area: its program is dead and its connections are drained.

        The memory is unmapped when this returns. A number that is not mapped is no error.
        """

    def set_queue(self, area: int, queue: int, doorbell: int) -> None:
        """An event queue of a program exists: its eventfd, which serve.py keeps open.

        Its sleeping flag is queue[queue].sleeping of the area's program side. Called only for
        servers that have the area's server side.
        """

    def map_listener(self, listener: ListenerMapping) -> None:
        """A listener region exists (TCP servers only)."""

    def unmap_listener(self, number: int) -> None:
        """Forget a listener region; unmapped when this returns."""


@dataclass(frozen=True, slots=True)
class PoolShape:
    """How many buffers of each class (pool.h) a pool has."""

    small_count: int
    large_count: int


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """What an entry point names: one kind of server."""

    # The entry point's name: "tcp".
    name: str
    # 0: none.
    arena_bytes: int
    # Names of nt_status.counter[0], [1], ...: snake_case, units last.
    counters: tuple[str, ...]
    # Exactly one of the two. `run` is for a server without an engine (the syscall server): it gets
    # the link to rs with all messages after Setup, and does the rest of serve.py's work itself.
    create: Callable[[ServerContext], RunningServer] | None = None
    run: Callable[[ServerContext, Link], None] | None = None
    # For a server whose arena grows with the host's connections: its size for so many, instead of
    # arena_bytes. It reads from the arena's size how many it has room for.
    arena_bytes_for: Callable[[int], int] | None = None
    # Its packet pool; None: none.
    pool: PoolShape | None = None
    # Reads the sockets from an arena that is mapped read-only, while its server goes on changing
    # it, or lies dead: for observers. Whatever is in there, nothing but SocketInfo comes out.
    sockets: Callable[[Memory], Iterable[SocketInfo]] | None = None
    # Opens a driver's device. Runs in rs, once a boot; the descriptor outlives the driver.
    # NewtosError (or OSError) says why the device can't be had; closing it must remove the device.
    open_device: Callable[[DevicePlan], int] | None = None
    # How large IP may make a super-segment for this driver (payload bytes; 0: none), and whether
    # it takes frames with NT_DESC_CSUM_PARTIAL.
    gso_max: int = 0
    csum_tx: bool = False
