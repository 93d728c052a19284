"""`newtos pcap`: to a file, to a pipe, to a terminal; ends when told, and says what it took."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NEWTOS = Path(sys.executable).parent / "newtos"
FRAME = bytes(12) + b"\x88\xb5" + b"payload"
Process = subprocess.Popen[bytes]


@contextmanager
def pcap(*args: str, stdout: int = subprocess.PIPE) -> Iterator[Process]:
    """Run the command; it captures when this is entered."""
    # The host's record says where: NEWTOS_RUNTIME_DIR, which the fixture `host` has set.
    command = [NEWTOS, "pcap", "--host", "web", *args]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith(b"capturing on ")
            yield process
        finally:
            process.kill()


def finish(process: Process) -> tuple[bytes, bytes, int]:
    out, err = process.communicate(timeout=30)
    return out, err, process.returncode


def packets_in(content: bytes) -> int:
    """Count the Enhanced Packet Blocks."""
    count = at = 0
    while at < len(content):
        count += int.from_bytes(content[at : at + 4], sys.byteorder) == 6
        at += int.from_bytes(content[at + 4 : at + 8], sys.byteorder)
    assert at == len(content)
    return count


def test_a_pipe_gets_pcapng(host: Any) -> None:
    with pcap("-c", "3") as process:
        for _ in range(5):
            host.drivers["tap"].record(FRAME)
        out, err, status = finish(process)
    assert (packets_in(out), err, status) == (3, b"3 packets captured, 0 lost\n", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_file_well(host: Any, tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.pcapng"
    with pcap("-w", str(path)) as process:
        host.drivers["wire.lan"].record(FRAME)
        _wait_until(lambda: path.stat().st_size > 0 and packets_in(path.read_bytes()) == 1)
        process.send_signal(number)
        out, err, status = finish(process)
    assert (out, err, status) == (b"", b"1 packets captured, 0 lost\n", 0)
    assert packets_in(path.read_bytes()) == 1


@pytest.mark.usefixtures("host")
def test_a_duration_ends_it() -> None:
    with pcap("--duration", "0.05") as process:
        out, err, status = finish(process)
    assert (packets_in(out), err, status) == (0, b"0 packets captured, 0 lost\n", 0)


def test_a_reader_that_has_had_enough_is_no_error(host: Any) -> None:
    with pcap() as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        host.drivers["tap"].record(FRAME)
        _, err, status = finish(process)
    # Whether it had taken the packet before it found out is chance.
    assert err.endswith(b" packets captured, 0 lost\n")
    assert (len(err.splitlines()), status) == (1, 0)


def test_a_host_that_stops_ends_it(host: Any) -> None:
    stopped = subprocess.Popen(["sleep", "60"])
    try:
        path = Path(os.environ["NEWTOS_RUNTIME_DIR"]) / host.record.token / "web.json"
        start = Path(f"/proc/{stopped.pid}/stat").read_text().rpartition(")")[2].split()[19]
        text = path.read_text()
        rs = host.record.rs
        path.write_text(
            text.replace(f'"pid": {rs.pid}', f'"pid": {stopped.pid}').replace(
                f'"start_ticks": {rs.start_ticks}', f'"start_ticks": {start}'
            )
        )
        with pcap() as process:
            stopped.kill()
            stopped.wait()
            _, err, status = finish(process)
    finally:
        stopped.kill()
        stopped.wait()
    assert (err, status) == (b"host web has stopped\n0 packets captured, 0 lost\n", 0)


def test_a_terminal_gets_lines(host: Any) -> None:
    ours, theirs = pty.openpty()
    try:
        with pcap("-c", "1", "-i", "tap", stdout=theirs) as process:
            host.drivers["tap"].record(FRAME, direction=1)
            _, err, _ = finish(process)
        said = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said.rstrip().endswith(f"tap in  ethertype 0x88b5, length {len(FRAME)}")
    assert err == b"1 packets captured, 0 lost\n"


@pytest.mark.usefixtures("host")
def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    command = [NEWTOS, "pcap", "--host", "web", "-w", tmp_path / "no" / "x.pcapng"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("newtos: can't write ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.apps("tshark")
def test_tshark_reads_from_the_pipe(host: Any) -> None:
    with pcap("-c", "2") as process:
        host.drivers["tap"].record(FRAME)
        host.drivers["wire.lan"].record(FRAME)
        shown = subprocess.run(
            ["tshark", "-r", "-", "-T", "fields", "-e", "frame.interface_name"],
            stdin=process.stdout, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
    assert shown.stdout.split() == ["tap", "lan"]


def _wait_until(condition: Callable[[], bool]) -> None:
    """Poll with a deadline: another process writes a file, which nothing tells us."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
