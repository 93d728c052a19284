"""Short connections to nginx by listen design and steering, on a host of two lanes.

nginx has a worker on each of two cores, as both papers demand of a server; each core also runs one
lane of the server's host, and a client. So half of all work is load, and a connection's packets are
processed on the core of its worker or on the other one. What differs between newtos's places is
only which lane a connection comes to (steering) and which worker takes it (listen design).
Beside them Linux, whose workers share one listening socket, or have one each (SO_REUSEPORT).
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from newtos_py.bench.experiment import (
    LINUX,
    NEWTOS,
    PAPER,
    Curve,
    Effort,
    Experiment,
    Outcome,
    Panel,
)
from newtos_py.bench.lanes import SECOND, LanesSide, LinuxLanesSide
from newtos_py.bench.lighttpd import PORT, Site, path_of
from newtos_py.bench.nginx import Nginx
from newtos_py.bench.pairs import need
from newtos_py.bench.report import Summary, summarize
from newtos_py.bench.sides import CLIENT, two_cores
from newtos_py.bench.steps import Steps
from newtos_py.bench.wrk import Load, run_wrk, wrk_command

from newtos_py.topology import ListenDesign, Steering

SIZE = 64
# Of each client: enough to keep both lanes and both workers in batches.
CONNECTIONS = 32
# The steering that a design's paper compares it under; a design that is not here goes with rss.
_STEERINGS = {
    # Affinity-Accept §6.2 uses flow groups for all three, and §7.1 Twenty-Policy with stock.
    "stock": ("flow-groups", "twenty-policy"),
    "fine": ("flow-groups", "rss"),
    "affinity": ("flow-groups", "rss"),
    # Fastsocket §4.1: RSS, with and without Receive Flow Deliver (its Figure 5).
    "reuseport": ("rss",),
    "fastsocket": ("rfd", "rss"),
}
_LINUX_DESIGNS = ("stock", "reuseport")
# What TCP servers count of segments: whether they arrived where their program runs (locality.c).
_LOCAL, _FAR = "local_passive_segments", "far_passive_segments"
_PAPERS = {
    # Table 2: Apache, 48 cores, requests/s of one core, with lock_stat.
    f"Affinity-Accept, 48 cores, a core {PAPER}": {
        "stock": 1_700, "fine": 5_700, "affinity": 7_000
    },
    # §4.2.2, Figure 4(a): nginx, 24 cores; stock is Linux 2.6.32, reuseport 3.13.
    f"Fastsocket, 24 cores {PAPER}": {
        "stock": 178_000, "reuseport": 283_000, "fastsocket": 475_000
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """One of those compared."""

    design: str
    # None: on Linux.
    steering: str | None

    @property
    def name(self) -> str:
        """Of its curve; a curve runs over designs."""
        return LINUX if self.steering is None else f"{NEWTOS}, {self.steering}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run saw."""

    connections_per_s: float
    # Of the segments of accepted connections, per cent; None where nobody counts them.
    local: float | None


def places(*, quick: bool) -> list[Place]:
    """All that this version of the topology allows, and Linux's; `quick`: each design once."""
    found = []
    for design in ListenDesign:
        names = _STEERINGS.get(design.value, ("rss",))
        known = [name for name in names if name in {each.value for each in Steering}]
        found += [Place(design.value, name) for name in (known[:1] if quick else known)]
    return [*found, *(Place(design, None) for design in _LINUX_DESIGNS)]


def _measure(site: Site, place: Place, seconds: int) -> Seen:
    """Boot it, serve, load it from both cores."""
    cores = two_cores()
    with ExitStack() as stack:
        side = _side(place, cores)
        stack.enter_context(side)
        stack.enter_context(Nginx(site, side, cores, reuseport=place.design == "reuseport"))
        load = Load(path_of(SIZE), SIZE, CONNECTIONS, close=True)

        def rate(role: str) -> float:
            command = wrk_command(load, f"{side.addresses[role]}:{PORT}", seconds)
            ran = run_wrk(side.on(role, command), side.environ, load, seconds)
            return ran.requests_per_s

        before = side.counters()
        with ThreadPoolExecutor(2) as pool:
            together = sum(pool.map(rate, (CLIENT, SECOND)))
        counted = side.counters()
        counted.subtract(before)
    return Seen(together, _share(counted))


