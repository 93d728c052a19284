"""The pump: a program that carries bytes for sockets which several processes use at once.

It is started when it is first needed, by the name of its module (no server knows the shim), and is
sent pairs: a socket, and the end of a socket pair whose other end the programs get. Options of a
socket that is pumped are its to set and to tell. It outlives this server: rs keeps the connection
with it, its pidfd, and the ends that programs have not come for.
"""

import asyncio
import errno
import importlib.util
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from newtos_py.kernel.descriptors import send_with
from newtos_py.kernel.pump_format import ANSWER, CALL, CARRY, HEAD, MESSAGE_BYTES, OPTION

_MODULE = "newtos_py.libc_shim.pump"
_SHIM = "libnewtos.so"
_COMMANDS, _PROCESS = "pump.commands", "pump.process"
# It answers at once, or hangs.
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Option:
    """One to be set, or told in at most `size` bytes."""

    call: int
    level: int
    name: int
    size: int
    value: bytes


class Pump:
    """The one of this host."""

    def __init__(
        self, control_path: str, keep_file: Callable[[str, int | None], None], generation: int
    ) -> None:
        """`keep_file` has rs keep a descriptor; each generation numbers calls anew."""
        self._control_path = control_path
        self._keep_file = keep_file
        self._process: int | None = None
        self._pid: int | None = None
        self._commands: socket.socket | None = None
        self._number = generation << 20 & 0xFFFFFFFF
        # Kept, because what is not waited for stays a zombie.
        self._children: list[subprocess.Popen[bytes]] = []
        self._asked: dict[int, asyncio.Future[tuple[int, bytes]]] = {}

    def restore(self, key: str, descriptor: int) -> bool:
        """Take up what was kept of the pump; False if it is something else."""
        if key == _COMMANDS:
            self._commands = socket.socket(fileno=descriptor)
        elif key == _PROCESS:
            self._process = descriptor
            text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
            self._pid = next(
                int(line.split()[1]) for line in text.splitlines() if line.startswith("Pid:")
            )
        else:
            return False
        return True

    def serve(self) -> None:
        """Hear the answers of a pump that was taken up; in the event loop."""
        if self._commands is not None:
            self._commands.setblocking(False)
            asyncio.get_running_loop().add_reader(self._commands, self._on_answer)

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        if self._process is None:
            return None
        poll = select.poll()
        poll.register(self._process, select.POLLIN)
        return None if poll.poll(0) else self._pid

    def carry(self, inode: int, placeholder: int) -> int:
        """Have a socket pumped: a descriptor for who uses it, the caller's; OSError."""
        if self.pid is None:
            self._start()
        assert self._commands is not None
        ours, theirs = socket.socketpair()
        head = HEAD.pack(CARRY, 0, inode)
        with theirs:
            send_with(self._commands, head, (placeholder, theirs.fileno()), socket.MSG_DONTWAIT)
        return ours.detach()

    async def option(self, inode: int, option: Option) -> tuple[int, bytes]:
        """Set or tell an option of a socket that is pumped: an errno, and the value."""
        if self.pid is None or self._commands is None:
            return errno.ECONNRESET, b""
        self._number = (self._number + 1) & 0xFFFFFFFF
        number = self._number
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        words = OPTION.pack(option.call, option.level, option.name, option.size)
        message = HEAD.pack(CALL, number, inode) + words + option.value
        try:
            self._commands.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            return await asyncio.wait_for(answer, _ANSWER_S)
        except (OSError, TimeoutError):
            return errno.ECONNRESET, b""
        finally:
            self._asked.pop(number, None)

    def _on_answer(self) -> None:
        assert self._commands is not None
        try:
            data = self._commands.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if len(data) < ANSWER.size:
            self._forget()
            return
        number, error = ANSWER.unpack_from(data)
        answer = self._asked.get(number)
        if answer is not None and not answer.done():
            answer.set_result((error, data[ANSWER.size :]))

    def _forget(self) -> None:
        """It is gone."""
        if self._commands is not None:
            asyncio.get_running_loop().remove_reader(self._commands)
            self._commands.close()
            self._commands = None
            self._keep_file(_COMMANDS, None)
        if self._process is not None:
            os.close(self._process)
            self._process = None
            self._keep_file(_PROCESS, None)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result((errno.ECONNRESET, b""))

    def _start(self) -> None:
        spec = importlib.util.find_spec(_MODULE)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(2, f"{_MODULE} is not installed")
        self._forget()
        self._children = [each for each in self._children if each.poll() is None]
        self._commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environ = {key: value for key, value in os.environ.items() if key != "NEWTOS_TOKEN"}
        shim = str(Path(spec.origin).parent / _SHIM)
        environ["LD_PRELOAD"] = " ".join((shim, *environ.get("LD_PRELOAD", "").split()))
        environ["NEWTOS_CONTROL"] = self._control_path
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())],
                env=environ,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._pid = process.pid
        self._process = os.pidfd_open(process.pid)
        self._children.append(process)
        self._keep_file(_COMMANDS, self._commands.fileno())
        self._keep_file(_PROCESS, self._process)
        self.serve()
