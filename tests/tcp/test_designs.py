"""What each listen design does with a connection: whose it is, who hears of it, who may take it.

A host of two lanes with a core each (two_lanes.py), and processes that accept on one or the other.
"""

import random
from collections import Counter

import pytest
from two_lanes import NOWHERE, Lanes, Worker

from newtos_py.sim.tcp_dialogue import ACK, RST, Peer, lib

STOCK, FINE, REUSEPORT = lib.NT_LISTEN_STOCK, lib.NT_LISTEN_FINE, lib.NT_LISTEN_REUSEPORT
AFFINITY, FASTSOCKET = lib.NT_LISTEN_AFFINITY, lib.NT_LISTEN_FASTSOCKET
DESIGNS = {
    "stock": STOCK, "fine": FINE, "reuseport": REUSEPORT, "affinity": AFFINITY,
    "fastsocket": FASTSOCKET,
}  # fmt: skip
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
strict_design = pytest.mark.parametrize("design", [REUSEPORT, FASTSOCKET])
BACKLOG = 16


def pair(lanes: Lanes) -> tuple[Worker, Worker]:
    """A process on each core."""
    return Worker(lanes, (1, 3), core=0), Worker(lanes, (2, 4), core=1)


# -- All designs -----------------------------------------------------------------------------


@every_design
def test_whoever_is_told_finds_a_connection(design: int) -> None:
    lanes = Lanes(design)
    workers = pair(lanes)
    for i in range(12):
        port = lanes.connect(i % 2).port
        told = [worker for worker in workers if worker.is_told()]
        assert len(told) == 1
        assert told[0].sees()
        assert told[0].accept() == port
        assert not any(worker.accepts() for worker in workers)
    assert lanes.counter("accept_moves") == 0


@every_design
@pytest.mark.parametrize("lane", [0, 1])
def test_what_came_before_anybody_accepted_is_the_first_ones(design: int, lane: int) -> None:
    lanes = Lanes(design)
    ports = [lanes.connect(lane).port for _ in range(3)]
    late = Worker.joining(lanes, (1, 3), core=1)
    assert late.sees()
    assert [late.accept() for _ in ports] == ports


@every_design
def test_what_waits_for_one_that_dies_is_served_by_another(design: int) -> None:
    lanes = Lanes(design)
    one, other = pair(lanes)
    ports = {lanes.connect(lane).port for lane in (0, 1) for _ in range(4)}
    other.queue.collect()
    lanes.kill(one)
    assert other.is_told()
    got: set[int] = set()
    while other.accepts_port(got):
        pass
    assert got == ports


@every_design
def test_no_syn_is_refused_while_another_accepts(design: int) -> None:
    lanes = Lanes(design)
    one, other = pair(lanes)
    lanes.kill(one)
    for i in range(8):
        port = lanes.connect(i % 2).port
        assert other.is_told()
        assert other.accept() == port


@every_design
def test_a_process_that_stays_away_strands_nobody(design: int) -> None:
    lanes = Lanes(design)
    workers = pair(lanes)
    for absent, other in (workers, workers[::-1]):
        ports = {lanes.connect(lane).port for lane in (0, 1) for _ in range(3)}
        absent.queue.collect()
        other.queue.collect()
        lanes.after(ms=100)
        assert other.is_told()
        got: set[int] = set()
        while other.accepts_port(got):
            pass
        assert got == ports


# -- stock -----------------------------------------------------------------------------------


def test_stock_is_one_queue_of_all_lanes() -> None:
    lanes = Lanes(STOCK)
    worker = Worker(lanes, (1, 3), core=0)
    ports = []
    for lane in (1, 0, 0, 1, 0, 1):
        ports.append(lanes.connect(lane).port)
        lanes.after(ms=0.1)
    assert [worker.accept() for _ in ports] == ports


def test_stock_lets_others_take_what_has_waited_longest() -> None:
    lanes = Lanes(STOCK)
    workers = pair(lanes)
    first = lanes.connect(1)
    lanes.after(ms=0.1)
    second = lanes.connect(0)
    told = [worker for worker in workers if worker.is_told()]
    assert told
    # In whatever slot the server put them.
    for peer in (first, second):
        assert workers[0].accept() == peer.port


# -- reuseport -------------------------------------------------------------------------------


