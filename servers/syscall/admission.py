"""How many programs a host takes, and how many connections each of them: no more than it can serve.

Each costs this server and rs a descriptor or more for as long as it lives. A program that never
stops making them (it forks and forks, or keeps the ends of tokens) is told so in its next child,
while there is still room for everybody else.
"""

import errno
import resource
import socket
from collections.abc import Iterable
from contextlib import suppress

from newtos_py.servers.syscall.control import ControlMessage, emit
from newtos_py.servers.syscall.program import Program

from newtos_py.kernel._kernel import lib

# Children of one program that have not said who they are: those that have used no socket yet.
UNNAMED_MAX = 1024
# Of one process; the shim makes one, and one more when what came by exec had none.
_CONNECTIONS_MAX = 64
# Descriptors for what those who are in still need: areas, listeners, and what is in requests.
_RESERVE = 512


def connections_of(pid: int, programs: Iterable[Program]) -> tuple[int, int]:
    """How many connections a process has, and may have."""
    return sum(each.pid == pid for each in programs), _CONNECTIONS_MAX


def too_many(connection: socket.socket, have: int, most: int) -> int:
    """EMFILE for who has as many as it may, ENFILE if the host is full, or 0."""
    if have >= most:
        return errno.EMFILE
    # The kernel gives the lowest number that is free: no fewer are in use.
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most_in_use = descriptors - min(_RESERVE, descriptors // 4)
    return errno.ENFILE if connection.fileno() >= most_in_use else 0


def refuse(connection: socket.socket, error: int) -> None:
    """Close a connection, and say why (control.h: REFUSED)."""
    message = ControlMessage(lib.NT_CTL_REFUSED, 0, error=error)
    with suppress(OSError):
        connection.send(emit(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    connection.close()
