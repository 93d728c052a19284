"""What programs do in scenarios, by name: each fills a simulation with programs and their tasks."""

from collections.abc import Callable

from newtos_py.sim import traffic_killed, traffic_tcp, traffic_udp
from newtos_py.sim.simulation import SimHost, Simulation

TRAFFIC: dict[str, Callable[[Simulation, list[SimHost]], None]] = {
    "tcp-streams": traffic_tcp.tcp_streams,
    "tcp-backlog": traffic_tcp.tcp_backlog,
    "tcp-loopback": traffic_tcp.tcp_loopback,
    "tcp-refused": traffic_tcp.tcp_refused,
    "tcp-killed": traffic_killed.tcp_killed,
    "udp-echo": traffic_udp.udp_echo,
}
