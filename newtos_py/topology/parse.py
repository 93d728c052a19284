"""From TOML to a Topology: each table's keys are listed once here, with an example of each.

Parsing checks every value by itself; what must fit together is checked at the end by validate.py.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path as FilePath
from typing import TypeVar

from newtos_py.topology.address import (
    Address,
    AddressError,
    parse_interface,
    parse_neighbour,
    parse_network,
)
from newtos_py.topology.locate import Path
from newtos_py.topology.model import (
    DEFAULT_CONNECTIONS,
    Cores,
    Emulation,
    Host,
    IdleTunables,
    ListenDesign,
    Placement,
    Route,
    Steering,
    Tap,
    Topology,
    Wire,
)
from newtos_py.topology.source import (
    Section,
    Source,
    TopologyError,
    kind_of,
    open_document,
    section_at,
    suggest,
    text_at,
    whole_at,
)
from newtos_py.topology.units import UnitError, parse_chance_ppb, parse_latency_ns, parse_rate_bits
from newtos_py.topology.validate import validate

ROOT_KEYS = ("host", "wire", "idle")
HOST_KEYS = (
    "address",
    "addresses",
    "tap",
    "gateway",
    "routes",
    "cores",
    "connections",
    "idle",
    "lanes",
    "listen",
    "steering",
    "placement",
)
TAP_KEYS = ("device", "peer")
ROUTE_KEYS = ("to", "via")
WIRE_KEYS = ("hosts", "latency", "rate", "loss", "reorder", "duplicate", "corrupt", "seed")
IDLE_KEYS = ("yields", "spin_us", "slice_us")

# Names become parts of shared memory, file and process names, where "." separates them.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_NAME_VALID = "a name is 1 to 32 letters, digits, - or _, with a letter or digit first"
# A wire is an interface of both its hosts, whose names IFNAMSIZ limits.
_WIRE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
_WIRE_NAME_VALID = "a name is 1 to 15 letters, digits, - or _, with a letter or digit first"
_OTHER_INTERFACES = ("lo", "tap")
# Linux: IFNAMSIZ is 16 with the final NUL; "%" would make the name a template.
_DEVICE = re.compile(r"[^\s/:%]{1,15}")
_MAX_SEED = 2**63 - 1
_MAX_CORE = 4095
# servers/ip/engine.h: NT_IP_LANES.
_MAX_LANES = 8
_MAX_YIELDS = 1_000_000
_MAX_US = 1_000_000
# sched_setattr takes slices from 0.1 ms to 100 ms.
_SLICE_US = (100, 100_000)
# As many as one server's tables can number.
_CONNECTIONS = (1, 1 << 20)

_ADDRESS_EXAMPLE = '"10.0.0.2/24"'
_TAP_EXAMPLE = '{ device = "newtos0", peer = "10.1.0.1/24" }'
_ROUTES_EXAMPLE = '[{ to = "10.2.0.0/16", via = "10.0.0.1" }]'
_PLACEMENT_VALID = 'valid: "split", "fused", or { ip = "net", "wire.lan" = "net" }'
_CORES_VALID = "valid: a core, a list of cores, or { default = 0, tcp0 = 1, programs = 1 }"

_T = TypeVar("_T")


def load_topology(file: FilePath) -> Topology:
    """Read, parse and check a topology file; TopologyError if it can't be used."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TopologyError(str(file), line, "", "is not UTF-8", "TOML always is") from None
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
        raise TopologyError(str(file), 1, "", problem, "name a topology file") from None
    return parse_topology(text, str(file))


def parse_topology(text: str, file: str) -> Topology:
    """Parse and check a topology; `file` is the name that errors show."""
    root = open_document(text, file, ROOT_KEYS)
    idle = _idle(root, IdleTunables())
    hosts = tuple(_host(section, idle) for section in _named(root, "host", HOST_KEYS))
    wires = tuple(_wire(section) for section in _named(root, "wire", WIRE_KEYS))
    topology = Topology(hosts, wires, root.source)
    validate(topology)
    return topology


def _named(root: Section, kind: str, known: tuple[str, ...]) -> list[Section]:
    """Find the tables [kind.NAME], in the order of the file."""
    if kind not in root:
        return []
    valid = f"write [{kind}.NAME]"
    values = root.scalar(kind)
    if not isinstance(values, dict):
        raise root.error(kind, f"must be a table, not {kind_of(values)}", valid)
    for name in values:
        _check_name(root.source, kind, name)
    return [
        section_at(root.source, (kind, name), value, known, valid) for name, value in values.items()
    ]


