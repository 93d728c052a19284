"""What programs do in scenarios, by name: each fills a simulation with programs and their tasks."""

from collections.abc import Callable

from newtos_py.sim import (
    traffic_abort,
    traffic_acceptors,
    traffic_crowd,
    traffic_killed,
    traffic_mixed,
    traffic_tcp,
    traffic_time,
    traffic_udp,
    traffic_urgent,
    traffic_windows,
)
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
    "tcp-urgent": traffic_urgent.tcp_urgent,
    "tcp-crowd": traffic_crowd.tcp_crowd,
    "tcp-idle": traffic_time.tcp_idle,
    "tcp-gone": traffic_time.tcp_gone,
    "tcp-port-again": traffic_time.tcp_port_again,
    "tcp-abort": traffic_abort.tcp_abort,
    "udp-abort": traffic_abort.udp_abort,
    "tcp-killed": traffic_killed.tcp_killed,
    "programs": traffic_killed.programs,
    "udp-echo": traffic_udp.udp_echo,
    "udp-flood": traffic_udp.udp_flood,
    "mixed": traffic_mixed.mixed,
}
# Beside those: hosts of several lanes, or of another listen design.
TRAFFIC_IN_LANES = TRAFFIC | {"tcp-acceptors": traffic_acceptors.tcp_acceptors}

# Scenarios have two hosts and a wire between them; or the first has a wire to each of the others.
HOSTS = {"mixed": traffic_mixed.HOSTS}

# Seconds of virtual time until a run counts as hung. Retransmission timers double, so a connection
# may take minutes on a bad wire.
LIMIT_S = 3600
LIMITS_S = {"tcp-idle": 86400 * 1000}
