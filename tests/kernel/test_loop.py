"""The idle ladder: works while there is work, sleeps when there is none, and wakes when it must.

The engines are scripts in Python; every wait is ended by what the test itself has put in place
before (a ring, a deadline, a readable descriptor), so a loop that fails to wake is caught by the
test's time limit.
"""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from newtos_py.kernel import clock, doorbell
from newtos_py.kernel._kernel import ffi, lib

NEVER = 2**64 - 1
MS = 1_000_000


class Engine:
    """An engine whose steps are `script`: each call answers how much work it did."""

    def __init__(self, script: Callable[["Engine", int], int]) -> None:
        self.script = script
        self.steps = 0
        self.deadline = NEVER
        self.pending = False
        self.looks: list[int] = []
        self.status = ffi.new("struct nt_status *")
        self.bells = ffi.new("struct nt_bells *")
        lib.nt_bells_init(self.bells)
        self.callbacks = {
            "step": ffi.callback("uint32_t(void *, uint64_t, uint32_t)", self._step),
            "has_work": ffi.callback("bool(void *)", self._has_work),
            "next_deadline": ffi.callback("uint64_t(void *)", lambda _: self.deadline),
        }
        self.engine = ffi.new(
            "struct nt_engine *",
            {**self.callbacks, "bells": self.bells, "status": self.status, "device_fd": -1},
        )

    def _step(self, _: ffi.CData, now_ns: int, budget: int) -> int:
        assert budget == 16
        self.steps += 1
        return self.script(self, now_ns)

    def _has_work(self, _: ffi.CData) -> bool:
        self.looks.append(self.status.sleeping)
        return self.pending


class Loop:
    """A loop over engines, with a control pipe."""

    def __init__(self, *engines: Engine, yields: int = 0, spin_ns: int = 0) -> None:
        self.engines = engines
        self.bell = doorbell.create_doorbell()
        self.control_read, self.control_write = os.pipe()
        self.status = ffi.new("struct nt_status *")
        self.loop = ffi.new("struct nt_loop *")
        for i, engine in enumerate(engines):
            self.loop.engine[i] = engine.engine
        self.loop.engine_count = len(engines)
        self.loop.doorbell_fd = self.bell
        self.loop.control_fd = self.control_read
        self.loop.status = self.status
        self.loop.tunables.budget = 16
        self.loop.tunables.yields = yields
        self.loop.tunables.spin_ns = spin_ns
        self.loop.tunables.control_period_ns = MS

    def run(self) -> int:
        return lib.nt_loop_run(self.loop)

    def stop(self) -> None:
        self.loop.stop = 1

    def close(self) -> None:
        for fd in (self.bell, self.control_read, self.control_write):
            os.close(fd)


@pytest.fixture
def loop_of() -> Iterator[Callable[..., Loop]]:
    loops: list[Loop] = []

    def make(*engines: Engine, **tunables: int) -> Loop:
        loops.append(Loop(*engines, **tunables))
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()


LoopOf = Callable[..., Loop]


def test_it_works_without_sleeping_while_there_is_work(loop_of: LoopOf) -> None:
    engine = Engine(lambda engine, _: engine.steps < 100 or loop.stop() or 1)
    loop = loop_of(engine)
    assert loop.run() == lib.NT_LOOP_STOP
    assert engine.steps == 100
    assert loop.status.steps_with_work == engine.status.steps_with_work == 100
    assert loop.status.heartbeat >= 100
    assert loop.status.sleeps == 0


def test_it_sleeps_until_its_doorbell_rings(loop_of: LoopOf) -> None:
    def script(engine: Engine, _: int) -> int:
        if engine.steps == 1:
            doorbell.ring(loop.bell)  # what a neighbour does when it sees the flag
            return 0
        loop.stop()
        return 1

    loop = loop_of(Engine(script))
    assert loop.run() == lib.NT_LOOP_STOP
    assert loop.status.sleeps == 1
    assert loop.status.sleeping == 0
    assert doorbell.drain(loop.bell) == 0


def test_it_looks_again_after_raising_the_flag(loop_of: LoopOf) -> None:
    def script(engine: Engine, _: int) -> int:
        if engine.steps == 1:
            engine.pending = True  # published just before the flag went up: nobody will ring
            return 0
        loop.stop()
        return 1

    engine = Engine(script)
    loop = loop_of(engine)
    assert loop.run() == lib.NT_LOOP_STOP
    assert engine.looks == [1], "the look is with the flag up"
    assert loop.status.sleeps == 0
    assert engine.status.sleeping == loop.status.sleeping == 0


def test_it_wakes_for_the_earliest_deadline(loop_of: LoopOf) -> None:
    times: list[int] = []

    def script(engine: Engine, now_ns: int) -> int:
        times.append(now_ns)
        if engine.steps == 1:
            engine.deadline = now_ns + 5 * MS
            other.deadline = now_ns + 1000 * MS
            return 0
        loop.stop()
        return 1

    other = Engine(lambda *_: 0)
    loop = loop_of(Engine(script), other)
    loop.run()
    assert 5 * MS <= times[1] - times[0] < 1000 * MS
    assert loop.status.sleeps == other.status.sleeps == 1


def test_a_deadline_that_has_passed_is_not_slept_for(loop_of: LoopOf) -> None:
    def script(engine: Engine, now_ns: int) -> int:
        engine.deadline = now_ns
        if engine.steps == 3:
            loop.stop()
        return 0

    loop = loop_of(Engine(script))
    loop.run()
    assert loop.status.sleeps == 0


