"""The TOML topology: which hosts and wires there are, and which server runs on which core.

`load_topology` reads a file into frozen dataclasses (model.py) and checks it as a whole
(validate.py); `plan` turns the result into servers with cores, in boot order (plan.py). Nothing
here opens a device, starts a process or looks at the machine: the cores are handed in.
"""

from newtos_py.topology.address import Address
from newtos_py.topology.model import (
    Cores,
    Emulation,
    Host,
    IdleTunables,
    ListenDesign,
    Route,
    Steering,
    Tap,
    Topology,
    Wire,
)
from newtos_py.topology.parse import load_topology, parse_topology
from newtos_py.topology.plan import HostPlan, Interface, ServerKind, ServerPlan, plan
from newtos_py.topology.source import TopologyError

__all__ = [
    "Address",
    "Cores",
    "Emulation",
    "Host",
    "HostPlan",
    "IdleTunables",
    "Interface",
    "ListenDesign",
    "Route",
    "ServerKind",
    "ServerPlan",
    "Steering",
    "Tap",
    "Topology",
    "TopologyError",
    "Wire",
    "load_topology",
    "parse_topology",
    "plan",
]
