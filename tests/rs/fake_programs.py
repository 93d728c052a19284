"""What a program says over its control connection, without a shim."""

import socket
from dataclasses import dataclass

from newtos_py.servers.syscall.control import MESSAGE_BYTES, ControlMessage, emit, parse
from rs_world import DEADLINE_S

from newtos_py.kernel.descriptors import close_all


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and its descriptors, which the test lets the end of the process close."""

    message: ControlMessage
    descriptors: list[int]


class Shim:
    """A program's control connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.connection.settimeout(DEADLINE_S)
        self.number = 0

    def send(self, kind: int, *descriptors: int, **fields: object) -> None:
        self.number += 1
        self.send_again(kind, *descriptors, **fields)

    def send_again(self, kind: int, *descriptors: int, **fields: object) -> None:
        message = ControlMessage(kind, self.number, **fields)
        socket.send_fds(self.connection, [emit(message)], list(descriptors))

    def tell(self, kind: int, *descriptors: int, **fields: object) -> None:
        """Send what has no answer."""
        message = ControlMessage(kind, 0, **fields)
        socket.send_fds(self.connection, [emit(message)], list(descriptors))

    def receive(self) -> Answer:
        """The answer to the last request; those to earlier ones are thrown away."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.connection, MESSAGE_BYTES, 8)
            message = parse(data)
            if message.number == self.number:
                return Answer(message, descriptors)
            close_all(descriptors)

    def call(self, kind: int, *descriptors: int, **fields: object) -> Answer:
        self.send(kind, *descriptors, **fields)
        return self.receive()

    def text(self, kind: int, **fields: object) -> list[str]:
        return self.call(kind, **fields).message.text.decode().splitlines()