def _check_name(source: Source, kind: str, name: str) -> None:
    pattern, valid = (_NAME, _NAME_VALID) if kind == "host" else (_WIRE_NAME, _WIRE_NAME_VALID)
    if not pattern.fullmatch(name):
        raise source.error((kind, name), f'"{name}" is no name for a {kind}', valid)
    if kind == "wire" and name in _OTHER_INTERFACES:
        problem = "is the name of another interface"
        raise source.error((kind, name), problem, f"valid: any but {', '.join(_OTHER_INTERFACES)}")


def _host(section: Section, idle: IdleTunables) -> Host:
    return Host(
        name=str(section.path[-1]),
        addresses=_addresses(section),
        tap=_tap(section) if "tap" in section else None,
        routes=_routes(section),
        cores=_cores(section) if "cores" in section else Cores(),
        idle=_idle(section, idle),
        placement=_placement(section) if "placement" in section else Placement(),
        connections=_connections(section),
        lanes=section.whole("lanes", 1, _MAX_LANES) if "lanes" in section else 1,
        steering=_choice(section, "steering", Steering.RSS),
        listen=_choice(section, "listen", ListenDesign.FINE),
    )


_Choice = TypeVar("_Choice", bound=Enum)


def _choice(section: Section, key: str, default: _Choice) -> _Choice:
    if key not in section:
        return default
    kind = type(default)
    text = section.text(key, f'"{default.value}"')
    names = [str(each.value) for each in kind]
    if text not in names:
        raise section.error(key, f'there is no {key} "{text}"', suggest(text, names))
    return kind(text)


def _addresses(section: Section) -> tuple[Address, ...]:
    if "addresses" not in section:
        path = section.at("address")
        return (_address(section, path, section.text("address", _ADDRESS_EXAMPLE)),)
    if "address" in section:
        problem = "stands beside address"
        raise section.error("addresses", problem, "write all of them in addresses")
    texts = section.texts("addresses", _ADDRESS_EXAMPLE)
    return tuple(
        _address(section, section.at("addresses", i), text) for i, text in enumerate(texts)
    )


def _address(section: Section, path: Path, text: str) -> Address:
    return _convert(section.source, path, parse_interface, text, _ADDRESS_EXAMPLE)


def _tap(section: Section) -> Tap:
    tap = section.table("tap", TAP_KEYS, _TAP_EXAMPLE)
    device = tap.text("device", '"newtos0"')
    if not _DEVICE.fullmatch(device) or device in (".", ".."):
        problem = f'"{device}" is no name for a Linux network device'
        raise tap.error("device", problem, "1 to 15 characters without space, /, : or % are valid")
    return Tap(device, _address(tap, tap.at("peer"), tap.text("peer", '"10.1.0.1/24"')))


def _routes(section: Section) -> tuple[Route, ...]:
    routes = []
    if "gateway" in section:
        text = section.text("gateway", '"10.0.0.1"')
        via = _next_hop(section.source, section.at("gateway"), text)
        routes.append(Route(parse_network("0.0.0.0/0"), via))
    if "routes" in section:
        for i, value in enumerate(section.items("routes", _ROUTES_EXAMPLE)):
            path = section.at("routes", i)
            valid = f"such as routes = {_ROUTES_EXAMPLE}"
            routes.append(_route(section_at(section.source, path, value, ROUTE_KEYS, valid)))
    return tuple(routes)


def _route(section: Section) -> Route:
    to = section.text("to", '"10.2.0.0/16"')
    network = _convert(section.source, section.at("to"), parse_network, to, '"10.2.0.0/16"')
    return Route(
        network, _next_hop(section.source, section.at("via"), section.text("via", '"10.0.0.1"'))
    )


def _next_hop(source: Source, path: Path, text: str) -> Address:
    return _convert(source, path, parse_neighbour, text, '"10.0.0.1"')


