"""What programs say about sockets that several of them hold."""

import os
import struct
from collections.abc import Callable

from fake_programs import Shim
from newtos_py.servers.syscall.control import ControlMessage
from rs_world import World

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.server import TCP

NAMED = struct.Struct("=QIIII")
SLOT, GENERATION = 3, 7
Connect = Callable[[], Shim]
Fork = Callable[..., Shim]


def named(placeholder: int, area: int = 0) -> bytes:
    return NAMED.pack(os.fstat(placeholder).st_ino, TCP, area, SLOT, GENERATION)


def tell_of(shim: Shim, placeholder: int, text: bytes | None = None) -> None:
    """Register a socket."""
    text = named(placeholder) if text is None else text
    shim.tell(lib.NT_CTL_TOKEN, placeholder, text=text, arg=lib.NT_TOKEN_MORE, options=1)


def attach(shim: Shim) -> int:
    answer = shim.call(lib.NT_CTL_ATTACH, protocol=TCP).message
    assert answer.error == 0
    return answer.area


def listen(shim: Shim, area: int = 0, backlog: int = 5) -> int:
    call = shim.call(
        lib.NT_CTL_LISTEN, protocol=TCP, area=area, slot=SLOT, generation=GENERATION, arg=backlog
    )
    return call.message.error


def take(shim: Shim, placeholder: int) -> ControlMessage:
    return shim.call(lib.NT_CTL_TAKE, placeholder, protocol=TCP).message


def leave(shim: Shim, placeholder: int) -> int:
    return shim.call(lib.NT_CTL_LEAVE, text=named(placeholder)).message.arg


def moves(world: World) -> tuple[int, int]:
    return world.counter("tcp0", lib.NT_REQ_MOVE), world.counter("tcp0", lib.NT_REQ_MOVED)
