"""From a host's plan to its NetConfig: interfaces, addresses and routes (netconf.h).

An interface's index is its driver's. A subnet of an address is attached by way of that address's
interface; the Linux side of a TAP device lies in such a subnet, so it needs no route of its own.
"""

import secrets
from collections.abc import Mapping

from newtos_py.kernel.server import (
    InterfaceConfig,
    LocalAddress,
    NetConfig,
    RouteConfig,
    ServerSpec,
    SteeringConfig,
)
from newtos_py.topology import Address, HostPlan, Route

MTU = 1500
# desc.h and netconf.h have room for both.
_LOOPBACK = 8
# net/steering.h
_STEERING_KEY_BYTES = 40


def net_config(plan: HostPlan, specs: Mapping[str, ServerSpec]) -> NetConfig:
    """Make a host's configuration; `specs` by role say what each driver can do."""
    interfaces = tuple(
        InterfaceConfig(
            index=i,
            name=interface.name,
            mac=interface.mac,
            mtu=MTU,
            gso_max=specs[interface.role].gso_max,
            csum_tx=specs[interface.role].csum_tx,
        )
        for i, interface in enumerate(plan.interfaces)
    )
    placed = {
        address: i for i, interface in enumerate(plan.interfaces) for address in interface.addresses
    }
    # An address in no interface's subnet is still the host's: reachable by way of a route.
    addresses = tuple(
        LocalAddress(address.packed, address.prefix_bits, placed.get(address, _LOOPBACK))
        for address in plan.host.addresses
    )
    routes = tuple(_route(route, placed) for route in plan.host.routes)
    host = plan.host
    steering = SteeringConfig(
        host.steering.value, host.lanes, secrets.token_bytes(_STEERING_KEY_BYTES)
    )
    return NetConfig(interfaces, addresses, routes, steering, host.listen.value)


def _route(route: Route, placed: Mapping[Address, int]) -> RouteConfig:
    """Make a route; the topology has checked that its next hop is in a subnet of an interface."""
    interface = next(i for address, i in placed.items() if route.via.value in address.network)
    return RouteConfig(route.network.packed, route.network.prefix_bits, route.via.packed, interface)
