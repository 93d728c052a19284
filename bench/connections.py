"""What a request costs beside many idle connections, and with all of them active in turn.

As many server programs as clients, each pair with its share of the connections: a program may open
so many files only. Their number is the same at all points. All clients together keep the same
number of requests under way; on idle connections' side always over the same few, else each over
one chosen at random.
"""

import resource
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort, Experiment, Outcome
from newtos_py.bench.http import CONGESTION
from newtos_py.bench.program import ServerProgram
from newtos_py.bench.report import BenchError, summarize
from newtos_py.bench.sides import CLIENT, LinuxSide, NewtosSide, Side, two_cores
from newtos_py.bench.steps import Steps

CONNECTIONS = (100, 1_000, 10_000, 100_000)
QUICK_CONNECTIONS = (100, 10_000)
# Requests under way, of all clients.
WINDOW = 56
FIRST_PORT = 9000
# Descriptors of a program besides connections; and connections made for a start.
_SPARE = 1000
# Connecting 100,000 takes seconds, on a busy machine tens of them.
ANSWER_TIMEOUT_S = 180.0
IDLE, RANDOM = "others idle", "all at random"


class Asker:
    """A running connections_probe."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def say(self, *words: object) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self._process.stdin.flush()

    def hear(self) -> int:
        """What it answers; BenchError if it has ended, or takes too long."""
        assert self._process.stdout is not None
        # Nothing is buffered here: it answers each command with one line.
        if not select.select([self._process.stdout], [], [], ANSWER_TIMEOUT_S)[0]:
            raise BenchError(f"a client did not answer within {ANSWER_TIMEOUT_S:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"a client ended with status {self._process.wait()}")
        return int(line)


class Askers:
    """All clients of a side, and their servers; a context manager."""

    def __init__(self, side: Side, pairs: int) -> None:
        self._pairs = pairs
        self._shares = [0] * pairs
        probe = [sys.executable, "-P", "-m", "newtos_py.bench.connections_probe"]
        with ExitStack() as stack:
            self._askers = []
            for port in range(FIRST_PORT, FIRST_PORT + pairs):
                stack.enter_context(ServerProgram(side, port, [*probe, "serve", str(port)]))
                ask = [*probe, "ask", side.address, str(port)]
                self._askers.append(stack.enter_context(_asker(side, ask)))
            self._stack = stack.pop_all()

    def __enter__(self) -> "Askers":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def grow(self, connections: int) -> None:
        """Connect until all together have so many."""
        whole, rest = divmod(connections, self._pairs)
        self._shares = [whole + (i < rest) for i in range(self._pairs)]
        for asker, share in zip(self._askers, self._shares, strict=True):
            asker.say("grow", share)
            asker.hear()

    def us_a_request(self, how: str, seconds: float, seed: int) -> float:
        """Microseconds of the whole machine's time."""
        self.begin_asking(seconds, seed, how)
        return seconds * 1e6 / self.hear_answered()

    def begin_asking(self, seconds: float, seed: int, how: str = RANDOM) -> None:
        """Let all clients ask for so long."""
        for i, (asker, share) in enumerate(zip(self._askers, self._shares, strict=True)):
            window = min(WINDOW // self._pairs, share)
            among = window if how == IDLE else share
            asker.say("ask", among, window, int(seconds * 1000), seed + i + 1)

    def hear_answered(self) -> int:
        """Wait until they have all ended; how many requests were answered."""
        return sum(asker.hear() for asker in self._askers)

    def longest_pause_us(self) -> int:
        """The longest time that any client of the last asking heard nothing."""
        for asker in self._askers:
            asker.say("pause")
        return max(asker.hear() for asker in self._askers)


@contextmanager
def _asker(side: Side, command: Sequence[str]) -> Iterator[Asker]:
    process = subprocess.Popen(
        side.on(CLIENT, command),
        env=side.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Asker(process)
    finally:
        process.kill()
        process.communicate()


def pairs_for(connections: int) -> int:
    """How many programs a side it takes, with the descriptors that one may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard <= _SPARE:
        raise BenchError(f"a program may open {hard} files only: ulimit -Hn")
    each = hard - _SPARE
    pairs = -(-connections // each)
    if pairs * 4 > WINDOW:
        raise BenchError(f"{connections} connections need {pairs} programs a side: ulimit -Hn")
    return pairs


def _run(effort: Effort) -> Outcome:
    points = QUICK_CONNECTIONS if effort.quick else CONNECTIONS
    pairs = pairs_for(points[-1])
    seen: dict[tuple[str, str, int], list[float]] = {}
    cores = two_cores()
    with ExitStack() as stack:
        sides: dict[str, Side] = {
            NEWTOS: stack.enter_context(NewtosSide(cores, connections=points[-1] + _SPARE)),
            LINUX: stack.enter_context(LinuxSide(cores, CONGESTION)),
        }
        askers = {name: stack.enter_context(Askers(side, pairs)) for name, side in sides.items()}
        measured = [(name, how) for how in (IDLE, RANDOM) for name in sides]
        steps = stack.enter_context(Steps(len(points) * effort.runs * len(measured)))
        for point in points:
            for name in sides:
                steps.begin(f"{point} connections on {name}")
                askers[name].grow(point)
                # Every ring has its pages, and its programs their caches.
                askers[name].us_a_request(RANDOM, effort.seconds, point)
            for number in range(effort.runs):
                for name, how in measured if number % 2 == 0 else reversed(measured):
                    steps.begin(f"{point} connections on {name}, {how}")
                    took = askers[name].us_a_request(how, effort.seconds, number)
                    seen.setdefault((name, how, point), []).append(took)
                    steps.end()
    curves = tuple(
        Curve(
            f"{name}, {how}",
            {float(point): summarize(seen[name, how, point]) for point in points},
        )
        for name, how in measured
    )
    return Outcome(
        "connections",
        "µs a request",
        curves,
        notes=(
            f"{pairs} programs a side on each side, {WINDOW // pairs * pairs} requests under way",
            f"congestion control on both sides: {CONGESTION}",
            *(
                f"{curve.name}: {growth(curve):.2f} of the cost with {points[0]}"
                for curve in curves
            ),
        ),
    )


def growth(curve: Curve) -> float:
    """The cost with the most connections in that with the fewest."""
    return curve.points[max(curve.points)].median / curve.points[min(curve.points)].median


EXPERIMENT = Experiment(
    reproduces="no figure; mTCP §4 demands that cost does not grow with connections",
    title=f"64 B echoed, {WINDOW} requests under way, beside many connections",
    differences=(
        "Client and server programs on two cores, newtos over a wire, Linux over loopback. Before "
        "it is measured, a point's connections have been asked at random, as far as time allows."
    ),
    run=_run,
)
