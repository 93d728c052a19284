"""The runtime directory: where running hosts are found.

    NEWTOS_RUNTIME_DIR, or $XDG_RUNTIME_DIR/newtos, or /tmp/newtos-UID     mode 0700
      TOKEN/                one folder a booted topology; the token is random
        HOST.json           the host's record (records.py), written by its rs only
        HOST.control        its control socket, where programs attach
        HOST.log            what rs did for it, and what its servers printed
        rs                  the socket of the topology's rs, for `newtos down`

Shared memory regions are named /newtos.TOKEN.HOST.ROLE; host names hold no dot, so the name splits
again. A region's token leads to its folder, and the records in there tell whether anyone still
needs it.

Invariants: a host's name is running at most once in a runtime directory (registering happens under
a lock on the directory itself, which leaves no file behind); a record exists before the first
region, socket or server of its host, and goes after the last of them. So whatever is killed when,
clean.py finds what is left.
"""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.rs.records import HostRecord, RecordError, decode_record, encode_record

_TOKEN_BYTES = 6
_RECORD_SUFFIX = ".json"
_CONTROL_SUFFIX = ".control"
_LOG_SUFFIX = ".log"
_RS_NAME = "rs"
# sockaddr_un.sun_path holds 108 bytes, with the final NUL.
_MAX_SOCKET_PATH = 107


class RuntimeDirError(NewtosError):
    """The runtime directory can't be used."""


class HostRunningError(NewtosError):
    """A host of that name is running already."""


class HostNotRunningError(NewtosError):
    """No host of that name is running."""


def new_token() -> str:
    """Make the random name of an instance: lower-case hexadecimal."""
    return secrets.token_hex(_TOKEN_BYTES)


def region_name(token: str, host: str, role: str) -> str:
    """Name a shared memory region; `role` may be longer than a server's, as in "tcp0.arena"."""
    return f"/newtos.{token}.{host}.{role}"


def runtime_path(environ: Mapping[str, str], uid: int) -> Path:
    """Choose the runtime directory."""
    if chosen := environ.get("NEWTOS_RUNTIME_DIR"):
        return Path(chosen).absolute()
    if session := environ.get("XDG_RUNTIME_DIR"):
        return Path(session).absolute() / "newtos"
    return Path(f"/tmp/newtos-{uid}")


def open_runtime_dir(path: Path) -> "RuntimeDir":
    """Make the directory if it is missing, and make sure that it is this user's alone."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        problem = f"can't make the runtime directory {path}: {error.strerror}"
        raise RuntimeDirError(f"{problem}; set NEWTOS_RUNTIME_DIR to another place") from None
    if not stat.S_ISDIR(status.st_mode):
        problem = f"the runtime directory {path} is no directory"
    elif status.st_uid != os.geteuid():
        problem = f"the runtime directory {path} belongs to user {status.st_uid}"
    elif status.st_mode & 0o077:
        problem = f"the runtime directory {path} is open to others; chmod 700 it"
    else:
        return RuntimeDir(path)
    raise RuntimeDirError(f"{problem}, or set NEWTOS_RUNTIME_DIR to another place")


@dataclass(frozen=True, slots=True)
class RuntimeDir:
    """An opened runtime directory."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from registering and cleaning; not recursive."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def folder(self, token: str) -> Path:
        """Where an instance keeps its files."""
        return self.path / token

    def control_path(self, token: str, host: str) -> Path:
        """Where a host's control socket is."""
        return self.folder(token) / f"{host}{_CONTROL_SUFFIX}"

    def log_path(self, token: str, host: str) -> Path:
        """Where a host's log is."""
        return self.folder(token) / f"{host}{_LOG_SUFFIX}"

    def rs_path(self, token: str) -> Path:
        """Where the rs of a topology listens."""
        return self.folder(token) / _RS_NAME

    def record_path(self, token: str, host: str) -> Path:
        """Where a host's record is."""
        return self.folder(token) / f"{host}{_RECORD_SUFFIX}"

    def register(self, records: Sequence[HostRecord]) -> None:
        """Enter the hosts of one topology, which share a token, all or none.

        HostRunningError if one of them runs already; RuntimeDirError if the paths get too long.
        """
        for record in records:
            self._check_socket_path(record)
        with self.locked():
            running = {record.host: record for record in self.running_hosts()}
            for record in records:
                if record.host in running:
                    other = running[record.host]
                    raise HostRunningError(
                        f"host {record.host} is running already, from {other.boot_file} "
                        f"(rs has pid {other.rs.pid}); stop it with: newtos down {record.host}"
                    )
            for record in records:
                self.folder(record.token).mkdir(mode=0o700, exist_ok=True)
                self.write(record)

    def write(self, record: HostRecord) -> None:
        """Replace a host's record; readers see the old or the new one, never a part."""
        path = self.record_path(record.token, record.host)
        fresh = path.with_suffix(".new")
        fresh.write_text(encode_record(record), encoding="utf-8")
        fresh.rename(path)

    def forget(self, token: str, host: str) -> None:
        """Remove a host's files, and the instance's folder with the last of them."""
        record = self.record_path(token, host)
        self.control_path(token, host).unlink(missing_ok=True)
        self.log_path(token, host).unlink(missing_ok=True)
        record.with_suffix(".new").unlink(missing_ok=True)
        record.unlink(missing_ok=True)
        if not any(self.folder(token).iterdir()):
            self.folder(token).rmdir()

    def instances(self) -> list[str]:
        """List the tokens that have a folder."""
        return sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())

    def records(self, token: str) -> list[HostRecord]:
        """Read an instance's records, leaving out what is none of this version."""
        found = []
        for path in sorted(self.folder(token).glob(f"*{_RECORD_SUFFIX}")):
            try:
                record = decode_record(path.read_text(encoding="utf-8"))
            except (RecordError, UnicodeDecodeError, FileNotFoundError):
                continue  # foreign, or forgotten this moment
            if (record.token, record.host) == (token, path.name.removesuffix(_RECORD_SUFFIX)):
                found.append(record)
        return found

    def all_hosts(self) -> list[HostRecord]:
        """Read all records, those of dead hosts included, by host name."""
        records = [record for token in self.instances() for record in self.records(token)]
        return sorted(records, key=lambda record: record.host)

    def running_hosts(self) -> list[HostRecord]:
        """Read the records of hosts whose rs is alive, by host name."""
        return [record for record in self.all_hosts() if record.is_alive]

    def find_host(self, name: str) -> HostRecord:
        """Find a running host; HostNotRunningError says what runs instead."""
        hosts = self.all_hosts()
        running = [record for record in hosts if record.is_alive]
        for record in running:
            if record.host == name:
                return record
        if any(record.host == name for record in hosts):
            problem = f"host {name} has died: its rs is gone"
            raise HostNotRunningError(f"{problem}; remove what is left with: newtos clean")
        names = ", ".join(record.host for record in running)
        hint = f"running: {names}" if names else "boot a topology with: newtos boot FILE.toml"
        raise HostNotRunningError(f"no host {name} is running; {hint}")

    def _check_socket_path(self, record: HostRecord) -> None:
        path = self.control_path(record.token, record.host)
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            problem = f"{path} is too long for a socket ({_MAX_SOCKET_PATH} bytes)"
            raise RuntimeDirError(f"{problem}; set NEWTOS_RUNTIME_DIR to a shorter one")
