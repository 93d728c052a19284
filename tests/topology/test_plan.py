"""Placement of servers on cores, and their boot order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.topology import (
    HostPlan,
    ServerKind,
    TopologyError,
    parse_topology,
    plan,
)
from newtos_py.topology.plan import interface_mac


def chain(count: int, cores: dict[int, str] | None = None) -> str:
    """Write `count` hosts in a row, each with a wire to the next."""
    text = ""
    for i in range(count):
        left, right = f'"10.0.{i}.2/24"', f'"10.0.{i + 1}.1/24"'
        text += f"[host.h{i}]\naddresses = [{left}, {right}]\n"
        if cores and i in cores:
            text += f"cores = {cores[i]}\n"
    for i in range(count - 1):
        text += f'[wire.w{i}]\nhosts = ["h{i}", "h{i + 1}"]\n'
    return text


def planned(text: str, cores: list[int]) -> list[HostPlan]:
    return list(plan(parse_topology(text, "net.toml"), cores))


def placed(host: HostPlan) -> dict[str, int]:
    return {server.role: server.core for server in host.servers}


def test_two_hosts_on_two_cores() -> None:
    left, right = planned(chain(2), [0, 1])
    assert placed(left) == dict.fromkeys(["wire.w0", "ip", "udp", "tcp0", "syscall"], 0)
    assert set(placed(right).values()) == {1}
    assert (left.core, right.core) == (0, 1)


def test_a_server_says_what_it_is_and_what_it_needs() -> None:
    (edge,) = planned(
        '[host.edge]\naddress = "10.1.0.2/24"\ntap = { device = "t0", peer = "10.1.0.1/24" }', [3]
    )
    assert [
        (server.role, server.kind, server.entry_point, server.core, server.needs)
        for server in edge.servers
    ] == [
        ("tap", ServerKind.DRIVER, "tap", 3, ()),
        ("ip", ServerKind.SERVER, "ip", 3, ("tap",)),
        ("udp", ServerKind.SERVER, "udp", 3, ("ip",)),
        ("tcp0", ServerKind.SERVER, "tcp", 3, ("ip",)),
        ("syscall", ServerKind.SERVER, "syscall", 3, ("udp", "tcp0")),
    ]


def test_a_host_without_links_still_has_its_servers() -> None:
    (alone,) = planned('[host.alone]\naddress = "10.0.0.2/24"', [0])
    assert [server.role for server in alone.servers] == ["ip", "udp", "tcp0", "syscall"]
    assert alone.interfaces == ()


def test_interfaces_know_their_addresses() -> None:
    _, middle, _ = planned(chain(3), [0])
    assert [
        (interface.role, interface.name, [str(address) for address in interface.addresses])
        for interface in middle.interfaces
    ] == [("wire.w0", "w0", ["10.0.1.2/24"]), ("wire.w1", "w1", ["10.0.2.1/24"])]


def test_macs_are_local_unicast_and_stay_the_same() -> None:
    mac = interface_mac("web", "wire.lan")
    assert len(mac) == 6
    assert mac[0] & 3 == 2
    assert mac == interface_mac("web", "wire.lan")
    assert mac != interface_mac("client", "wire.lan")


@pytest.mark.parametrize(
    ("cores", "servers", "programs"),
    [
        ("1", {"wire.w0": 1, "ip": 1, "udp": 1, "tcp0": 1, "syscall": 1}, 1),
        ("[0, 1]", {"wire.w0": 0, "ip": 1, "udp": 0, "tcp0": 1, "syscall": 0}, 0),
        (
            '{ default = 1, tcp0 = 0, "wire.w0" = 0 }',
            {"wire.w0": 0, "ip": 1, "udp": 1, "tcp0": 0, "syscall": 1},
            1,
        ),
        ("{ programs = 1 }", {"wire.w0": 0, "ip": 0, "udp": 0, "tcp0": 0, "syscall": 0}, 1),
    ],
)
def test_cores_are_overridable(cores: str, servers: dict[str, int], programs: int) -> None:
    first, _ = planned(chain(2, {0: cores}), [0, 1])
    assert placed(first) == servers
    assert first.core == programs


def test_only_undecided_hosts_are_dealt() -> None:
    hosts = planned(chain(4, {1: "5"}), [4, 5])
    assert [host.core for host in hosts] == [4, 5, 5, 4]


@pytest.mark.parametrize(
    ("cores", "key", "message"),
    [
        ("2", "host.h0.cores", "core 2 is not among those this process may use; valid: 0, 1"),
        ("[0, 2]", "host.h0.cores[1]", "core 2"),
        ("{ default = 2 }", "host.h0.cores.default", "core 2"),
        ("{ tcp0 = 2 }", "host.h0.cores.tcp0", "core 2"),
        ("{ tcp = 1 }", "host.h0.cores.tcp", 'no such server; did you mean "tcp0"?'),
    ],
)
def test_cores_that_do_not_exist(cores: str, key: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        planned(chain(2, {0: cores}), [0, 1])
    assert (caught.value.line, caught.value.key) == (3, key)
    assert message in str(caught.value)


def test_who_shares_a_core() -> None:
    cores = "{ default = 0, tcp0 = 1, ip = 2, programs = 2 }"
    (host,) = planned(chain(1, {0: cores}), [0, 1, 2])
    assert {server.role: server.shares_core for server in host.servers} == {
        "ip": True,  # with the programs
        "udp": True,  # with syscall
        "tcp0": False,
        "syscall": True,
    }


@given(st.integers(1, 9), st.sets(st.integers(0, 63), min_size=1, max_size=9))
def test_every_server_has_a_core_and_stands_after_what_it_needs(
    count: int, cores: set[int]
) -> None:
    hosts = planned(chain(count), sorted(cores))
    load = [host.core for host in hosts]
    assert max(load.count(core) for core in cores) - min(load.count(core) for core in cores) <= 1
    for host in hosts:
        ready: set[str] = set()
        for server in host.servers:
            assert server.core in cores
            assert ready.issuperset(server.needs)
            assert server.role not in ready
            ready.add(server.role)


def processes(host: HostPlan) -> dict[str, str]:
    return {server.role: server.process for server in host.servers}


def placing(placement: str, cores: str = "0") -> HostPlan:
    text = chain(2).replace('"]\n', f'"]\ncores = {cores}\nplacement = {placement}\n', 1)
    return planned(text, [0, 1])[0]


def test_servers_are_alone_unless_placed_together() -> None:
    assert processes(placing('"split"')) == {
        role: role for role in ("wire.w0", "ip", "udp", "tcp0", "syscall")
    }


def test_fused_is_all_that_have_an_engine() -> None:
    assert processes(placing('"fused"')) == {
        "wire.w0": "fused", "ip": "fused", "udp": "fused", "tcp0": "fused", "syscall": "syscall",
    }  # fmt: skip


def test_a_table_makes_a_mixture_and_cores_may_name_its_processes() -> None:
    host = placing('{ ip = "net", udp = "net", "wire.w0" = "tcp0" }', "{ net = 1, tcp0 = 0 }")
    assert processes(host) == {
        "wire.w0": "tcp0", "ip": "net", "udp": "net", "tcp0": "tcp0", "syscall": "syscall",
    }  # fmt: skip
    assert placed(host) | {"syscall": 0} == {
        "wire.w0": 0, "ip": 1, "udp": 1, "tcp0": 0, "syscall": 0,
    }  # fmt: skip


def test_a_process_alone_on_its_core_shares_it_with_nobody() -> None:
    text = chain(1) + 'cores = { default = 0, fused = 1 }\nplacement = "fused"\n'
    (host,) = planned(text, [0, 1])
    assert {server.role: server.shares_core for server in host.servers} == {
        "ip": False, "udp": False, "tcp0": False, "syscall": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("placement", "cores", "problem"),
    [
        ('"merged"', "0", "is no placement"),
        ('{ ipp = "net" }', "0", "no such server"),
        ('{ ip = "a b" }', "0", "no name for a process"),
        ('{ syscall = "net" }', "0", "a process of its own"),
        ('{ udp = "syscall" }', "0", "a process of its own"),
        ('{ ip = "net", udp = "net" }', "{ ip = 0, udp = 1 }", "name one core"),
        ('"fused"', "{ fuse = 0 }", "no such server"),
    ],
)
def test_what_cannot_be_placed_together(placement: str, cores: str, problem: str) -> None:
    with pytest.raises(TopologyError, match=problem):
        placing(placement, cores)


def test_a_process_has_a_bounded_number_of_servers() -> None:
    text = '[host.hub]\naddresses = ["10.9.0.1/24"'
    text += "".join(f', "10.0.{i}.1/24"' for i in range(6)) + ']\nplacement = "fused"\n'
    for i in range(6):
        text += f'[host.h{i}]\naddress = "10.0.{i}.2/24"\n[wire.w{i}]\nhosts = ["hub", "h{i}"]\n'
    with pytest.raises(TopologyError, match="9 servers in one process"):
        planned(text, [0])


def lanes_of(host: HostPlan) -> list[int]:
    return [server.core for server in host.servers if server.entry_point == "tcp"]


@pytest.mark.parametrize(
    ("cores", "left", "right"),
    [
        ([0], [0, 0, 0, 0], [0, 0]),
        ([0, 1], [0, 1, 0, 1], [0, 1]),
        ([0, 1, 2, 3], [0, 1, 2, 3], [0, 1]),
        (list(range(64)), [0, 1, 2, 3], [4, 5]),
    ],
)
def test_lanes_get_a_core_each_as_far_as_they_go(
    cores: list[int], left: list[int], right: list[int]
) -> None:
    text = chain(2).replace("[host.h0]\n", "[host.h0]\nlanes = 4\n")
    text = text.replace("[host.h1]\n", "[host.h1]\nlanes = 2\n")
    first, second = planned(text, cores)
    assert (lanes_of(first), lanes_of(second)) == (left, right)
    assert placed(first)["ip"] == first.core == left[0]
    syscall = next(server for server in first.servers if server.role == "syscall")
    assert syscall.needs == ("udp", "tcp0", "tcp1", "tcp2", "tcp3")


def test_lanes_can_be_placed_by_name() -> None:
    (alone,) = planned('[host.a]\naddress = "10.0.0.2/24"\nlanes = 2\ncores = { tcp1 = 5 }', [4, 5])
    assert lanes_of(alone) == [4, 5]