def _side(place: Place, cores: tuple[int, int]) -> LanesSide | LinuxLanesSide:
    if place.steering is None:
        return LinuxLanesSide(cores)
    return LanesSide(cores, place.design, place.steering)


def _share(counted: Counter[str]) -> float | None:
    both = counted[_LOCAL] + counted[_FAR]
    return 100 * counted[_LOCAL] / both if both else None


def _run(effort: Effort) -> Outcome:
    need("wrk", "nginx")
    todo = places(quick=effort.quick)
    seen: dict[Place, list[Seen]] = {place: [] for place in todo}
    with Site({SIZE}) as site, Steps(effort.runs * len(todo)) as steps:
        for number in range(effort.runs):
            for place in todo if number % 2 == 0 else reversed(todo):
                steps.begin(f"{place.design} on {place.name}")
                seen[place].append(_measure(site, place, effort.seconds))
                steps.end()
    return outcome_of(seen)


def outcome_of(seen: dict[Place, list[Seen]]) -> Outcome:
    """Curves over designs, one a steering; the papers' beside them."""
    designs = list(dict.fromkeys([*_STEERINGS, *(place.design for place in seen)]))
    rates: dict[str, dict[float, Summary]] = {}
    local: dict[str, dict[float, Summary]] = {}
    for place, runs in seen.items():
        x = float(designs.index(place.design) + 1)
        found = summarize([run.connections_per_s for run in runs])
        rates.setdefault(place.name, {})[x] = found
        shares = [run.local for run in runs if run.local is not None]
        if shares:
            local.setdefault(place.name, {})[x] = summarize(shares)
    papers = [
        Curve(name, {float(designs.index(d) + 1): Summary(y, y, y) for d, y in points.items()})
        for name, points in _PAPERS.items()
    ]
    further = [
        Panel(
            "local packets of passive connections, per cent",
            tuple(Curve(*each) for each in local.items()),
        )
    ]
    return Outcome(
        "listen design",
        "connections a second",
        (*(Curve(*each) for each in rates.items()), *papers),
        notes=tuple(_notes(rates, designs)),
        log_x=False,
        log_y=True,
        x_names=tuple(designs),
        further=tuple(panel for panel in further if panel.curves),
    )


def _notes(rates: dict[str, dict[float, Summary]], designs: list[str]) -> Iterator[str]:
    linux = rates.get(LINUX, {})
    for x, name in enumerate(designs, start=1):
        for curve, points in rates.items():
            if curve != LINUX and linux and x in points:
                best = max(summary.median for summary in linux.values())
                yield f"{name}, {curve}: {points[x].median / best:.2f} x Linux's better one"
    ours = {x for curve, points in rates.items() if curve != LINUX for x in points}
    missing = [name for x, name in enumerate(designs, start=1) if x not in ours]
    if missing:
        yield f"not in this version of newtos: {', '.join(missing)}"


EXPERIMENT = Experiment(
    reproduces="Affinity-Accept Figures 2 and 3, Fastsocket Figures 4(a) and 5(b)",
    title="nginx, 64 B, one request a connection, by listen design",
    differences=(
        "Two cores, which the load shares, so none of the papers' curves over 1 to 48 cores can be "
        "drawn: what they show is a lock that many cores contend for, and there is none here. What "
        "two cores can show is the order of the designs, and how many packets are processed where "
        "their connection is. nginx, which can pin its workers, in place of Apache and lighttpd; "
        "64 B and one request a connection, as Fastsocket's, where Affinity-Accept's clients ask "
        "six times with think time. Local packets are counted for newtos only."
    ),
    paper=(
        "Affinity-Accept, 48 cores: Fine-Accept has 2.8 times Stock-Accept's throughput, "
        "Affinity-Accept 24 % more than Fine-Accept with Apache and 17 % more with lighttpd "
        "(§1, §6.4). Fastsocket, 24 cores: 475,000 connections/s, Linux 2.6.32 178,000, Linux "
        "3.13 with SO_REUSEPORT 283,000 (§4.2.2). Local packets of active connections, 16 cores: "
        "6.2 % with RSS, 76.5 % with FDir in ATR mode, 100 % with Receive Flow Deliver and "
        "perfect filters (§4.2.4)."
    ),
    run=_run,
)
