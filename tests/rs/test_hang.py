"""When a server counts as hanging: looks at a process, one after the other."""

from newtos_py.rs.hang import CPU_LIMIT_NS, HangWatch, Look, Verdict

MS = 1_000_000


def verdicts(*looks: Look, polls_for_ever: bool = False) -> list[Verdict]:
    watch = HangWatch(polls_for_ever=polls_for_ever)
    return [watch.judge(look) for look in looks]


def running(heartbeat: int, cpu_ms: int) -> Look:
    return Look(heartbeat, is_stopped=False, cpu_ns=cpu_ms * MS)


STOPPED = Look(7, is_stopped=True, cpu_ns=0)


def test_who_sleeps_does_not_hang() -> None:
    assert set(verdicts(*[running(7, 10)] * 50)) == {Verdict.FINE}


def test_who_works_does_not_hang() -> None:
    assert set(verdicts(*(running(i, 250 * i) for i in range(50)))) == {Verdict.FINE}


def test_who_uses_cpu_time_without_a_heartbeat_hangs() -> None:
    limit_ms = CPU_LIMIT_NS // MS
    looks = [running(6, 0), running(7, 100), running(7, 100 + limit_ms), running(7, 250)]
    assert verdicts(*looks) == [Verdict.FINE] * 3 + [Verdict.SPINNING]


def test_who_waits_for_a_core_does_not_hang() -> None:
    assert set(verdicts(*(running(7, i // 10) for i in range(400)))) == {Verdict.FINE}


def test_who_is_told_to_poll_for_ever_may() -> None:
    looks = [running(7, 250 * i) for i in range(50)]
    assert set(verdicts(*looks, polls_for_ever=True)) == {Verdict.FINE}


def test_who_is_stopped_twice_hangs() -> None:
    assert verdicts(running(7, 0), STOPPED, running(7, 0), STOPPED, STOPPED) == [
        *[Verdict.FINE] * 4,
        Verdict.STOPPED,
    ]
