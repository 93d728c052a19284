"""Processor time of processes is counted, and a byte's share of it."""

import json
import os
import subprocess
import sys

import pytest
from newtos_py.bench import bulk
from newtos_py.bench.processor_time import ProcessorTime, cycles_a_second, seconds_of
from newtos_py.bench.report import BenchError

# Works for 0.2 s of its own time, says so, and waits.
_WORK = """
import sys, time
while time.process_time() < 0.2:
    pass
print(flush=True)
sys.stdin.read()
"""


def test_work_is_counted() -> None:
    command = [sys.executable, "-c", _WORK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        before = ProcessorTime([worker.pid])
        assert worker.stdout is not None
        worker.stdout.readline()
        total = seconds_of(worker.pid)
        worker.communicate()
    assert total >= 0.18  # user and system time in ticks of 0.01 s, each rounded down
    assert before.seconds() <= 0  # it is gone


def test_a_process_that_is_gone_used_none() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert seconds_of(gone.pid) == 0
    assert seconds_of(os.getpid()) > 0
    assert cycles_a_second() > 1_000_000


def test_a_byte_costs_all_processes_time() -> None:
    end = {
        "sum_received": {"bytes": 1000, "bits_per_second": 8e6, "seconds": 2.0},
        "cpu_utilization_percent": {"host_total": 50.0, "remote_total": 100.0},
    }
    run = bulk.moved(json.dumps({"end": end}), servers_s=1.0)
    assert run.mbit_a_second == 8.0
    assert run.processor_s_a_byte == pytest.approx((0.5 * 2 + 2 + 1) / 1000)
    end["sum_received"]["bytes"] = 0
    with pytest.raises(BenchError, match="received nothing"):
        bulk.moved(json.dumps({"end": end}), servers_s=1.0)
