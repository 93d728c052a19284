"""What a nonblocking recv costs that finds nothing: an event loop's most frequent call.

channel.py shows it beside the other small steps. The budget (architecture.md §14) is 40 cycles;
NewtOS took 137 (its §5.6). Linux's own is measured beside it, on an idle loopback connection.
Cycles are the processor's counter's, which on most machines runs at a constant rate near the
nominal clock. The calls run in a loop, so what is told is throughput: the loads of one call overlap
with the next one's.
"""

import mmap
import socket
import statistics
from dataclasses import dataclass

from newtos_py.bench._receive import lib as bench
from newtos_py.bench.report import BenchError
from newtos_py.libc_shim.sockets._sockets import ffi, lib
from newtos_py.libc_shim.sockets.program import Area, Program, Socket
from rich.table import Table

RUNS = 7
CALLS = 200_000
CALIBRATION_MS = 20
SLOTS = 4
GRANTED, CONNECTED = 1, 3  # enum nt_slot_state
FIRST_RING_LOG2 = 14


@dataclass(frozen=True, slots=True)
class Result:
    """Cycles and nanoseconds a call; the spread tells how quiet the machine was."""

    where: str
    median_cycles: float
    best_cycles: float
    worst_cycles: float
    median_ns: float


def idle_connection() -> Socket:
    """A connected socket over memory of our own, with nothing to read."""
    sizes = (
        lib.nt_area_program_bytes(SLOTS),
        lib.nt_area_server_bytes(SLOTS),
        lib.nt_area_hint_bytes(),
    )
    parts = [mmap.mmap(-1, size) for size in sizes]
    raw = [ffi.from_buffer(part) for part in parts]
    lib.nt_area_format(raw[0], raw[1], raw[2], SLOTS, socket.IPPROTO_TCP)
    area = Area(parts[0], parts[1], parts[2], SLOTS)
    server = area.view.slot_server[0]
    server.generation, server.state, server.rx_geometry = 1, GRANTED, FIRST_RING_LOG2
    area.view.server.grant_tail = 1
    program = Program()
    program.attach(area, socket.IPPROTO_TCP, ffi.new("uint32_t *", 0), -1)
    sock = program.socket()
    address = ("10.0.0.2", 80)
    try:
        sock.connect(address)
    except BlockingIOError:
        server.state = CONNECTED
    sock.connect(address)
    return sock


def ours(calls: int) -> int:
    """Ticks of `calls` empty receives on a newtos socket."""
    return lib.nt_face_empty_receives(idle_connection().sock, calls)


def kernels(calls: int) -> int:
    """Ticks of `calls` empty receives on an idle loopback connection of the kernel's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
    ):
        return bench.nt_bench_kernel_receives(sock.fileno(), calls)


def measure(runs: int = RUNS, calls: int = CALLS) -> list[Result]:
    """Ours and the kernel's, in turn."""
    ticks_a_second = bench.nt_bench_ticks_a_second(CALIBRATION_MS)
    cycles: dict[str, list[float]] = {"newtos": [], "Linux": []}
    for _ in range(runs):
        for where, ticks in (("newtos", ours(calls)), ("Linux", kernels(calls))):
            if ticks == 0:
                raise BenchError(f"a receive on {where} found something; run it again")
            cycles[where].append(ticks / calls)
    return [
        Result(
            where,
            statistics.median(found),
            min(found),
            max(found),
            statistics.median(found) * 1e9 / ticks_a_second,
        )
        for where, found in cycles.items()
    ]


def table_of(results: list[Result]) -> Table:
    """Show results."""
    table = Table("empty recv on", "cycles a call", "best", "worst", "ns a call")
    for result in results:
        cycles = (result.median_cycles, result.best_cycles, result.worst_cycles)
        table.add_row(result.where, *(f"{n:.1f}" for n in cycles), f"{result.median_ns:.1f}")
    return table
