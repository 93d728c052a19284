"""Whether the dynamic linker will load the shim into a program.

It silently does not into a statically linked program, one of another word size or machine, or one
that gains privileges (AT_SECURE, ld.so(8)). Such a program would talk to the kernel's own network
instead of the host's, so `newtos run` refuses it. For a script the interpreter of its first line
counts.
"""

import os
import stat
import struct
import sys
from pathlib import Path

_MAGIC = b"\x7fELF"
_PT_INTERP = 3
# e_ident, e_type, e_machine, then (64 bit) where the program headers are, their size and number.
_IDENT = struct.Struct("=16s2sH")
_HEADER_64 = struct.Struct("=32xQ14xHH")
_HEADER_BYTES = 64
# A header table of the largest size, and a script's first line.
_TABLE_BYTES_MAX = 65_535 * 56
_LINE_BYTES_MAX = 256
# A script's interpreter may be a script, as deep as the kernel follows.
_SCRIPTS_MAX = 5
_CAPABILITIES = "security.capability"


def why_not_preloadable(program: Path) -> str | None:
    """Say why the shim can't reach a program; None if it can, or if the kernel will object."""
    reason = _why_privileged(program)
    for _ in range(_SCRIPTS_MAX):
        try:
            with program.open("rb") as file:
                start = file.read(max(_HEADER_BYTES, _LINE_BYTES_MAX))
        except OSError:
            return reason
        if start.startswith(_MAGIC):
            return reason or _why_privileged(program) or _why_not_elf(program, start)
        words = start.partition(b"\n")[0].removeprefix(b"#!").split()
        if not start.startswith(b"#!") or not words or b"\0" in words[0]:
            return reason
        # A script's own set-user-ID bit means nothing to Linux.
        reason = None
        program = Path(os.fsdecode(words[0]))
    return None


def _why_privileged(program: Path) -> str | None:
    try:
        status = program.stat()
    except OSError:
        return None
    changes_user = status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid()
    changes_group = status.st_mode & stat.S_ISGID and status.st_gid != os.getegid()
    if changes_user or changes_group:
        return "it changes its user or group when started, so nothing can be preloaded into it"
    if os.geteuid() != 0 and _CAPABILITIES in _attributes(program):
        return "it has file capabilities, so nothing can be preloaded into it"
    return None


def _attributes(program: Path) -> list[str]:
    try:
        return os.listxattr(program)
    except OSError:
        return []


def _why_not_elf(program: Path, start: bytes) -> str | None:
    with Path(sys.executable).open("rb") as file:
        own_ident, _, own_machine = _IDENT.unpack(file.read(_IDENT.size))
    ident, _, machine = _IDENT.unpack_from(start.ljust(_HEADER_BYTES, b"\0"))
    # Class (word size) and byte order, then the machine.
    if ident[4:6] != own_ident[4:6] or machine != own_machine:
        return "it is for another machine or word size than newtos_py's"
    if _has_interpreter(program, start):
        return None
    return "it is statically linked, so nothing can be preloaded into it"


def _has_interpreter(program: Path, start: bytes) -> bool:
    """Whether a program header names a dynamic linker; True where the headers make no sense."""
    offset, size, count = _HEADER_64.unpack_from(start.ljust(_HEADER_BYTES, b"\0"))
    if not size:
        return True
    try:
        with program.open("rb") as file:
            file.seek(offset)
            table = file.read(min(size * count, _TABLE_BYTES_MAX))
    except (OSError, ValueError):
        return True
    types = (table[at : at + 4] for at in range(0, len(table), size))
    return any(int.from_bytes(kind, sys.byteorder) == _PT_INTERP for kind in types)
