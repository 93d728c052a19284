"""memcached under many clients that only read."""

import re
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path

from newtos_py.bench.experiment import Effort, Experiment, Outcome
from newtos_py.bench.pairs import curves, need
from newtos_py.bench.program import ServerProgram, output_of
from newtos_py.bench.report import BenchError
from newtos_py.bench.sides import Side

PORT = 11211
# memcaslap keeps at least 1024 keys for each of its tasks; 16 of them, with eight connections each,
# leave room for the largest values.
TASKS, CONNECTIONS_A_TASK = 16, 8
WINDOW = "1k"
VALUE_KB = (1.0, 5.0, 10.0, 50.0, 100.0)
QUICK_VALUE_KB = (1.0, 10.0)
_MEMCACHED = ("memcached", "-u", "root", "-p", str(PORT), "-U", "0", "-t", "1", "-m", "4096")
_GRACE_S = 30
# memcaslap's own format: sizes from, to, and their share; the shares of set (0) and get (1).
_ONLY_GETS = "key\n64 64 1\nvalue\n{size} {size} 1\ncmd\n0 0\n1 1\n"
_RATE = re.compile(r"TPS: (\d+)")
_MISSES = re.compile(r"^get_misses: (\d+)", re.MULTILINE)


def _run(effort: Effort) -> Outcome:
    need("memcached", "memcaslap")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="newtos-bench-")))
        config = folder / "gets.conf"

        def measure(side: Side, value_kb: float) -> float:
            config.write_text(_ONLY_GETS.format(size=int(value_kb * 1024)), encoding="ascii")
            # A new one each time: memcached never gives memory of one size back for another, so the
            # largest values would leave the smallest no room.
            with ServerProgram(side, PORT, _MEMCACHED):
                said = output_of(
                    side,
                    ["memcaslap", "-s", f"{side.address}:{PORT}", "-T", "1", "-c", str(TASKS),
                     "-n", str(CONNECTIONS_A_TASK), "-w", WINDOW, "-t", f"{effort.seconds}s",
                     "-F", str(config)],
                    effort.seconds + _GRACE_S,
                )  # fmt: skip
            rate, misses = _RATE.search(said), _MISSES.search(said)
            if rate is None or misses is None or int(misses[1]):
                raise BenchError(f"memcaslap on {side.name}: {' '.join(said.split())}")
            return float(rate[1])

        points = QUICK_VALUE_KB if effort.quick else VALUE_KB
        found = curves(effort, points, lambda _: nullcontext(), measure)
        return Outcome("value in kB", "gets a second", found)


EXPERIMENT = Experiment(
    reproduces="NewtOS §5.8.2 and its memcached figure",
    title=f"memcached, {TASKS * CONNECTIONS_A_TASK} connections that get values",
    differences=(
        "memcaslap, memslap's successor, for a fixed time instead of 10,000 gets a client, and "
        f"{TASKS} gets at a time instead of 128; one memcached thread, as in the paper. On two "
        "cores, Linux over loopback."
    ),
    paper=(
        "Without system calls, memcached on newtos is comparable to memcached on Linux (§5.8.2). "
        "Its points are in the figure only, not in the text."
    ),
    run=_run,
)
