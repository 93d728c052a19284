"""`newtos pcap`: the frames of a host's interfaces, as pcapng or as lines."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

import click

from newtos_py import __version__
from newtos_py.cli.runtime_dir import open_own
from newtos_py.errors import NewtosError
from newtos_py.observe.capture import SNAP_MAX, Capture
from newtos_py.observe.packet_line import packet_line
from newtos_py.observe.pcapng import Packet, Writer
from newtos_py.rs.records import HostRecord

# Rings hold a few milliseconds of a busy wire.
_POLL_S = 0.002
# Of one interface at a time, so that none fills up while another is drained.
_BATCH = 256
# Enough for all headers.
_LINE_SNAP_BYTES = 256


@click.command(epilog="Example: newtos pcap --host web | tshark -r -")
@click.option("--host", "host_name", metavar="NAME", required=True, help="The host to look at.")
@click.option("-w", "--write", "path", metavar="FILE", help="Write pcapng there; -: to stdout.")
@click.option(
    "-i", "--interface", "interfaces", metavar="NAME", multiple=True, help="Only these interfaces."
)
@click.option("-c", "--count", type=click.IntRange(min=1), help="End after so many packets.")
@click.option("--duration", type=click.FloatRange(min=0), help="End after so many seconds.")
@click.option(
    "-s",
    "--snap",
    "snap_bytes",
    type=click.IntRange(1, SNAP_MAX),
    help="Capture no more of each packet than so many bytes; by default all.",
)
def command(
    *,
    host_name: str,
    path: str | None,
    interfaces: tuple[str, ...],
    count: int | None,
    duration: float | None,
    snap_bytes: int | None,
) -> None:
    """Show or write the frames that a host sends and receives, until Ctrl-C.

    On a terminal, a line a packet; otherwise, or with -w, pcapng for tshark or wireshark. Packets
    of 64 kB are super-segments: the host's wire carries them whole.
    """
    record = open_own().find_host(host_name)
    as_lines = path is None and sys.stdout.isatty()
    snap_bytes = snap_bytes or (_LINE_SNAP_BYTES if as_lines else 0)
    with _Stop(duration) as stop, Capture(record, interfaces, snap_bytes) as capture:
        names = ", ".join(interface.name for interface in capture.interfaces)
        with _sink(capture, None if as_lines else path or "-") as sink:
            click.echo(f"capturing on {names} of host {host_name}; Ctrl-C ends", err=True)
            for packet in _packets(capture, record, stop):
                sink.write(packet)
                if sink.written == count:
                    break
        lost = sum(capture.lost(number) for number in range(len(capture.interfaces)))
        click.echo(f"{sink.written} packets captured, {lost} lost", err=True)


class _Stop:
    """Whether it is time to end: by a signal, or because time is up."""

    def __init__(self, duration_s: float | None) -> None:
        self._end = None if duration_s is None else time.monotonic() + duration_s
        self._signalled = False

    def __enter__(self) -> "_Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def __bool__(self) -> bool:
        return self._signalled or (self._end is not None and time.monotonic() >= self._end)

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._signalled = True


class _Sink(Protocol):
    """Where packets go. `written` counts them."""

    written: int

    def write(self, packet: Packet | None) -> None:
        """Take a packet; None: there is no more for the moment, so show what there is."""


class _Lines:
    """Prints a line a packet."""

    def __init__(self, capture: Capture) -> None:
        self.written = 0
        self._capture = capture

    def write(self, packet: Packet | None) -> None:
        if packet is not None:
            click.echo(packet_line(packet, self._capture.interfaces[packet.interface].name))
            self.written += 1


class _File:
    """Writes pcapng."""

    def __init__(self, capture: Capture, file: IO[bytes]) -> None:
        self.written = 0
        self._capture = capture
        self._file = file
        self._received = [0] * len(capture.interfaces)
        self._writer = Writer(file, f"newtos_py {__version__}", capture.interfaces)

    def write(self, packet: Packet | None) -> None:
        if packet is None:
            self._file.flush()
            return
        self._writer.packet(packet)
        self._received[packet.interface] += 1
        self.written += 1

    def finish(self) -> None:
        """Write the statistics."""
        for interface, received in enumerate(self._received):
            lost = self._capture.lost(interface)
            self._writer.statistics(interface, time.time_ns(), received + lost, lost)
        self._file.flush()


@contextmanager
def _sink(capture: Capture, path: str | None) -> Iterator[_Sink]:
    """Open a file, `-` for standard output, or None for lines on a terminal."""
    if path is None:
        yield _Lines(capture)
        return
    try:
        with click.open_file(path, "wb") as file:
            sink = _File(capture, file)
            yield sink
            sink.finish()
    except BrokenPipeError:
        # Whoever reads what we write may have had enough (tshark -c); that is no error. What is
        # left in the buffer must not be tried again when Python ends.
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
    except OSError as error:
        raise NewtosError(f"can't write {path}: {error.strerror}") from None


def _packets(capture: Capture, record: HostRecord, stop: _Stop) -> Iterator[Packet | None]:
    """Take packets until it is time to stop or the host is gone; None when there is none now."""
    while not stop:
        if capture.renew() and not record.is_alive:
            click.echo(f"host {record.host} has stopped", err=True)
            return
        packets = capture.packets(_BATCH)
        yield from packets
        yield None
        if not packets:
            time.sleep(_POLL_S)
