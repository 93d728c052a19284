"""Two TCP engines and a bad link: every byte arrives, whatever happens on the way."""

import pytest

from newtos_py.sim.tcp_pair import Connection, Pair, PairConfig, SimulationError

SMALL = [Connection(200 + 37 * i, 3000 * i, opens=i % 2) for i in range(24)]
BULK = [Connection(700_000, 50), Connection(50, 700_000), Connection(300_000, 300_000, opens=1)]


def run(config: PairConfig, connections: list[Connection], seconds: float = 900) -> None:
    with Pair(config) as pair:
        pair.connect(connections)
        pair.run(seconds)
        pair.settle()
        for host in range(2):
            assert pair.counter(host, "tcbs_in_use") == 0, f"leaked TCBs; {config!r}"
            assert pair.counter(host, "time_waits_in_use") == 0, f"TIME-WAIT stays; {config!r}"
            assert pair.buffers_out(host) == 0, f"leaked buffers; {config!r}"
        assert config.crash == 0 or pair.crashes > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_link(seed: int) -> None:
    run(PairConfig(seed), SMALL + BULK)


@pytest.mark.parametrize("seed", range(4))
def test_engines_without_offload(seed: int) -> None:
    run(PairConfig(seed, gso_max=0, ip_budget=3), SMALL + BULK)


@pytest.mark.parametrize("seed", range(8))
def test_a_bad_link(seed: int) -> None:
    run(
        PairConfig(
            seed, loss=0.03, duplicate=0.02, corrupt=0.02, jitter_us=300 * (seed % 3), cut=True
        ),
        SMALL + BULK,
    )


@pytest.mark.parametrize("seed", range(8))
def test_engines_that_die_at_any_instruction(seed: int) -> None:
    run(PairConfig(seed, crash=0.1, slow=0.2), SMALL + BULK)


@pytest.mark.parametrize("seed", range(12))
def test_everything_at_once(seed: int) -> None:
    run(
        PairConfig(
            seed, loss=0.03, duplicate=0.02, corrupt=0.02, jitter_us=200, cut=bool(seed % 2),
            crash=0.05, slow=0.1, ip_budget=4 * (seed % 3), backlog=4,
        ),
        SMALL + BULK,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_seeds(seed: int) -> None:
    run(
        PairConfig(
            seed, loss=0.01 * (seed % 5), duplicate=0.01 * (seed % 3), corrupt=0.01 * (seed % 4),
            jitter_us=100 * (seed % 4), cut=bool(seed % 2), crash=0.1 * (seed % 3), slow=0.1,
            ip_budget=seed % 7, gso_max=65415 if seed % 4 else 0,
        ),
        SMALL + BULK,
    )  # fmt: skip


def test_a_dead_link_is_noticed() -> None:
    with Pair(PairConfig(1, loss=1.0)) as pair:
        pair.connect([Connection(10, 10)])
        with pytest.raises(SimulationError, match="error 110"):
            pair.run()
