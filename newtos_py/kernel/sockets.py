"""What a server tells observers about one socket: `newtos ss` shows it.

Each transport server knows its own arena and turns it into these (ServerSpec.sockets), so that an
observer needs no knowledge of any server, and a third party's transport shows like ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class SocketState(StrEnum):
    """The states of ss(8), by its names."""

    ESTABLISHED = "ESTAB"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECV"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    TIME_WAIT = "TIME-WAIT"
    # A socket that is bound, or not connected.
    CLOSED = "UNCONN"
    CLOSE_WAIT = "CLOSE-WAIT"
    LAST_ACK = "LAST-ACK"
    LISTEN = "LISTEN"
    CLOSING = "CLOSING"


@dataclass(frozen=True, slots=True)
class SocketEnd:
    """An address (16 bytes, IPv4 mapped; all zero: any) and a port (0: any)."""

    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class TcpInternals:
    """What `ss -i` shows of a connection."""

    congestion: str
    # Shifts of the window scale option: ours for what the peer announces, and for what we do.
    snd_wscale: int
    rcv_wscale: int
    rto_ms: int
    # 0: no sample yet.
    rtt_us: int
    rttvar_us: int
    mss: int
    cwnd_bytes: int
    ssthresh_bytes: int
    bytes_in_flight: int
    # Segments retransmitted in all the connection's life.
    retransmits: int
    snd_wnd_bytes: int
    rcv_wnd_bytes: int
    # Milliseconds of the timer that is next, by ss's name for it ("on", "keepalive", ...).
    timer: str = ""
    timer_ms: int = 0


@dataclass(frozen=True, slots=True)
class SocketInfo:
    """One socket, connection or TIME-WAIT block."""

    # 6 TCP, 17 UDP.
    protocol: int
    state: SocketState
    # As ss has it: bytes that the program has not read, and that the peer has not acknowledged;
    # LISTEN: connections not yet accepted, and the backlog.
    recv_q: int
    send_q: int
    local: SocketEnd
    peer: SocketEnd
    # Of the program that owns it; None where nobody does.
    pid: int | None
    internals: TcpInternals | None = None
