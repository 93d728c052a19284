"""What a topology says, as frozen dataclasses: everything parsed, defaulted and in integers.

A Topology is immutable and complete: a later stage needs nothing but it (and the machine's cores)
to boot. Its Source is kept for the errors of those later stages; two topologies are equal when
they say the same, wherever their lines stand.
"""

from dataclasses import dataclass, field
from enum import Enum

from newtos_py.topology.address import Address
from newtos_py.topology.source import Source

# The idle ladder's starting points, architecture.md §6: a yield that comes back in vain costs a
# switch of 2 us, so 20 of them bound the wait by what a sleep and a wake cost; on a dedicated core
# polling is worth a few cross-core wakes of 12 us; slices of 100 us keep a wake beside a busy
# program at 17-29 us.
DEFAULT_YIELDS = 20
DEFAULT_SPIN_US = 50
DEFAULT_SLICE_US = 100
# 0.6 kB of memory each, taken at boot.
DEFAULT_CONNECTIONS = 16_384


@dataclass(frozen=True, slots=True)
class IdleTunables:
    """How long a server or program waits before it sleeps."""

    yields: int = DEFAULT_YIELDS
    # None: poll for ever (only sensible on a core of its own).
    spin_us: int | None = DEFAULT_SPIN_US
    slice_us: int = DEFAULT_SLICE_US


@dataclass(frozen=True, slots=True)
class Tap:
    """A Linux TAP device that joins a host to the machine's own network."""

    device: str
    # The Linux side's address.
    peer: Address


@dataclass(frozen=True, slots=True)
class Route:
    """Packets to `network` go by way of `via`."""

    network: Address
    via: Address


@dataclass(frozen=True, slots=True)
class Cores:
    """Where a host wants to run; all empty: where the planner puts it.

    `named` overrides single servers (by role) and "programs"; the rest is dealt over `pool`.
    """

    pool: tuple[int, ...] = ()
    named: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Which servers share a process (placement.py)."""

    is_fused: bool = False
    # Server by server: its role, and its process's name.
    named: tuple[tuple[str, str], ...] = ()


class ListenDesign(Enum):
    """Who gets a connection, and where accept() looks (libc_shim/sockets/accept_order.h)."""

    STOCK = "stock"
    FINE = "fine"
    REUSEPORT = "reuseport"
    AFFINITY = "affinity"
    FASTSOCKET = "fastsocket"


class Steering(Enum):
    """Which lane a connection's segments go to (net/steering.h)."""

    RSS = "rss"
    FLOW_GROUPS = "flow-groups"
    RFD = "rfd"
    TWENTY_POLICY = "twenty-policy"


@dataclass(frozen=True, slots=True)
class Host:
    """One emulated operating system."""

    name: str
    addresses: tuple[Address, ...]
    tap: Tap | None = None
    # The gateway is in here as the route to 0.0.0.0/0.
    routes: tuple[Route, ...] = ()
    cores: Cores = Cores()
    idle: IdleTunables = IdleTunables()
    placement: Placement = Placement()
    # TCP servers, each with connections and listening sockets of its own.
    lanes: int = 1
    # How many TCP connections each of them has room for at once.
    connections: int = DEFAULT_CONNECTIONS
    steering: Steering = Steering.RSS
    listen: ListenDesign = ListenDesign.FINE


@dataclass(frozen=True, slots=True)
class Emulation:
    """What a wire does to frames, each way alike; chances in parts per 1e9."""

    latency_ns: int = 0
    # None: as fast as it goes.
    rate_bits: int | None = None
    loss_ppb: int = 0
    reorder_ppb: int = 0
    duplicate_ppb: int = 0
    corrupt_ppb: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Wire:
    """A link between two hosts of this machine."""

    name: str
    hosts: tuple[str, str]
    emulation: Emulation = Emulation()


@dataclass(frozen=True, slots=True)
class Topology:
    """All hosts and wires, in the order of the file."""

    hosts: tuple[Host, ...]
    wires: tuple[Wire, ...]
    source: Source = field(compare=False, repr=False)

    def host(self, name: str) -> Host:
        """Find the host of that name; KeyError if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)
