"""What the HTTP figures of NewtOS (§5.8.1) have in common: lighttpd at 1 to 128 connections.

They differ in the size of an answer, in how many requests a connection carries, and in whether
these are sent one by one or together.
"""

from dataclasses import asdict

from newtos_py.bench.experiment import LINUX, NEWTOS, Curve, Effort, Experiment, Outcome
from newtos_py.bench.http import CONGESTION, Result, compare
from newtos_py.bench.lighttpd import KEEP_ALIVE_MAX, path_of
from newtos_py.bench.wrk import Load

CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_CONNECTIONS = (1, 16, 128)
_DIFFERENCES = (
    "The load is wrk on the second of two cores, not httperf on another machine over 10 Gb/s; "
    "newtos's servers share the two cores with the programs. lighttpd is as Debian has it: it uses "
    "epoll and sendfile, and reads its files itself. Linux serves the same load over loopback, on "
    "the same cores."
)


def figure(
    reproduces: str,
    title: str,
    size_bytes: int,
    requests_a_connection: int,
    pipelined: int = 1,
) -> Experiment:
    """Make the experiment of one figure."""

    def run(effort: Effort) -> Outcome:
        close = requests_a_connection == 1
        points = QUICK_CONNECTIONS if effort.quick else CONNECTIONS
        todo = [Load(path_of(size_bytes), size_bytes, n, close, pipelined) for n in points]
        bound = KEEP_ALIVE_MAX if close else requests_a_connection
        return _outcome(compare(todo, effort.runs, effort.seconds, bound))

    return Experiment(reproduces, title, _DIFFERENCES, run)


def _outcome(results: list[Result]) -> Outcome:
    ours = {float(r.load.connections): r.newtos.requests_per_s for r in results}
    theirs = {float(r.load.connections): r.linux.requests_per_s for r in results}
    return Outcome(
        "connections",
        "requests a second",
        (Curve(NEWTOS, ours), Curve(LINUX, theirs)),
        notes=(f"congestion control on both sides: {CONGESTION}",),
        details={"results": [asdict(result) for result in results]},
    )
