"""Messages of programs (control.h) as dataclasses. What a program sends is input, checked here."""

from dataclasses import dataclass, field, replace
from typing import Any

from newtos_py.errors import NewtosError
from newtos_py.kernel._kernel import ffi, lib
from newtos_py.kernel.descriptors import close_all

MESSAGE_BYTES: int = ffi.sizeof("struct nt_control_message")
FDS_MAX: int = lib.NT_CTL_SENT_FDS_MAX

# A cffi object.
_C = Any


class BadMessageError(NewtosError):
    """A program sent what no shim sends."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An Internet endpoint (area.h): 16 bytes of address, IPv4 mapped, and a port."""

    address: bytes = bytes(16)
    port: int = 0
    scope: int = 0


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A request, or the reply to it: the fields of struct nt_control_message."""

    kind: int
    number: int
    error: int = 0
    protocol: int = 0
    area: int = 0
    slot: int = 0
    generation: int = 0
    arg: int = 0
    options: int = 0
    endpoint: Endpoint = field(default_factory=Endpoint)
    lane: int = 0
    nth: int = 0
    lanes: int = 0
    text: bytes = b""

    def failed(self, error: int) -> "ControlMessage":
        """Make the reply that says what went wrong; `error` is an errno."""
        return replace(self, error=error, text=b"")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply and its descriptors; `temporary` ones are closed once it is sent."""

    message: ControlMessage
    descriptors: tuple[int, ...] = ()
    temporary: tuple[int, ...] = ()

    def close(self) -> None:
        """Close what was opened for the reply only."""
        close_all(self.temporary)


def parse(data: bytes) -> ControlMessage:
    """Read a message; BadMessageError if it is none of this version."""
    if len(data) != MESSAGE_BYTES:
        raise BadMessageError(f"a message of {len(data)} bytes")
    raw = ffi.from_buffer("struct nt_control_message *", data)
    if (raw.magic, raw.version) != (lib.NT_CTL_MAGIC, lib.NT_CTL_VERSION):
        raise BadMessageError(f"a message with magic {raw.magic:#x}, version {raw.version}")
    if raw.text_bytes > lib.NT_CTL_TEXT_BYTES:
        raise BadMessageError(f"a text of {raw.text_bytes} bytes")
    return ControlMessage(
        kind=raw.kind,
        number=raw.number,
        error=raw.error,
        protocol=raw.protocol,
        area=raw.area,
        slot=raw.slot,
        generation=raw.generation,
        arg=raw.arg,
        options=raw.options,
        endpoint=read_endpoint(raw.endpoint),
        lane=raw.lane,
        nth=raw.nth,
        lanes=raw.lanes,
        text=bytes(ffi.buffer(raw.text, raw.text_bytes)),
    )


def emit(message: ControlMessage) -> bytes:
    """Write a message. A text that is too long is cut; a NUL always follows it."""
    raw = ffi.new("struct nt_control_message *")
    raw.magic, raw.version = lib.NT_CTL_MAGIC, lib.NT_CTL_VERSION
    raw.kind, raw.number, raw.error = message.kind, message.number, message.error
    raw.protocol, raw.area = message.protocol, message.area
    raw.slot, raw.generation = message.slot, message.generation
    raw.arg, raw.options = message.arg, message.options
    raw.lane, raw.nth, raw.lanes = message.lane, message.nth, message.lanes
    write_endpoint(raw.endpoint, message.endpoint)
    text = message.text[: lib.NT_CTL_TEXT_BYTES - 1]
    raw.text_bytes = len(text)
    ffi.memmove(raw.text, text, len(text))
    return bytes(ffi.buffer(raw))


def read_endpoint(raw: _C) -> Endpoint:
    """Copy a struct nt_endpoint."""
    return Endpoint(bytes(raw.addr), raw.port, raw.scope)


def write_endpoint(raw: _C, endpoint: Endpoint) -> None:
    """Fill a struct nt_endpoint."""
    raw.addr, raw.port, raw.scope = endpoint.address, endpoint.port, endpoint.scope
