"""Three hosts: a server with two interfaces, a client behind each, TCP and UDP side by side."""

from newtos_py.sim.simulation import SimHost, Simulation
from newtos_py.sim.traffic_tcp import Plan, tcp_plan
from newtos_py.sim.traffic_udp import udp_echo

HOSTS = 3


def mixed(sim: Simulation, hosts: list[SimHost]) -> None:
    """Everybody talks to the first host, which talks to itself, too."""
    first, second, third = hosts
    tcp_plan(sim, first, second, Plan(most=100_000, connections=8))
    tcp_plan(sim, third, first, Plan(most=100_000, connections=8))
    tcp_plan(sim, second, second, Plan(most=100_000, connections=4))
    udp_echo(sim, [first, third])
    udp_echo(sim, [second, first])
