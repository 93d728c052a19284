"""What rs writes down about each host it runs, for every other process to read.

One JSON file a host, replaced as a whole by its rs whenever something in it changes; no one else
writes it. It names processes by pid and start time, so that a reader can tell a running host from
the leftovers of one whose rs was killed.

Reading checks everything: the file may come from another version, or from a crash.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from newtos_py.errors import NewtosError
from newtos_py.rs.process_id import ProcessId, boot_id, is_alive

# Raised whenever a field changes its meaning.
_VERSION = 1


class RecordError(NewtosError):
    """The text is no record of this version."""


class ServerState(StrEnum):
    """What rs has to say about a server; `newtos ps` shows it."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    # Died too often; rs has given up on it.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One server of a running host."""

    role: str
    core: int
    state: ServerState
    # Counts the processes that have had this role, from 1.
    generation: int
    # How often it was started again after it died.
    restarts: int
    # None while there is no process: before the start, and after the last failure.
    process: ProcessId | None


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One running host. `helpers` are processes without a role, such as the zygote."""

    host: str
    token: str
    boot_file: str
    boot_id: str
    rs: ProcessId
    # Where `newtos run` starts programs, and with which scheduler slice.
    programs_core: int
    slice_us: int
    helpers: tuple[ProcessId, ...]
    servers: tuple[ServerRecord, ...]

    @property
    def is_alive(self) -> bool:
        """Whether the host's rs still runs."""
        return self.boot_id == boot_id() and is_alive(self.rs)

    @property
    def processes(self) -> tuple[ProcessId, ...]:
        """All processes of the host except rs."""
        servers = (server.process for server in self.servers if server.process is not None)
        return (*self.helpers, *servers)


def encode_record(record: HostRecord) -> str:
    """Write a record as JSON."""
    return json.dumps({"version": _VERSION, **asdict(record)}, indent=1) + "\n"


def decode_record(text: str) -> HostRecord:
    """Read a record; RecordError if it is none of this version."""
    try:
        fields = _mapping(json.loads(text))
        if fields["version"] != _VERSION:
            raise RecordError(f"record of version {fields['version']}, not {_VERSION}")
        return HostRecord(
            host=_text(fields["host"]),
            token=_text(fields["token"]),
            boot_file=_text(fields["boot_file"]),
            boot_id=_text(fields["boot_id"]),
            rs=_process(fields["rs"]),
            programs_core=_number(fields["programs_core"]),
            slice_us=_number(fields["slice_us"]),
            helpers=tuple(_process(helper) for helper in _items(fields["helpers"])),
            servers=tuple(_server(server) for server in _items(fields["servers"])),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"not a host's record: {error!r}") from None


def _server(value: object) -> ServerRecord:
    fields = _mapping(value)
    process = fields["process"]
    return ServerRecord(
        role=_text(fields["role"]),
        core=_number(fields["core"]),
        state=ServerState(_text(fields["state"])),
        generation=_number(fields["generation"]),
        restarts=_number(fields["restarts"]),
        process=None if process is None else _process(process),
    )


def _process(value: object) -> ProcessId:
    fields = _mapping(value)
    pid = _number(fields["pid"])
    # 0 and 1 are nobody's to kill.
    if pid <= 1:
        raise ValueError(f"no pid: {pid}")
    return ProcessId(pid, _number(fields["start_ticks"]))


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r}")
    return value


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a string: {value!r}")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"not a whole number: {value!r}")
    return value
