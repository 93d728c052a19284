"""Removing what dead hosts left behind: processes, shared memory, sockets, records.

A host is dead when its rs is. Its recorded processes that still run are orphans: they are killed
first, because a live server would go on using its regions. Then the regions go, then the files,
the record last, so that a clean that is killed itself can be done again.

Two kinds of leftovers have no readable record: a folder of another version, and regions whose
folder is gone (somebody emptied /tmp), or belongs to another runtime directory. They are removed
only if nobody has any of the instance's regions mapped or open, and only the user's own.
"""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from newtos_py.errors import NewtosError
from newtos_py.rs.process_id import ProcessId, identify, send_signal, wait_for_exit
from newtos_py.rs.records import HostRecord
from newtos_py.rs.runtime import RuntimeDir, region_name

SHM_DIR = Path("/dev/shm")
# Written by observers, too (the control page of a capture ring): says nothing about who writes.
_OBSERVED = re.compile(r"newtos\.[^.]+\.[^.]+\.cap\.")
_REGION = re.compile(r"newtos\.(?P<token>[0-9a-f]{12})\..+")
# SIGKILL takes as long as the kernel needs to take the process apart.
_KILL_TIMEOUT_S = 10.0


class LeftoverKind(StrEnum):
    """What has been removed."""

    PROCESS = "process"
    REGION = "region"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that has been removed."""

    kind: LeftoverKind
    # A pid, a region's name, or a path.
    name: str


@dataclass(frozen=True, slots=True)
class _RegionUser:
    """A process that has a region mapped or open."""

    process: ProcessId
    token: str
    # Observers map for reading only (but for capture rings); what may write is a server.
    writes: bool


def clean(runtime: RuntimeDir, shm_dir: Path = SHM_DIR) -> list[Leftover]:
    """Remove all that dead hosts left behind; answers what it was.

    NewtosError if an orphan can't be killed. Does not touch living hosts.
    """
    removed: list[Leftover] = []
    with runtime.locked():
        # Listed before looking who uses them: what another user of this code makes meanwhile
        # is then not taken for unused.
        regions = sorted(path.name for path in shm_dir.iterdir())
        users = list(_region_users(shm_dir))
        for token in runtime.instances():
            removed += _clean_instance(runtime, token, shm_dir, users)
        removed += _clean_strays(runtime, shm_dir, regions, users)
    return removed


def _clean_instance(
    runtime: RuntimeDir, token: str, shm_dir: Path, users: list[_RegionUser]
) -> list[Leftover]:
    records = runtime.records(token)
    dead = [record for record in records if not record.is_alive]
    removed = []
    for record in dead:
        removed += _clean_host(runtime, record, shm_dir)
    if len(dead) < len(records):
        return removed
    in_use = [user for user in users if user.token == token]
    if records:
        # A server that rs had started, but not yet recorded, when it was killed.
        removed += _kill([user.process for user in in_use if user.writes])
    elif in_use:
        return removed  # no record that could be read, but somebody lives here
    removed += _remove_regions(shm_dir, f"newtos.{token}.")
    folder = runtime.folder(token)
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
            removed.append(Leftover(LeftoverKind.FILE, str(path)))
        folder.rmdir()
    return removed


def _clean_host(runtime: RuntimeDir, record: HostRecord, shm_dir: Path) -> list[Leftover]:
    removed = _kill(record.processes)
    prefix = region_name(record.token, record.host, "").lstrip("/")
    removed += _remove_regions(shm_dir, prefix)
    for path in (
        runtime.control_path(record.token, record.host),
        runtime.record_path(record.token, record.host),
    ):
        if path.exists():
            removed.append(Leftover(LeftoverKind.FILE, str(path)))
    runtime.forget(record.token, record.host)
    return removed


def _clean_strays(
    runtime: RuntimeDir, shm_dir: Path, regions: list[str], users: list[_RegionUser]
) -> list[Leftover]:
    known = {*runtime.instances(), *(user.token for user in users)}
    removed = []
    for name in regions:
        match = _REGION.fullmatch(name)
        path = shm_dir / name
        if match is None or match["token"] in known or not path.exists():
            continue
        if path.lstat().st_uid == os.geteuid():
            removed += _remove_regions(shm_dir, name)
    return removed


def _kill(processes: tuple[ProcessId, ...] | list[ProcessId]) -> list[Leftover]:
    """Kill what still runs; all first, then wait, so that nobody sees its peers die one by one."""
    try:
        hit = [process for process in processes if send_signal(process, signal.SIGKILL)]
    except PermissionError:
        raise NewtosError("some servers belong to another user; clean as that user") from None
    for process in hit:
        if not wait_for_exit(process, _KILL_TIMEOUT_S):
            raise NewtosError(f"process {process.pid} does not die; clean again once it has")
    return [Leftover(LeftoverKind.PROCESS, str(process.pid)) for process in hit]


def _remove_regions(shm_dir: Path, prefix: str) -> list[Leftover]:
    removed = []
    for path in sorted(shm_dir.iterdir()):
        if path.name.startswith(prefix):
            path.unlink(missing_ok=True)
            removed.append(Leftover(LeftoverKind.REGION, f"/{path.name}"))
    return removed


def _region_users(shm_dir: Path) -> Iterator[_RegionUser]:
    """Find who has regions mapped or open, among the processes this user may look into."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        process = identify(int(folder.name))
        if process is None:
            continue
        try:
            yield from _mapped(process, folder, shm_dir)
            yield from _opened(process, folder, shm_dir)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue  # another user's, or gone this moment


def _mapped(process: ProcessId, folder: Path, shm_dir: Path) -> Iterator[_RegionUser]:
    prefix = f"{shm_dir}/"
    for line in (folder / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
        # proc(5): address, permissions, offset, device, inode, path.
        columns = line.split(maxsplit=5)
        if len(columns) == 6 and columns[5].startswith(prefix):
            name = columns[5].removeprefix(prefix)
            match = _REGION.match(name)
            if match is not None:
                writes = "w" in columns[1] and _OBSERVED.match(name) is None
                yield _RegionUser(process, match["token"], writes)


def _opened(process: ProcessId, folder: Path, shm_dir: Path) -> Iterator[_RegionUser]:
    for descriptor in (folder / "fd").iterdir():
        try:
            target = descriptor.readlink()
        except FileNotFoundError:
            continue  # closed this moment
        match = _REGION.match(target.name) if target.parent == shm_dir else None
        if match is not None:
            yield _RegionUser(process, match["token"], False)
