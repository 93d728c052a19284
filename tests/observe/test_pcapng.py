"""What is written is pcapng as others read it."""

import io
import struct
import subprocess
from pathlib import Path

import pytest

from newtos_py.observe.pcapng import Direction, Interface, Packet, Writer

NS = 1_700_000_000_123_456_789
INTERFACES = (Interface("lan", "wire.lan of host web", 0), Interface("tap", "tap", 64))
# An Ethernet frame of a type of nobody's (IEEE 802 §9.2.4: local experiments).
FRAME = bytes(12) + b"\x88\xb5" + b"payload" * 3


def written(*packets: Packet) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, "test", INTERFACES)
    for packet in packets:
        writer.packet(packet)
    writer.statistics(0, NS, 5, 2)
    return file.getvalue()


def test_blocks_can_be_walked_from_both_ends() -> None:
    content = written(Packet(0, NS, Direction.IN, len(FRAME), FRAME))
    kinds = []
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from("=II", content, at)
        assert length % 4 == 0
        assert struct.unpack_from("=I", content, at + length - 4) == (length,)
        kinds.append(kind)
        at += length
    assert kinds == [0x0A0D0D0A, 1, 1, 6, 5]


def field(path: Path, *names: str) -> list[list[str]]:
    options = [word for name in names for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "fields", *options], capture_output=True, text=True, check=True
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.apps("tshark")
def test_tshark_reads_time_direction_interface_and_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    path.write_bytes(
        written(
            Packet(0, NS, Direction.IN, len(FRAME), FRAME),
            Packet(1, NS + 1, Direction.OUT, 9000, FRAME),
        )
    )
    rows = field(
        path,
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
        "frame.cap_len",
        "data",
    )
    payload = (b"payload" * 3).hex()
    assert [[row[0], row[1], int(row[2], 0), *row[3:]] for row in rows] == [
        ["1700000000.123456789", "lan", 1, "35", "35", payload],
        ["1700000000.123456790", "tap", 2, "9000", "35", payload],
    ]