def test_reuseport_gives_each_its_own_by_hash() -> None:
    lanes = Lanes(REUSEPORT)
    workers = pair(lanes)
    got: Counter[Worker] = Counter()
    for i in range(60):
        peer = lanes.connect(i % 2)
        mine = [worker for worker in workers if worker.sees()]
        assert len(mine) == 1
        assert [worker for worker in workers if worker.is_told()] == mine
        other = workers[mine[0] is workers[0]]
        assert not other.accepts()
        assert mine[0].accept() == peer.port
        peer.send(RST | ACK)
        got[mine[0]] += 1
    assert min(got[worker] for worker in workers) >= 15
    # The master, who does not accept, is walked over, too: twice three, less what came first.
    assert 60 * 4 <= lanes.counter("accept_looks") <= 60 * 6


def test_reuseport_finds_its_own_behind_those_of_another() -> None:
    lanes = Lanes(REUSEPORT, backlog=BACKLOG)
    one, other = pair(lanes)
    ports = [lanes.connect(0).port for _ in range(BACKLOG)]
    got: set[int] = set()
    while other.accepts_port(got):
        pass
    rest = len(got)
    assert 0 < rest < BACKLOG
    while one.accepts_port(got):
        pass
    assert got == set(ports)


# -- fastsocket ------------------------------------------------------------------------------


def test_fastsocket_leaves_a_lane_to_its_local_process() -> None:
    lanes = Lanes(FASTSOCKET)
    workers = pair(lanes)
    for lane in (0, 1, 1, 0):
        port = lanes.connect(lane).port
        local, remote = workers[lane], workers[1 - lane]
        assert local.is_told()
        assert not remote.is_told()
        assert not remote.sees()
        assert not remote.accepts()
        assert local.accept() == port
    assert lanes.counter("accept_global") == 0


def test_fastsocket_serves_a_lane_without_a_process_from_the_global_table() -> None:
    lanes = Lanes(FASTSOCKET)
    worker = Worker(lanes, (1, 3), core=1)
    own = lanes.connect(1).port
    lanes.after(ms=0.1)
    shared = [lanes.connect(0).port for _ in range(2)]
    assert worker.is_told()
    assert worker.sees()
    # The global table first, though the other has waited longer.
    assert [worker.accept() for _ in range(3)] == [*shared, own]
    assert lanes.counter("accept_global") == 2


def test_fastsocket_takes_a_process_to_be_where_it_accepted_last() -> None:
    lanes = Lanes(FASTSOCKET)
    one, other = pair(lanes)
    one.core = 1  # nobody on core 0 any more, but who knows
    port = lanes.connect(0).port
    assert one.is_told()
    assert one.sees()
    assert one.accept() == port
    port = lanes.connect(0).port
    assert lanes.counter("accept_global") == 1
    assert other.sees()
    assert one.sees()
    assert other.accept() == port


@pytest.mark.parametrize("core", [7, NOWHERE])
def test_fastsocket_lets_who_is_local_to_no_lane_serve_all(core: int) -> None:
    lanes = Lanes(FASTSOCKET)
    local, stranger = Worker(lanes, (1, 3), core=0), Worker(lanes, (2, 4), core=core)
    ports = {lanes.connect(lane).port for lane in (0, 1)}
    assert local.is_told()
    assert stranger.sees()
    assert {stranger.accept(), stranger.accept()} == ports


def test_fastsocket_takes_turns_among_those_of_one_core() -> None:
    lanes = Lanes(FASTSOCKET)
    workers = Worker(lanes, (1, 3), core=0), Worker(lanes, (2, 4), core=0)
    told: Counter[Worker] = Counter()
    for _ in range(6):
        peer = lanes.connect(0)
        for worker in workers:
            if worker.is_told():
                told[worker] += 1
                assert worker.accept() == peer.port
    assert [told[worker] for worker in workers] == [3, 3]


# -- affinity --------------------------------------------------------------------------------


def test_affinity_wakes_who_waits_on_the_lanes_core() -> None:
    lanes = Lanes(AFFINITY)
    workers = pair(lanes)
    for worker in workers:
        worker.queue.sleep()
    for lane in (0, 0, 1, 1):
        port = lanes.connect(lane).port
        assert workers[lane].is_told()
        assert not workers[1 - lane].is_told()
        assert workers[lane].accept() == port


def test_affinity_wakes_another_when_nobody_waits_locally() -> None:
    lanes = Lanes(AFFINITY)
    local, remote = pair(lanes)
    remote.queue.sleep()
    for _ in range(3):
        port = lanes.connect(0).port
        assert remote.is_told()
        assert not local.is_told()
        assert remote.accept() == port


def test_affinity_lets_the_local_come_by_when_nobody_waits() -> None:
    lanes = Lanes(AFFINITY)
    local, remote = pair(lanes)
    for _ in range(3):
        port = lanes.connect(0).port
        assert local.is_told()
        assert not remote.is_told()
        assert local.accept() == port


