"""`newtos ss`: the sockets of hosts, as ss(8) shows those of Linux.

Which sockets are shown, the columns, and the words in them are ss's; so what one knows of ss holds
here. What ss spreads over a second line (-i) is a last column here.
"""

import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import click

from newtos_py.cli import table
from newtos_py.cli.runtime_dir import open_own
from newtos_py.kernel.server import TCP, UDP
from newtos_py.kernel.sockets import SocketEnd, SocketInfo, SocketState, TcpInternals
from newtos_py.net import addr
from newtos_py.observe.sockets import host_sockets, process_name

_NETIDS = {TCP: "tcp", UDP: "udp"}
_LISTENING = {SocketState.LISTEN, SocketState.CLOSED}
# What ss leaves out unless it is asked: listening sockets, and what nobody waits for any more.
_BY_DEFAULT = {*SocketState} - _LISTENING - {SocketState.TIME_WAIT, SocketState.SYN_RECEIVED}
_ANY = bytes(16)
_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class SocketRow:
    """A socket, as a line."""

    host: str
    netid: str = field(metadata=table.column("Netid"))
    state: str
    recv_q: int = field(metadata=table.column("Recv-Q"))
    send_q: int = field(metadata=table.column("Send-Q"))
    local: str = field(metadata=table.column("Local Address:Port"))
    peer: str = field(metadata=table.column("Peer Address:Port"))
    process: str


@dataclass(frozen=True, slots=True)
class DetailedRow(SocketRow):
    """The same with -i."""

    internals: str


@dataclass(frozen=True, slots=True)
class SocketObject:
    """A socket, as JSON."""

    host: str
    netid: str
    state: str
    recv_q: int
    send_q: int
    local_address: str
    local_port: int
    peer_address: str
    peer_port: int
    pid: int | None
    process: str
    internals: TcpInternals | None


@click.command(epilog="Example: newtos ss --host web -tln")
@click.option("--host", "host_name", metavar="NAME", help="Only this host; by default all.")
@click.option("-t", "--tcp", is_flag=True, help="TCP sockets.")
@click.option("-u", "--udp", is_flag=True, help="UDP sockets.")
@click.option("-l", "--listening", is_flag=True, help="Only listening sockets.")
@click.option("-a", "--all", "every", is_flag=True, help="Listening and other sockets.")
@click.option("-n", "--numeric", is_flag=True, help="Ports as numbers, not names of services.")
@click.option("-p", "--processes", is_flag=True, help="Accepted as ss has it; always shown.")
@click.option("-i", "--info", "internals", is_flag=True, help="Show internal TCP information.")
@table.json_option
def command(
    *,
    host_name: str | None,
    tcp: bool,
    udp: bool,
    listening: bool,
    every: bool,
    numeric: bool,
    processes: bool,  # noqa: ARG001 (for habit's sake)
    internals: bool,
    as_json: bool,
) -> None:
    """Show the sockets of a host, or of all hosts, with the columns and options of ss(8)."""
    runtime = open_own()
    records = [runtime.find_host(host_name)] if host_name is not None else runtime.running_hosts()
    protocols = {number for number, wanted in ((TCP, tcp), (UDP, udp)) if wanted} or {TCP, UDP}
    states = _states(listening=listening, every=every)
    found = [
        (record.host, info)
        for record in records
        for info in _chosen(host_sockets(record), protocols, states)
    ]
    if as_json:
        objects = [_object(host, info) for host, info in found]
        table.show(SocketObject, objects, as_json=True, empty="")
        return
    row_type = DetailedRow if internals else SocketRow
    rows = [_row(host, info, numeric=numeric, internals=internals) for host, info in found]
    table.show(row_type, rows, as_json=False, empty="no such socket")


def _states(*, listening: bool, every: bool) -> Collection[SocketState]:
    if every:
        return set(SocketState)
    return _LISTENING if listening else _BY_DEFAULT


def _chosen(
    sockets: Iterable[SocketInfo], protocols: Collection[int], states: Collection[SocketState]
) -> Iterator[SocketInfo]:
    for info in sockets:
        if info.protocol not in protocols or info.state not in states:
            continue
        # A TCP socket that is only bound is no listener; ss shows it with -a alone.
        if info.state is SocketState.CLOSED and info.protocol == TCP and states is _LISTENING:
            continue
        yield info


def _row(host: str, info: SocketInfo, *, numeric: bool, internals: bool) -> SocketRow:
    netid = _NETIDS.get(info.protocol, str(info.protocol))
    cells = (
        host,
        netid,
        info.state.value,
        info.recv_q,
        info.send_q,
        _end(info.local, netid, numeric=numeric),
        _end(info.peer, netid, numeric=numeric),
        _process(info.pid),
    )
    return DetailedRow(*cells, _internals(info.internals)) if internals else SocketRow(*cells)


def _object(host: str, info: SocketInfo) -> SocketObject:
    return SocketObject(
        host=host,
        netid=_NETIDS.get(info.protocol, str(info.protocol)),
        state=info.state.value,
        recv_q=info.recv_q,
        send_q=info.send_q,
        local_address=addr.unpack(info.local.address),
        local_port=info.local.port,
        peer_address=addr.unpack(info.peer.address),
        peer_port=info.peer.port,
        pid=info.pid,
        process=process_name(info.pid) if info.pid is not None else "",
        internals=info.internals,
    )


def _end(end: SocketEnd, netid: str, *, numeric: bool) -> str:
    """Write one end as ss does: `*` for any address of both families, and for any port."""
    text = addr.unpack(end.address)
    if end.address == _ANY:
        text = "*"
    elif ":" in text:
        text = f"[{text}]"
    return f"{text}:{_port(end.port, netid, numeric=numeric)}"


def _port(port: int, netid: str, *, numeric: bool) -> str:
    if port == 0:
        return "*"
    if not numeric:
        try:
            return socket.getservbyport(port, netid)
        except OSError:
            pass
    return str(port)


def _process(pid: int | None) -> str:
    # ss adds the descriptor, which only the program knows here.
    return f'users:(("{process_name(pid)}",pid={pid}))' if pid is not None else ""


def _internals(tcp: TcpInternals | None) -> str:
    """Write ss's words for a connection; windows in segments, as ss does."""
    if tcp is None:
        return ""
    mss = max(tcp.mss, 1)
    words = [
        tcp.congestion,
        f"wscale:{tcp.snd_wscale},{tcp.rcv_wscale}",
        f"rto:{tcp.rto_ms}",
        f"rtt:{tcp.rtt_us / _US_PER_MS:g}/{tcp.rttvar_us / _US_PER_MS:g}",
        f"mss:{tcp.mss}",
        f"cwnd:{max(1, tcp.cwnd_bytes // mss)}",
        f"ssthresh:{tcp.ssthresh_bytes // mss}",
        f"unacked:{-(-tcp.bytes_in_flight // mss)}",
        f"retrans:0/{tcp.retransmits}",
        f"snd_wnd:{tcp.snd_wnd_bytes}",
        f"rcv_wnd:{tcp.rcv_wnd_bytes}",
    ]
    if tcp.timer:
        words.append(f"timer:({tcp.timer},{tcp.timer_ms}ms)")
    return " ".join(words)
