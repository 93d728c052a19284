"""`newtos ss` shows what the servers say, as ss would."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from newtos_py.cli import main
from newtos_py.cli import ss as ss_command
from newtos_py.kernel.sockets import SocketEnd, SocketInfo, SocketState, TcpInternals
from newtos_py.net import addr

INTERNALS = TcpInternals(
    congestion="reno",
    snd_wscale=7,
    rcv_wscale=8,
    rto_ms=204,
    rtt_us=1500,
    rttvar_us=250,
    mss=1448,
    cwnd_bytes=14480,
    ssthresh_bytes=28960,
    bytes_in_flight=1449,
    retransmits=3,
    snd_wnd_bytes=65535,
    rcv_wnd_bytes=32768,
    timer="on",
    timer_ms=190,
)
ANY = SocketEnd(bytes(16), 0)


def end(address: str, port: int) -> SocketEnd:
    return SocketEnd(addr.pack(address), port)


def tcp(state: SocketState, local: SocketEnd, peer: SocketEnd, **more: Any) -> SocketInfo:
    fields: dict[str, Any] = {"recv_q": 0, "send_q": 0, "pid": None, **more}
    return SocketInfo(6, state, local=local, peer=peer, **fields)


SOCKETS = [
    tcp(SocketState.LISTEN, end("0.0.0.0", 80), end("0.0.0.0", 0), send_q=128, pid=os.getpid()),
    tcp(
        SocketState.ESTABLISHED,
        end("10.0.0.2", 80),
        end("10.0.0.3", 40000),
        recv_q=5,
        send_q=1449,
        pid=os.getpid(),
        internals=INTERNALS,
    ),
    tcp(SocketState.TIME_WAIT, end("10.0.0.2", 80), end("10.0.0.3", 40001)),
    tcp(SocketState.CLOSED, end("10.0.0.2", 81), ANY),
    tcp(SocketState.ESTABLISHED, end("fe80::1", 7000), end("fe80::2", 7001)),
    SocketInfo(17, SocketState.CLOSED, 64, 0, SocketEnd(bytes(16), 53), ANY, None),
]


@pytest.fixture(autouse=True)
def _sockets(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host of conftest.py, whose servers know these sockets."""
    assert host
    monkeypatch.setattr(ss_command, "host_sockets", lambda _record: iter(SOCKETS))


def ss(*args: str) -> str:
    result = CliRunner().invoke(main, ["ss", *args])
    assert result.exit_code == 0, result.output
    return result.output


def shown(*args: str) -> list[list[str]]:
    """Words of each line after the heading."""
    return [line.split() for line in ss("-n", *args).splitlines()[1:]]


def states(*args: str) -> list[str]:
    return [words[2] for words in shown(*args)]


def test_has_the_columns_of_ss() -> None:
    heading = ss("-a").splitlines()[0]
    assert heading.split("  ")[0] == "HOST"
    columns = "NETID STATE RECV-Q SEND-Q LOCAL ADDRESS:PORT PEER ADDRESS:PORT PROCESS"
    assert " ".join(heading.split()[1:]) == columns


def test_a_connection_is_a_line() -> None:
    name = Path("/proc/self/comm").read_text().strip()
    (line,) = (line for line in ss("-n").splitlines() if "10.0.0.2" in line)
    start = "web tcp ESTAB 5 1449 10.0.0.2:80 10.0.0.3:40000"
    assert " ".join(line.split()) == f'{start} users:(("{name}",pid={os.getpid()}))'


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ["ESTAB", "ESTAB"]),
        (["-t"], ["ESTAB", "ESTAB"]),
        (["-u"], []),
        (["-l"], ["LISTEN", "UNCONN"]),
        (["-tl"], ["LISTEN"]),
        (["-ul"], ["UNCONN"]),
        (["-ta"], ["LISTEN", "ESTAB", "TIME-WAIT", "UNCONN", "ESTAB"]),
        (["-tua"], ["LISTEN", "ESTAB", "TIME-WAIT", "UNCONN", "ESTAB", "UNCONN"]),
    ],
)
def test_shows_what_ss_would(args: list[str], expected: list[str]) -> None:
    assert states(*args) == expected


def test_addresses_are_written_as_ss_does() -> None:
    ends = {(words[5], words[6]) for words in shown("-a")}
    assert ("0.0.0.0:80", "0.0.0.0:*") in ends
    assert ("[fe80::1]:7000", "[fe80::2]:7001") in ends
    assert ("*:53", "*:*") in ends


def test_ports_have_names_unless_numbers_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getservbyport", lambda port, kind: f"{kind}-{port}")
    assert "0.0.0.0:tcp-80" in ss("-tl")
    assert "0.0.0.0:80" in ss("-tln")


def test_internals_are_in_the_words_of_ss() -> None:
    (line,) = (line for line in ss("-ni").splitlines() if "10.0.0.2" in line)
    expected = (
        "reno wscale:7,8 rto:204 rtt:1.5/0.25 mss:1448 cwnd:10 ssthresh:20 unacked:2 retrans:0/3 "
        "snd_wnd:65535 rcv_wnd:32768 timer:(on,190ms)"
    )
    assert line.rstrip().endswith(expected)


def test_json_has_numbers() -> None:
    objects = json.loads(ss("--json", "--host", "web"))
    assert [each["state"] for each in objects] == ["ESTAB", "ESTAB"]
    first = objects[0]
    assert (first["host"], first["netid"], first["recv_q"], first["send_q"]) == (
        "web",
        "tcp",
        5,
        1449,
    )
    assert (first["local_address"], first["local_port"]) == ("10.0.0.2", 80)
    assert (first["peer_address"], first["peer_port"]) == ("10.0.0.3", 40000)
    assert first["pid"] == os.getpid()
    assert first["internals"]["rtt_us"] == 1500
    assert objects[1]["internals"] is None


def test_an_unknown_host_is_said() -> None:
    result = CliRunner().invoke(main, ["ss", "--host", "wob"])
    assert result.exit_code == 1
    assert "no host wob is running; running: web" in result.output
