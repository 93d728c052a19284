"""What programs do in scenarios, by name: each fills a simulation with programs and their tasks."""

from collections.abc import Callable

from newtos_py.sim import traffic_killed, traffic_mixed, traffic_tcp, traffic_udp, traffic_windows
from newtos_py.sim.simulation import SimHost, Simulation

TRAFFIC: dict[str, Callable[[Simulation, list[SimHost]], None]] = {
    "tcp-streams": traffic_tcp.tcp_streams,
    "tcp-backlog": traffic_tcp.tcp_backlog,
    "tcp-loopback": traffic_tcp.tcp_loopback,
    "tcp-churn": traffic_tcp.tcp_churn,
    "tcp-bulk": traffic_tcp.tcp_bulk,
    "tcp-refused": traffic_tcp.tcp_refused,
    "tcp-slow-reader": traffic_windows.tcp_slow_reader,
    "tcp-unread": traffic_windows.tcp_unread,
    "tcp-both-open": traffic_windows.tcp_both_open,
    "tcp-nobody": traffic_windows.tcp_nobody,
    "tcp-killed": traffic_killed.tcp_killed,
    "udp-echo": traffic_udp.udp_echo,
    "mixed": traffic_mixed.mixed,
}

# Scenarios have two hosts and a wire between them; or the first has a wire to each of the others.
HOSTS = {"mixed": traffic_mixed.HOSTS}
