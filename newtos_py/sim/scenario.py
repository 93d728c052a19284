"""Scenarios: what programs do, over which network, and who dies meanwhile.

A scenario's name says all three: "tcp-streams/lossy/tcp"; where its hosts have several lanes of TCP
it says how many, and how segments find theirs: "tcp-streams@2-rss/lossy/tcp". With a seed it is one
run, which `python -m newtos_py.sim --scenario NAME --seed N` repeats, event by event.
"""

import errno
import random
from dataclasses import dataclass

from newtos_py.sim._world import lib
from newtos_py.sim.simulation import (
    SECOND_NS,
    Link,
    Role,
    Simulation,
    SimulationError,
    TraceLevel,
    Tuning,
)
from newtos_py.sim.traffic import HOSTS, LIMIT_S, LIMITS_S, TRAFFIC, TRAFFIC_IN_LANES

NETWORKS = {
    "clean": Link(),
    "slow": Link(latency_us=2000, rate=20_000_000),
    "lossy": Link(latency_us=200, loss=0.02, reorder=0.02, duplicate=0.02, corrupt=0.01),
}

# Who dies, as often as one of _DEATHS_A_STEP says, which each seed chooses.
DEATHS: dict[str, tuple[Role, ...]] = {
    "none": (),
    "wire": (Role.WIRE,),
    "ip": (Role.IP,),
    "udp": (Role.UDP,),
    "tcp": (Role.TCP,),
    "all": (Role.WIRE, Role.IP, Role.UDP, Role.TCP),
    # These may lose their memory, too, and nobody above notices.
    "cold": (Role.WIRE, Role.IP),
}
# Hosts of several lanes, and what is done there. Not where a program names one port again and again
# for connections to one peer, or where IP forgets which lane a named port is in
# (docs/decisions/0012-lanes.md).
LANES = {
    "2-rss": (2, "rss", lib.NT_LISTEN_FINE),
    "2-rfd": (2, "rfd", lib.NT_LISTEN_AFFINITY),
    "3-flow-groups": (3, "flow-groups", lib.NT_LISTEN_STOCK),
}
# For what several programs accept from: each design, with one lane and with two.
DESIGNS = {
    f"{lanes}-{design}": (lanes, "rss", number)
    for lanes in (1, 2)
    for design, number in (
        ("fine", lib.NT_LISTEN_FINE),
        ("affinity", lib.NT_LISTEN_AFFINITY),
        ("stock", lib.NT_LISTEN_STOCK),
        ("reuseport", lib.NT_LISTEN_REUSEPORT),
        ("fastsocket", lib.NT_LISTEN_FASTSOCKET),
    )
}
_SHAPES = LANES | DESIGNS
_IN_LANES = (
    "tcp-streams", "tcp-backlog", "tcp-loopback", "tcp-churn", "tcp-refused", "tcp-both-open",
    "tcp-killed", "programs",
)  # fmt: skip
_NAMES_PORTS = ("tcp-both-open",)
# Of the steps that have work.
_DEATHS_A_STEP = (0.003, 0.01, 0.05)

# Where the clock starts: shortly after boot, or before one of its narrower counts wraps.
_STARTS_NS = (
    SECOND_NS,
    (1 << 32) * 1000 - 50_000_000,  # microseconds in 32 bits
    (1 << 32) * 1_000_000 - 50_000_000,  # milliseconds
    (1 << 31) * 1_000_000 - 50_000_000,
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    steps: int
    past_s: float
    deaths: int
    trace: str


class ScenarioFailed(SimulationError):  # noqa: N818  # it is what pytest prints
    """A run failed; the message says how to repeat it."""

    trace = ""


def names() -> list[str]:
    """All scenarios of hosts with one lane."""
    return [f"{t}/{n}/{d}" for t in TRAFFIC for n in NETWORKS for d in DEATHS]


def names_in_lanes() -> list[str]:
    """Those of hosts with several, and of listen designs."""
    where = [
        *((traffic, shape) for traffic in _IN_LANES for shape in LANES),
        *(("tcp-acceptors", shape) for shape in DESIGNS),
    ]
    return [
        f"{traffic}@{shape}/{network}/{deaths}"
        for traffic, shape in where
        for network in NETWORKS
        for deaths in DEATHS
        if deaths != "cold" or traffic not in _NAMES_PORTS
    ]


def _tuning(name: str, seed: int) -> Tuning:
    _, network, deaths = name.split("/")
    rng = random.Random(f"{name}/{seed}")
    death = rng.choice(_DEATHS_A_STEP)
    return Tuning(
        seed=rng.getrandbits(64),
        start_ns=rng.choice(_STARTS_NS),
        budget_max=rng.choice([1, 4, 16, 64]),
        step_ns=rng.choice([200, 2000, 20000]),
        crash=dict.fromkeys(DEATHS[deaths], death),
        stall=rng.choice([0, 0, 0.001, 0.01]),
        stall_us=rng.choice([100, 3000]),
        wrap=rng.random() < 0.5,
        cold=0.5 if deaths == "cold" else 0,
        # Who has lost everything needs some peace to be of use again; more if a link's queue was
        # lost, too.
        life_us=0 if deaths != "cold" else 500_000 if NETWORKS[network].rate else 20_000,
    )


def _run(sim: Simulation, limit_s: float) -> None:
    try:
        sim.run(limit_s)
    except OSError as error:
        # A driver that loses its memory loses frames; enough of them, and no neighbour is found,
        # no peer answers. Then the run says nothing, and ends here.
        if sim.tuning.cold == 0 or error.errno not in (errno.EHOSTUNREACH, errno.ETIMEDOUT):
            raise
        sim.note(f"given up: {error.strerror}")
        return
    sim.drain()


def run(name: str, seed: int, trace: TraceLevel = TraceLevel.OFF) -> Result:
    """Run a scenario; ScenarioFailed, with the trace so far as `trace`, if anything is wrong."""
    what, network, _ = name.split("/")
    traffic, _, shape = what.partition("@")
    sim = Simulation(_tuning(name, seed), trace)
    try:
        lanes = _SHAPES[shape] if shape else (1, "rss", lib.NT_LISTEN_FINE)
        hosts = [sim.add_host(letter, *lanes) for letter in "abc"[: HOSTS.get(traffic, 2)]]
        for host in hosts[1:]:
            sim.add_wire(hosts[0], host, NETWORKS[network])
        sim.boot()
        TRAFFIC_IN_LANES[traffic](sim, hosts)
        _run(sim, LIMITS_S.get(traffic, LIMIT_S))
    except (SimulationError, OSError) as error:
        failed = ScenarioFailed(
            f"{name}, seed {seed}, after {sim.past_s:.6f} s and {sim.steps} steps: {error}\n"
            f"again: python -m newtos_py.sim --scenario {name} --seed {seed} --trace -"
        )
        failed.trace = sim.trace()
        raise failed from error
    return Result(sim.steps, sim.past_s, sim.deaths, sim.trace())