def _cores(section: Section) -> Cores:
    value = section.scalar("cores")
    source, path = section.source, section.at("cores")
    if isinstance(value, list):
        values = section.items("cores", "[0, 1]")
        return Cores(tuple(_core(source, (*path, i), core) for i, core in enumerate(values)))
    if isinstance(value, dict):
        return _cores_by_role(source, path, value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise source.error(path, f"can't be {kind_of(value)}", _CORES_VALID)
    return Cores((_core(source, path, value),))


def _cores_by_role(source: Source, path: Path, values: Mapping[str, object]) -> Cores:
    """Roles are checked by plan(), which knows them."""
    cores = {role: _core(source, (*path, role), core) for role, core in values.items()}
    default = cores.pop("default", None)
    return Cores(() if default is None else (default,), tuple(cores.items()))


def _placement(section: Section) -> Placement:
    """Roles are checked by plan(), which knows them."""
    value = section.scalar("placement")
    source, path = section.source, section.at("placement")
    if isinstance(value, dict):
        named = []
        for role, process in value.items():
            name = text_at(source, (*path, role), process, '"net"')
            if not _NAME.fullmatch(name) and name != role:
                raise source.error((*path, role), f'"{name}" is no name for a process', _NAME_VALID)
            named.append((role, name))
        return Placement(named=tuple(named))
    if value not in ("split", "fused"):
        raise source.error(path, "is no placement", _PLACEMENT_VALID)
    return Placement(is_fused=value == "fused")


def _core(source: Source, path: Path, value: object) -> int:
    return whole_at(source, path, value, 0, _MAX_CORE)


def _connections(section: Section) -> int:
    if "connections" not in section:
        return DEFAULT_CONNECTIONS
    return section.whole("connections", *_CONNECTIONS)


def _idle(section: Section, default: IdleTunables) -> IdleTunables:
    if "idle" not in section:
        return default
    idle = section.table("idle", IDLE_KEYS, "{ yields = 20, spin_us = 50 }")
    spin_us = default.spin_us
    if "spin_us" in idle:
        spin_us = None if idle.scalar("spin_us") == "forever" else _spin_us(idle)
    return IdleTunables(
        idle.whole("yields", 0, _MAX_YIELDS) if "yields" in idle else default.yields,
        spin_us,
        idle.whole("slice_us", *_SLICE_US) if "slice_us" in idle else default.slice_us,
    )


def _spin_us(idle: Section) -> int:
    if isinstance(idle.scalar("spin_us"), str):
        valid = f'a whole number from 0 to {_MAX_US}, or "forever", is valid'
        raise idle.error("spin_us", f"can't be {kind_of(idle.scalar('spin_us'))}", valid)
    return idle.whole("spin_us", 0, _MAX_US)


def _wire(section: Section) -> Wire:
    hosts = section.items("hosts", '["web", "client"]')
    names = [
        text_at(section.source, section.at("hosts", i), name, '"web"')
        for i, name in enumerate(hosts)
    ]
    if len(names) != 2:
        problem = f"a wire has two ends, not {len(names)}"
        raise section.error("hosts", problem, 'such as hosts = ["web", "client"]')
    return Wire(str(section.path[-1]), (names[0], names[1]), _emulation(section))


def _emulation(section: Section) -> Emulation:
    def chance(key: str) -> int:
        if key not in section:
            return 0
        value = section.scalar(key)
        return _convert(section.source, section.at(key), parse_chance_ppb, value, '0.02 or "2%"')

    def quantity(key: str, parse: Callable[[str], int], example: str) -> int | None:
        if key not in section:
            return None
        text = section.text(key, example)
        return _convert(section.source, section.at(key), parse, text, example)

    return Emulation(
        latency_ns=quantity("latency", parse_latency_ns, '"5ms"') or 0,
        rate_bits=quantity("rate", parse_rate_bits, '"1Gbit"'),
        loss_ppb=chance("loss"),
        reorder_ppb=chance("reorder"),
        duplicate_ppb=chance("duplicate"),
        corrupt_ppb=chance("corrupt"),
        seed=section.whole("seed", 0, _MAX_SEED) if "seed" in section else 0,
    )


_V = TypeVar("_V")


def _convert(source: Source, path: Path, parse: Callable[[_V], _T], value: _V, example: str) -> _T:
    """Run a parser whose complaint becomes one about the value at `path`."""
    try:
        return parse(value)
    except (AddressError, UnitError) as error:
        raise source.error(path, str(error), f"such as {example}") from None
