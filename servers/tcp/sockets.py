"""What `newtos ss` shows: the sockets in a TCP server's arena, read while it goes on changing."""

from collections.abc import Iterator
from typing import Any

from newtos_py.servers.tcp._engine import ffi, lib

from newtos_py.kernel.clock import now_ns
from newtos_py.kernel.server import TCP, Memory
from newtos_py.kernel.sockets import SocketEnd, SocketInfo, SocketState, TcpInternals

# A cffi object.
_C = Any

# enum nt_tcp_state
_STATES = {
    1: SocketState.ESTABLISHED,
    2: SocketState.SYN_SENT,
    3: SocketState.SYN_RECEIVED,
    4: SocketState.FIN_WAIT_1,
    5: SocketState.FIN_WAIT_2,
    6: SocketState.TIME_WAIT,
    7: SocketState.CLOSED,
    8: SocketState.CLOSE_WAIT,
    9: SocketState.LAST_ACK,
    10: SocketState.LISTEN,
    11: SocketState.CLOSING,
}
_NANOSECONDS_A_MILLISECOND = 1_000_000


def read_sockets(arena: Memory) -> Iterator[SocketInfo]:
    """Every socket, connection and TIME-WAIT block; nothing if it is no TCP server's arena."""
    view = ffi.new("struct nt_tcp_view *")
    if lib.nt_tcp_view_open(view, ffi.cast("void *", arena.address), arena.bytes) != 0:
        return
    row = ffi.new("struct nt_tcp_row *")
    now_ms = now_ns() // _NANOSECONDS_A_MILLISECOND
    for index in range(lib.nt_tcp_view_rows(view)):
        if lib.nt_tcp_view_row(view, index, row) and row.state in _STATES:
            yield _info(row, now_ms)


def _info(row: _C, now_ms: int) -> SocketInfo:
    has_internals = row.state not in (lib.NT_TCP_LISTEN, lib.NT_TCP_TIME_WAIT)
    return SocketInfo(
        protocol=TCP,
        state=_STATES[row.state],
        recv_q=row.recv_q,
        send_q=row.send_q,
        local=SocketEnd(bytes(row.local_addr), row.local_port),
        peer=SocketEnd(bytes(row.remote_addr), row.remote_port),
        pid=row.pid or None,
        internals=_internals(row, now_ms) if has_internals else None,
    )


def _internals(row: _C, now_ms: int) -> TcpInternals:
    timer_ms = (row.timer_ms - now_ms) % (1 << 32) if row.timer_ms else 0
    return TcpInternals(
        congestion="reno",
        snd_wscale=row.snd_wscale,
        rcv_wscale=row.rcv_wscale,
        rto_ms=row.rto_ms,
        rtt_us=row.srtt_us,
        rttvar_us=row.rttvar_us,
        mss=row.mss,
        cwnd_bytes=row.cwnd_bytes,
        ssthresh_bytes=row.ssthresh_bytes,
        bytes_in_flight=row.flight_bytes,
        retransmits=row.retransmits,
        snd_wnd_bytes=row.snd_wnd_bytes,
        rcv_wnd_bytes=row.rcv_wnd_bytes,
        timer="on" if timer_ms and timer_ms < 1 << 31 else "",
        timer_ms=timer_ms if timer_ms < 1 << 31 else 0,
    )
