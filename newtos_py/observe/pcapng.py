"""Writing pcapng, the capture format of wireshark and tcpdump (draft-ietf-opsawg-pcapng).

A file is one section: a Section Header Block, an Interface Description Block for each interface,
an Enhanced Packet Block for each packet, an Interface Statistics Block for each interface at the
end. All in this machine's byte order, which the section header tells. Time is in nanoseconds.

Our own, because of the libraries at hand dpkt overwrites a packet's original length with the
captured one, scapy writes microseconds, and python-pcapng warns about its own option tables.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import IO

_SECTION_HEADER, _INTERFACE, _STATISTICS, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_VERSION = (1, 0)
_LENGTH_UNKNOWN = -1
_LINKTYPE_ETHERNET = 1

# Option codes; each block type has its own (0 ends the list).
_END_OF_OPTIONS = 0
_SHB_USERAPPL = 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_EPB_FLAGS = 2
_ISB_IFRECV, _ISB_IFDROP = 4, 5

_NANOSECONDS = 9  # if_tsresol: a negative power of ten

Option = tuple[int, bytes]


class Direction(IntEnum):
    """The lowest two bits of epb_flags."""

    IN = 1
    OUT = 2


@dataclass(frozen=True, slots=True)
class Interface:
    """What frames were captured on; a packet names it by its position."""

    name: str
    description: str
    # The most that is captured of a packet; 0: all.
    snap_bytes: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One captured Ethernet frame."""

    interface: int
    # Since the epoch.
    time_ns: int
    direction: Direction
    # At the device; `frame` may be less.
    original_bytes: int
    frame: bytes


class Writer:
    """Writes one section to a binary file; flushing and closing are the caller's."""

    def __init__(self, file: IO[bytes], program: str, interfaces: Sequence[Interface]) -> None:
        self._file = file
        header = struct.pack("=IHHq", _BYTE_ORDER_MAGIC, *_VERSION, _LENGTH_UNKNOWN)
        self._block(_SECTION_HEADER, header, [(_SHB_USERAPPL, program.encode())])
        for interface in interfaces:
            self._block(
                _INTERFACE,
                struct.pack("=HHI", _LINKTYPE_ETHERNET, 0, interface.snap_bytes),
                [
                    (_IF_NAME, interface.name.encode()),
                    (_IF_DESCRIPTION, interface.description.encode()),
                    (_IF_TSRESOL, bytes([_NANOSECONDS])),
                ],
            )

    def packet(self, packet: Packet) -> None:
        """Write a packet."""
        header = struct.pack(
            "=IIIII",
            packet.interface,
            packet.time_ns >> 32,
            packet.time_ns & 0xFFFF_FFFF,
            len(packet.frame),
            packet.original_bytes,
        )
        flags = struct.pack("=I", packet.direction)
        self._block(_ENHANCED_PACKET, header + _padded(packet.frame), [(_EPB_FLAGS, flags)])

    def statistics(self, interface: int, time_ns: int, received: int, dropped: int) -> None:
        """Write how many packets an interface saw, and how many of these were not captured."""
        self._block(
            _STATISTICS,
            struct.pack("=III", interface, time_ns >> 32, time_ns & 0xFFFF_FFFF),
            [
                (_ISB_IFRECV, struct.pack("=Q", received)),
                (_ISB_IFDROP, struct.pack("=Q", dropped)),
            ],
        )

    def _block(self, kind: int, body: bytes, options: Sequence[Option]) -> None:
        tail = b"".join(
            struct.pack("=HH", code, len(value)) + _padded(value) for code, value in options
        )
        tail += struct.pack("=HH", _END_OF_OPTIONS, 0)
        length = 12 + len(body) + len(tail)
        start, end = struct.pack("=II", kind, length), struct.pack("=I", length)
        self._file.write(b"".join((start, body, tail, end)))


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
