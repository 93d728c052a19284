"""What the smallest steps cost: passing a descriptor on, and a recv that finds nothing.

    python -m newtos_py.bench.channel [--json FILE]

Descriptors: nanoseconds, on one core and between two; this file measures them. The empty recv:
cycles, on newtos and on Linux; receive.py measures it, and says how.

The budget (architecture.md §14) is 10 ns a descriptor, pushed and popped in batches of 32 on one
core. Between two cores the cost is moving the cache lines of a slot; it is what a descriptor costs
while both ends work at once. Each figure is the median of several runs.
"""

import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from newtos_py.bench import receive
from newtos_py.bench._channel import ffi, lib
from newtos_py.bench.report import BenchError, this_machine, write_json
from rich.console import Console
from rich.table import Table

from newtos_py.kernel import region
from newtos_py.kernel._kernel import ffi as kernel_ffi
from newtos_py.kernel._kernel import lib as kernel
from newtos_py.kernel.process import pin

CAPACITY = 1024  # as between servers
DESCRIPTOR_BYTES: int = kernel_ffi.sizeof("struct nt_desc")
RUNS = 7
COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """Nanoseconds a descriptor; the spread tells how quiet the machine was."""

    where: str
    batch: int
    median_ns: float
    best_ns: float
    worst_ns: float


class Channel:
    """A fresh channel in memory that children share."""

    def __init__(self) -> None:
        self.size = kernel.nt_channel_bytes(CAPACITY, DESCRIPTOR_BYTES)
        with tempfile.TemporaryFile(dir=region.SHM_DIR) as file:
            file.truncate(self.size)
            self.memory = region.map_memory(file.fileno(), self.size, region.all_of(self.size))
        base = kernel_ffi.cast("void *", self.memory.address)
        kernel.nt_channel_format(base, CAPACITY, DESCRIPTOR_BYTES)
        self.base = ffi.cast("void *", self.memory.address)

    def close(self) -> None:
        """Unmap it."""
        region.unmap_memory(self.memory)


def on_one_core(batch: int, count: int) -> float:
    """Both ends in turn; nanoseconds a descriptor."""
    channel = Channel()
    lib.nt_bench_both(channel.base, channel.size, batch, CAPACITY)  # touches every slot
    total_ns = lib.nt_bench_both(channel.base, channel.size, batch, count)
    channel.close()
    return checked(total_ns) / count


def between_cores(batch: int, count: int, cores: tuple[int, int]) -> float:
    """Produce on one core, consume on another; nanoseconds a descriptor at the consumer."""
    channel = Channel()
    producer = os.fork()
    if producer == 0:
        pin(cores[0])
        lib.nt_bench_produce(channel.base, channel.size, batch, count)
        os._exit(0)
    before = os.sched_getaffinity(0)
    pin(cores[1])
    total_ns = lib.nt_bench_consume(channel.base, channel.size, batch, count)
    os.sched_setaffinity(0, before)
    os.waitpid(producer, 0)
    channel.close()
    return checked(total_ns) / count


def checked(total_ns: int) -> int:
    """Refuse a run in which a descriptor did not arrive as it was sent."""
    if total_ns == 0:
        raise BenchError("a descriptor did not arrive as it was sent")
    return total_ns


def summarize(where: str, batch: int, runs: list[float]) -> Result:
    """Median, best and worst of some runs."""
    return Result(where, batch, statistics.median(runs), min(runs), max(runs))


def measure(runs: int = RUNS, count: int = COUNT) -> list[Result]:
    """All of it: batches of 1 and 32, on one core and, where there are two, between them."""
    results = [
        summarize("one core", batch, [on_one_core(batch, count) for _ in range(runs)])
        for batch in (1, 32)
    ]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        pair = cores[0], cores[1]
        results += [
            summarize("two cores", batch, [between_cores(batch, count, pair) for _ in range(runs)])
            for batch in (1, 32)
        ]
    return results


@click.command(epilog="Example: python -m newtos_py.bench.channel --json channel.json")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="write results there")
def main(json_file: Path | None) -> None:
    """Nanoseconds a descriptor through a channel; cycles of a recv that finds nothing."""
    results, receives = measure(), receive.measure()
    console = Console()
    console.print(table_of(results))
    console.print(receive.table_of(receives))
    if json_file is not None:
        content = {
            "machine": asdict(this_machine()),
            "descriptors": [asdict(result) for result in results],
            "empty_receives": [asdict(result) for result in receives],
        }
        write_json("channel", content, json_file)


def table_of(results: list[Result]) -> Table:
    """Show results."""
    table = Table("descriptors", "batch", "ns a descriptor", "best", "worst")
    for result in results:
        times = (result.median_ns, result.best_ns, result.worst_ns)
        table.add_row(result.where, str(result.batch), *(f"{ns:.1f}" for ns in times))
    return table


if __name__ == "__main__":
    main()
