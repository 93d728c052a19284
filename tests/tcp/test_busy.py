"""When a lane's accept queue says that its core is busy (Affinity-Accept §3.3.1)."""

from newtos_py.libc_shim.sockets.program import Socket

from newtos_py.sim.tcp_dialogue import ACK, SYN, Dialogue, lib

BACKLOG = 16


class Lane:
    """A listening socket of design affinity, and clients for it."""

    def __init__(self, design: int) -> None:
        self.d = d = Dialogue(design=design)
        self.listener = d.listen(80, BACKLOG)
        self.region = lib.nt_sim_host_listener_view(d.host, 0)
        self.ports = iter(range(5000, 60000))

    def connect(self) -> None:
        peer = self.d.peer(next(self.ports), to=80)
        peer.send(SYN)
        peer.expect(SYN | ACK)
        peer.send(ACK)

    def accept(self) -> Socket:
        sock, _ = self.listener.accept()
        return sock

    @property
    def is_busy(self) -> bool:
        return bool(self.region.header.busy)


def test_busy_above_three_quarters_and_not_below_a_tenth_on_average() -> None:
    lane = Lane(lib.NT_LISTEN_AFFINITY)
    average = 0.0
    for length in range(1, BACKLOG + 1):
        lane.connect()
        average += (length - average) / (2 * BACKLOG)
        assert lane.is_busy == (length > 0.75 * BACKLOG)
    for _ in range(BACKLOG):
        lane.accept().close()
    assert lane.is_busy, "an empty queue alone does not clear it"
    looks = 0
    while lane.is_busy:
        lane.connect()
        lane.accept().close()
        average += (1 - average) / (2 * BACKLOG)
        looks += 1
        assert looks < 500
    assert average < 0.1 * BACKLOG + 0.01
    assert looks > 20, "it is slow to believe it"


def test_steals_are_counted() -> None:
    lane = Lane(lib.NT_LISTEN_AFFINITY)
    lane.connect()
    lane.region.claims.stolen_by[1] = 3
    lane.connect()
    assert lane.d.counter("accept_steals") == 3
    assert lane.d.counter("stolen_by_1") == 3
    assert lane.d.counter("stolen_by_0") == 0
    lane.region.claims.stolen_by[1] = 5
    lane.d.restart()
    lane.connect()
    lane.region.claims.stolen_by[1] = 6
    lane.connect()
    assert lane.d.counter("accept_steals") == 4, (
        "what came about a restart may be missed, not twice"
    )


def test_other_designs_are_never_busy() -> None:
    lane = Lane(lib.NT_LISTEN_FINE)
    for _ in range(BACKLOG):
        lane.connect()
    assert not lane.is_busy