def test_it_wakes_for_its_device(loop_of: LoopOf) -> None:
    read_end, write_end = os.pipe()

    def script(engine: Engine, _: int) -> int:
        if engine.steps == 1:
            os.write(write_end, b"frame")
            return 0
        os.read(read_end, 5)
        loop.stop()
        return 1

    engine = Engine(script)
    engine.engine.device_fd = read_end
    loop = loop_of(Engine(lambda *_: 0), engine)
    assert loop.run() == lib.NT_LOOP_STOP
    os.close(read_end)
    os.close(write_end)


@pytest.mark.parametrize("busy", [0, 1])
@pytest.mark.parametrize("spin_ns", [0, NEVER])
def test_control_is_heard_idle_and_under_load(loop_of: LoopOf, busy: int, spin_ns: int) -> None:
    loop = loop_of(Engine(lambda *_: busy), spin_ns=spin_ns)
    os.write(loop.control_write, b"x")
    assert loop.run() == lib.NT_LOOP_CONTROL
    assert loop.run() == lib.NT_LOOP_CONTROL, "again until it was read"


def test_the_end_of_the_control_connection_is_heard(loop_of: LoopOf) -> None:
    loop = loop_of(Engine(lambda *_: 0))
    os.close(loop.control_write)
    loop.control_write = os.open(os.devnull, os.O_WRONLY)
    assert loop.run() == lib.NT_LOOP_CONTROL


def test_a_signal_ends_the_loop_even_from_its_sleep(loop_of: LoopOf) -> None:
    loop = loop_of(Engine(lambda *_: 0))
    assert lib.nt_loop_stop_on_signal(loop.loop, signal.SIGALRM) == 0
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    assert loop.run() == lib.NT_LOOP_STOP
    assert lib.nt_loop_stop_on_signal(ffi.NULL, signal.SIGALRM) == 0
    assert doorbell.drain(loop.bell) == 1, "so that a signal just before ppoll is not slept through"


def test_bells_are_rung_after_the_step_that_marked_them(loop_of: LoopOf) -> None:
    neighbour = doorbell.create_doorbell()
    flag = ffi.new("uint32_t *", 1)
    rings: list[int] = []

    def first(engine: Engine, _: int) -> int:
        lib.nt_face_bells_mark(engine.bells, 9)
        return 1

    def second(*_: object) -> int:
        rings.append(doorbell.drain(neighbour))
        loop.stop()
        return 1

    engine = Engine(first)
    lib.nt_bells_set(engine.bells, 9, flag, neighbour)
    loop = loop_of(engine, Engine(second))
    loop.run()
    assert rings == [1]
    assert engine.status.wakes_sent == 1
    os.close(neighbour)


def test_all_flags_go_up_and_come_down_together(loop_of: LoopOf) -> None:
    engines = [Engine(lambda *_: 0) for _ in range(lib.NT_LOOP_ENGINES)]
    for engine in engines:
        engine.status.sleeping = 1  # a generation that died asleep
    loop = loop_of(*engines)
    flags: list[int] = []

    def last(engine: Engine, _: int) -> int:
        flags.extend(each.status.sleeping for each in engines)
        if engine.steps == 2:
            loop.stop()
        return 0

    engines[-1].script = last
    doorbell.ring(loop.bell)
    loop.run()
    assert set(flags) == {0}
    # The loop stops at the first engine that has work; the first sees every flag up.
    assert [engine.looks[:1] for engine in engines] == [[1]] * len(engines)
    assert [engine.status.sleeps for engine in engines] == [1] * len(engines)


def test_a_new_run_goes_on_where_it_was(loop_of: LoopOf) -> None:
    engine = Engine(lambda *_: 0)
    loop = loop_of(engine)
    os.write(loop.control_write, b"x")
    assert loop.run() == lib.NT_LOOP_CONTROL
    assert os.read(loop.control_read, 1) == b"x"
    engine.script = lambda *_: loop.stop() or 1
    assert loop.run() == lib.NT_LOOP_STOP


# -- The ladder alone --------------------------------------------------------------------------


def rung(idle: ffi.CData, idle_since_ns: int = 0, **tunables: int) -> bool:
    return lib.nt_idle_rung(idle, ffi.new("struct nt_loop_tunables *", tunables), idle_since_ns)


def test_no_yield_no_spin_means_sleep() -> None:
    assert not rung(ffi.new("struct nt_idle *"))


def test_a_dedicated_core_spins_for_its_time() -> None:
    idle = ffi.new("struct nt_idle *")
    assert rung(idle, clock.now_ns(), spin_ns=NEVER)
    assert not rung(idle, clock.now_ns() - 2 * MS, spin_ns=MS)
    assert idle.used == 0


def test_yields_are_bounded() -> None:
    idle = ffi.new("struct nt_idle *", {"yields": 20})
    polls = 0
    while rung(idle, yields=20):
        polls += 1
    assert polls <= 20
    assert idle.used == 0
    assert idle.yields <= 20


def test_the_allowance_grows_with_hand_overs_and_halves_without() -> None:
    """Whatever else this machine runs meanwhile: each rung does one of the two."""
    idle = ffi.new("struct nt_idle *", {"yields": 16})
    for _ in range(200):
        idle.lost_ns = 0
        allowed, used = max(idle.yields, 1), idle.used
        if rung(idle, yields=16):
            assert (idle.yields, idle.used) == (min(allowed + 1, 16), used + 1)
        else:
            assert idle.yields == allowed // 2 or used == allowed
            assert idle.used == 0


def test_few_yields_beside_who_kept_the_core() -> None:
    """Until it is forgotten: a lost_ns that lies ahead never is."""
    for lost_ns, most in ((clock.now_ns() + 3600_000 * MS, 4), (0, 20)):
        idle = ffi.new("struct nt_idle *", {"yields": 20, "lost_ns": lost_ns})
        polls = 0
        while rung(idle, yields=20):
            polls += 1
            assert idle.yields <= most
        assert polls <= most
