"""Switches of running processes are counted, and of children that have ended."""

import subprocess

from newtos_py.bench.switches import SwitchCounter, switches_of


def test_a_process_that_blocks_gives_up_the_processor() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        assert cat.stdin is not None
        assert cat.stdout is not None
        counter = SwitchCounter([cat.pid])
        for _ in range(20):
            cat.stdin.write(b"x\n")
            cat.stdin.flush()
            assert cat.stdout.readline() == b"x\n"
        counted = counter.count()
    assert counted >= 19


def test_a_child_that_has_ended_counts() -> None:
    counter = SwitchCounter([])
    subprocess.run(["sh", "-c", "cat /dev/null | cat"], check=True)
    assert counter.count() > 0


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert switches_of(gone.pid) == 0
