"""Topologies from TOML: what each key means, and what a mistake gets for an answer."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.errors import NewtosError
from newtos_py.topology import (
    Cores,
    Emulation,
    IdleTunables,
    ListenDesign,
    Steering,
    TopologyError,
    load_topology,
    parse_topology,
)
from newtos_py.topology.parse import HOST_KEYS, IDLE_KEYS, ROUTE_KEYS, TAP_KEYS, WIRE_KEYS

TWO_HOSTS = """\
[host.web]
address = "10.0.0.2/24"
[host.client]
address = "10.0.0.3/24"
[wire.lan]
hosts = ["web", "client"]
"""


def fail(text: str) -> TopologyError:
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "net.toml")
    return caught.value


def test_the_shortest_useful_topology() -> None:
    topology = parse_topology(TWO_HOSTS, "net.toml")
    assert [host.name for host in topology.hosts] == ["web", "client"]
    web = topology.host("web")
    assert [str(address) for address in web.addresses] == ["10.0.0.2/24"]
    assert (web.tap, web.routes, web.cores, web.idle) == (None, (), Cores(), IdleTunables())
    assert [(wire.name, wire.hosts) for wire in topology.wires] == [("lan", ("web", "client"))]
    assert topology.wires[0].emulation == Emulation()


def test_a_tap_with_gateway_and_routes() -> None:
    topology = parse_topology(
        """
        [host.edge]
        addresses = ["10.1.0.2/24", "10.9.9.9/32"]
        tap = { device = "newtos0", peer = "10.1.0.1/24" }
        gateway = "10.1.0.1"
        routes = [{ to = "10.2.0.0/16", via = "10.1.0.7" }]
        """,
        "net.toml",
    )
    edge = topology.host("edge")
    assert [str(address) for address in edge.addresses] == ["10.1.0.2/24", "10.9.9.9/32"]
    assert edge.tap is not None
    assert (edge.tap.device, str(edge.tap.peer)) == ("newtos0", "10.1.0.1/24")
    assert [(str(route.network), str(route.via)) for route in edge.routes] == [
        ("0.0.0.0/0", "10.1.0.1/32"),
        ("10.2.0.0/16", "10.1.0.7/32"),
    ]


def test_everything_a_wire_can_do_to_frames() -> None:
    topology = parse_topology(
        TWO_HOSTS
        + """
        latency = "5ms"
        rate = "1Gbit"
        loss = "2%"
        reorder = 0.01
        duplicate = 0.001
        corrupt = 1e-6
        seed = 42
        """,
        "net.toml",
    )
    assert topology.wires[0].emulation == Emulation(
        latency_ns=5_000_000,
        rate_bits=10**9,
        loss_ppb=20_000_000,
        reorder_ppb=10_000_000,
        duplicate_ppb=1_000_000,
        corrupt_ppb=1_000,
        seed=42,
    )


def test_idle_of_a_host_overrides_that_of_the_file_key_by_key() -> None:
    topology = parse_topology(
        TWO_HOSTS.replace('.2/24"', '.2/24"\nidle = { spin_us = "forever" }')
        + "[idle]\nyields = 5\nspin_us = 10\n",
        "net.toml",
    )
    assert topology.host("web").idle == IdleTunables(yields=5, spin_us=None)
    assert topology.host("client").idle == IdleTunables(yields=5, spin_us=10)


@pytest.mark.parametrize(
    ("written", "cores"),
    [
        ("1", Cores((1,))),
        ("[0, 1]", Cores((0, 1))),
        ("{ tcp0 = 1 }", Cores((), (("tcp0", 1),))),
        ("{ default = 0, programs = 1 }", Cores((0,), (("programs", 1),))),
    ],
)
def test_cores(written: str, cores: Cores) -> None:
    topology = parse_topology(f'[host.a]\naddress = "10.0.0.2/24"\ncores = {written}\n', "x")
    assert topology.host("a").cores == cores


def test_equality_is_about_what_a_file_says_not_where() -> None:
    assert parse_topology(TWO_HOSTS, "a") == parse_topology("\n\n" + TWO_HOSTS, "b")


def test_an_error_names_file_line_key_and_what_is_valid() -> None:
    error = fail(TWO_HOSTS.replace('address = "10.0.0.3/24"', 'adress = "10.0.0.3/24"'))
    assert (error.file, error.line, error.key) == ("net.toml", 4, "host.client.adress")
    assert str(error).startswith(
        'net.toml:4: host.client.adress: unknown key; did you mean "address"? Valid: address, '
    )
    assert isinstance(error, NewtosError)


def host(keys: str) -> str:
    """Write a host whose keys start on line 2."""
    return f"[host.a]\n{keys}\n"


def host_with(keys: str) -> str:
    """Write a good host with more keys, from line 3 on."""
    return host(f'address = "10.0.0.2/24"\n{keys}')


def wire_with(keys: str) -> str:
    """Write a good topology whose wire has more keys, from line 7 on."""
    return TWO_HOSTS + keys


@pytest.mark.parametrize(
    ("text", "line", "key", "problem", "valid"),
    [
        ("[hosts.a]", 1, "hosts", "unknown key", 'did you mean "host"'),
        ("host = 1", 1, "host", "must be a table, not the whole number 1", "[host.NAME]"),
        ("[host]\na = 1", 2, "host.a", "must be a table", "[host.NAME]"),
        ('[host."a.b"]', 1, 'host."a.b"', "is no name for a host", "letters"),
        (f"[host.{'a' * 33}]", 1, f"host.{'a' * 33}", "is no name", "1 to 32"),
        ("[host.a]", 1, "host.a.address", "is missing", 'address = "10.0.0.2/24"'),
        (host("address = 10"), 2, "host.a.address", "must be a string", '"10.0.0.2/24"'),
        (host('address = ["10.0.0.2/24"]'), 2, "host.a.address", "not a list", "such as"),
        (host('address = "10.0.0.2"'), 2, "host.a.address", "lacks the length", "such as"),
        (host('address = "fd00::1/64"'), 2, "host.a.address", "IPv6", "such as"),
        (host("addresses = []"), 2, "host.a.addresses", "empty", '["10.0.0.2/24"]'),
        (host('addresses = "x"'), 2, "host.a.addresses", "must be a list", "such as"),
        (host('addresses = [\n"10.0.0.2/24",\n7]'), 4, "host.a.addresses[1]", "string", "such as"),
        (host_with('addresses = ["10.0.0.3/24"]'), 3, "host.a.addresses", "beside", "all of them"),
        (host_with("tap = true"), 3, "host.a.tap", "must be a table, not true", "device ="),
        (host_with('tap = { device = "t0" }'), 3, "host.a.tap.peer", "missing", "10.1.0.1/24"),
        (host_with('tap = { dev = "t0" }'), 3, "host.a.tap.dev", "unknown key", '"device"'),
        (
            host_with('tap = { device = "a123456789012345", peer = "10.0.0.1/24" }'),
            3,
            "host.a.tap.device",
            "no name for a Linux network device",
            "1 to 15",
        ),
        (host_with('tap = { device = "..", peer = "x" }'), 3, "host.a.tap.device", "name", "1 to"),
        (host_with('gateway = "10.0.0.1/24"'), 3, "host.a.gateway", "single", "10.0.0.1"),
        (host_with("routes = [1]"), 3, "host.a.routes[0]", "must be a table", "to ="),
        (host_with('routes = [{ to = "10.2.0.0/16" }]'), 3, "host.a.routes[0].via", "missing", ""),
        (
            host_with('routes = [{ to = "10.2.0.1/16", via = "10.0.0.1" }]'),
            3,
            "host.a.routes[0].to",
            "the subnet is 10.2.0.0/16",
            "",
        ),
        (host_with('cores = "0"'), 3, "host.a.cores", 'the string "0"', "a list of cores"),
        (host_with("cores = []"), 3, "host.a.cores", "empty", "[0, 1]"),
        (host_with("cores = [0, -1]"), 3, "host.a.cores[1]", "out of range", "0 to"),
        (host_with("cores = { tcp0 = true }"), 3, "host.a.cores.tcp0", "not true", "whole number"),
        (host_with("connections = 0"), 3, "host.a.connections", "range", "from 1 to 1048576"),
        (host_with("connections = '9'"), 3, "host.a.connections", "not", "whole number"),
        (host_with("idle = { yields = 0.5 }"), 3, "host.a.idle.yields", "the number 0.5", ""),
        (host_with("idle = { slice_us = 1 }"), 3, "host.a.idle.slice_us", "range", "from 100"),
        (host_with('idle = { spin_us = "ever" }'), 3, "host.a.idle.spin_us", "ever", '"forever"'),
        (host_with("[idle]\nspins = 1"), 4, "idle.spins", "unknown key", "spin_us"),
        ("[wire.a-name-of-16-chr]", 1, "wire.a-name-of-16-chr", "no name for a wire", "1 to 15"),
        ("[wire.lo]", 1, "wire.lo", "another interface", "any but lo, tap"),
        ("[wire.lan]", 1, "wire.lan.hosts", "missing", '["web", "client"]'),
        ('[wire.lan]\nhosts = ["a"]', 2, "wire.lan.hosts", "two ends, not 1", "such as"),
        ('[wire.lan]\nhosts = ["a", 2]', 2, "wire.lan.hosts[1]", "must be a string", "such as"),
        (wire_with("latency = 5"), 7, "wire.lan.latency", "must be a string", '"5ms"'),
        (wire_with('latency = "5"'), 7, "wire.lan.latency", "units", '"5ms"'),
        (wire_with('rate = "1GB"'), 7, "wire.lan.rate", "units", '"1Gbit"'),
        (wire_with("loss = 2"), 7, "wire.lan.loss", "not between 0 and 1", '"2%"'),
        (wire_with("lost = 2"), 7, "wire.lan.lost", "unknown key", '"loss"'),
        (wire_with("seed = -1"), 7, "wire.lan.seed", "out of range", "from 0"),
    ],
)
def test_a_mistake(text: str, line: int, key: str, problem: str, valid: str) -> None:
    error = fail(text)
    assert (error.line, error.key) == (line, key)
    assert problem in error.problem
    assert valid in error.valid


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("[host.a]\naddress 1\n", 2, "not valid TOML"),
        ("[host.a]\n[host.a]\n", 2, "not valid TOML"),
        ("a = [\n", 2, "not valid TOML"),
        ("a = " + "[" * 20_000, 1, "nested too deep"),
    ],
)
def test_text_that_is_not_toml(text: str, line: int, problem: str) -> None:
    error = fail(text)
    assert (error.line, error.key) == (line, "")
    assert problem in str(error)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="can't be read: No such file"):
        load_topology(tmp_path / "missing.toml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(b"[host.a]\n\xff\xfe\n")
    with pytest.raises(TopologyError, match=r"bad\.toml:2: is not UTF-8"):
        load_topology(file)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    file.write_text(TWO_HOSTS)
    assert load_topology(file) == parse_topology(TWO_HOSTS, "net.toml")


# Anything TOML can hold, under keys that reach every parser.
_scalars = (
    st.integers(-3, 5000)
    | st.booleans()
    | st.sampled_from(["10.0.0.2/24", "10.0.0.1", "a", "b", "5ms", "1Gbit", "2%", "forever", "::1"])
    | st.sampled_from([0.5, 2.0, 1e-12, float("nan")])
)
_keys = st.sampled_from(
    [*HOST_KEYS, *WIRE_KEYS, *TAP_KEYS, *ROUTE_KEYS, *IDLE_KEYS, "a", "b", "tcp0", "nonsense"]
)
_documents = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=12,
)


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(as_toml(item) for item in value) + "]"
        case str():
            return f'"{value}"'
    return str(value)


def test_lanes_and_steering() -> None:
    text = '[host.a]\naddress = "10.0.0.2/24"\n'
    (host,) = parse_topology(text, "net.toml").hosts
    assert (host.lanes, host.steering, host.listen) == (1, Steering.RSS, ListenDesign.FINE)
    text += 'lanes = 8\nsteering = "flow-groups"\nlisten = "affinity"\n'
    (host,) = parse_topology(text, "net.toml").hosts
    assert (host.lanes, host.steering) == (8, Steering.FLOW_GROUPS)
    assert host.listen is ListenDesign.AFFINITY
    (host,) = parse_topology(text.replace("flow-groups", "twenty-policy"), "net.toml").hosts
    assert host.steering is Steering.TWENTY_POLICY


@pytest.mark.parametrize("name", ["stock", "fine", "reuseport", "affinity", "fastsocket"])
def test_listen_designs(name: str) -> None:
    text = f'[host.a]\naddress = "10.0.0.2/24"\nlanes = 2\nlisten = "{name}"\n'
    (host,) = parse_topology(text, "net.toml").hosts
    assert host.listen is ListenDesign(name)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("lanes = 0", "0"),
        ("lanes = 9", "9"),
        ('lanes = "two"', "must be a whole number"),
        ('steering = "rfs"', 'there is no steering "rfs"; did you mean "rss"?'),
        ("steering = 1", "steering"),
        ('listen = "fast"', 'there is no listen "fast"'),
        ('listen = "afinity"', 'there is no listen "afinity"; did you mean "affinity"?'),
    ],
)
def test_lanes_and_steering_that_can_not_be(line: str, problem: str) -> None:
    with pytest.raises(TopologyError, match=re.escape(problem)) as caught:
        parse_topology(f'[host.a]\naddress = "10.0.0.2/24"\n{line}\n', "net.toml")
    assert caught.value.line == 3


@given(
    st.dictionaries(st.sampled_from(["host", "wire", "idle"]), _documents), _documents, _documents
)
def test_any_document_is_a_topology_or_a_topology_error(
    root: dict[str, object], host_a: object, wire: object
) -> None:
    root = {"host": {"a": host_a, "b": {"address": "10.0.0.3/24"}}, "wire": {"lan": wire}, **root}
    text = "".join(f"{key} = {as_toml(value)}\n" for key, value in root.items())
    try:
        parse_topology(text, "net.toml")
    except TopologyError as error:
        assert 1 <= error.line <= text.count("\n")  # noqa: PT017
        assert error.valid  # noqa: PT017
