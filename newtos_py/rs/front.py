"""What rs and those who command it say to each other: `newtos boot`, `newtos down`.

boot starts rs with one end of a link. It sends Boot; rs answers Planned, ServerReady for each
server, then Booted or BootFailed. An attached rs ends when that link does; a detached one lives on.
Whoever may connect to its socket (the runtime directory is the user's alone) sends Stop and is
answered Stopped, when nothing is left of those hosts.
"""

from dataclasses import dataclass

from newtos_py.kernel.codec import Codec


@dataclass(frozen=True, slots=True)
class Replacement:
    """A ServerSpec to use for an entry point, instead of the installed one."""

    entry_point: str
    # "module:NAME".
    reference: str


@dataclass(frozen=True, slots=True)
class Boot:
    """Boot a topology."""

    boot_file: str
    # The runtime directory.
    runtime: str
    attached: bool
    replacements: tuple[Replacement, ...]


@dataclass(frozen=True, slots=True)
class PlannedServer:
    """A server that will be started."""

    host: str
    role: str
    core: int


@dataclass(frozen=True, slots=True)
class Planned:
    """All servers, in boot order."""

    servers: tuple[PlannedServer, ...]


@dataclass(frozen=True, slots=True)
class ServerReady:
    """A server is ready."""

    host: str
    role: str
    pid: int
    core: int
    taken_us: int


@dataclass(frozen=True, slots=True)
class Booted:
    """All servers are ready."""


@dataclass(frozen=True, slots=True)
class BootFailed:
    """Nothing is left of the attempt."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop some hosts; none named: all, and rs itself."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing is left of these hosts."""

    hosts: tuple[str, ...]


FRONT_CODEC = Codec(Boot, Planned, ServerReady, Booted, BootFailed, Stop, Stopped)