def busy_lane(lanes: Lanes, lane: int) -> list[Peer]:
    """So many connections that their lane is busy."""
    return [lanes.connect(lane) for _ in range(BACKLOG * 3 // 4 + 1)]


def test_affinity_wakes_nobody_on_a_busy_core_for_another() -> None:
    lanes = Lanes(AFFINITY, backlog=BACKLOG)
    local, remote = pair(lanes)
    peers = busy_lane(lanes, 1)
    assert remote.accept() == peers[0].port  # and says that its lane is busy
    local.queue.collect()
    remote.queue.collect()
    remote.queue.sleep()
    lanes.connect(0)
    assert local.is_told()
    assert not remote.is_told()


def test_affinity_steals_one_in_six_and_counts_it() -> None:
    lanes = Lanes(AFFINITY, backlog=BACKLOG)
    local, _ = pair(lanes)
    theirs = {peer.port for peer in busy_lane(lanes, 1)}
    ours = {lanes.connect(0).port for _ in range(12)}
    assert lanes.counter("accept_steals") == 0
    got = [local.accept() for _ in range(12)]
    assert len(theirs & set(got)) == 2
    assert len(ours & set(got)) == 10
    lanes.connect(1)
    assert lanes.lane[1].counter("stolen_by_0") == lanes.counter("accept_steals") == 2


# -- Everything at once ----------------------------------------------------------------------


class Chaos:
    """Processes that look when they are told, move, die and come again; engines that crash."""

    def __init__(self, design: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.lanes = Lanes(design, seed=seed)
        for d in self.lanes.lane:
            number = lib.nt_sim_host_listener_view(d.host, 0).header.number
            assert d.request(lib.NT_REQ_HOLD, arg=number, options=1).error == 0
        self.workers = list(pair(self.lanes))
        self.peers: dict[int, Peer] = {}
        self.waiting: set[int] = set()

    def connect(self) -> None:
        lane = self.random.randrange(2)
        if self.lanes.waiting(lane) < 6:
            peer = self.lanes.connect(lane)
            self.peers[peer.port] = peer
            self.waiting.add(peer.port)

    def look(self, worker: Worker) -> None:
        """What a server does: sleeps until it is told, then accepts until there is nothing."""
        if not worker.is_told():
            return
        got: set[int] = set()
        while worker.accepts_port(got):
            pass
        self.served(got)

    def served(self, ports: set[int]) -> None:
        assert ports <= self.waiting, "accepted twice"
        self.waiting -= ports
        for port in ports:
            self.peers.pop(port).send(RST | ACK)

    def kill(self) -> None:
        if len(self.workers) < 2:
            return
        victim = self.workers.pop(self.random.randrange(2))
        self.lanes.kill(victim)
        self.lanes.after(ms=1)

    def come(self) -> None:
        areas = (3 - self.workers[0].areas[0], 7 - self.workers[0].areas[1])
        if len(self.workers) == 1 and self.lanes.is_free(areas):
            self.workers.append(Worker.joining(self.lanes, areas, self.random.randrange(3)))

    def step(self) -> None:
        for d in self.lanes.lane:
            d.crash_at = self.random.choice((0, 0, 0, self.random.randint(1, 40)))
        do = self.random.choices(
            ["connect", "look", "move", "kill", "come", "after", "restart", "settle"],
            [30, 30, 4, 1, 4, 10, 1, 4],
        )[0]
        worker = self.random.choice(self.workers)
        if do == "look":
            self.look(worker)
        elif do == "move":
            worker.core = self.random.randrange(3)
        elif do == "after":
            self.lanes.after(ms=self.random.choice((0.1, 2, 40)))
        elif do == "restart":
            self.random.choice(self.lanes.lane).restart()
        else:
            {
                "connect": self.connect,
                "kill": self.kill,
                "come": self.come,
                "settle": self.settle,
            }[do]()

    def settle(self) -> None:
        """Nobody needs more than to be told, and time."""
        for d in self.lanes.lane:
            d.crash_at = 0
        for _ in range(6):
            for worker in self.workers:
                self.look(worker)
            self.lanes.after(ms=64)
        assert not self.waiting


@every_design
@pytest.mark.parametrize("seed", range(6))
def test_nobody_is_lost_had_twice_or_forgotten(design: int, seed: int) -> None:
    chaos = Chaos(design, seed)
    for _ in range(120):
        chaos.step()
    chaos.settle()


@pytest.mark.slow
@every_design
@pytest.mark.parametrize("seed", range(100, 200))
def test_nobody_is_lost_had_twice_or_forgotten_at_length(design: int, seed: int) -> None:
    test_nobody_is_lost_had_twice_or_forgotten(design, seed)
