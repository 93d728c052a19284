"""What must fit together across a topology."""

import pytest

from newtos_py.topology import TopologyError, parse_topology

HOSTS = """\
[host.web]
address = "10.0.0.2/24"
[host.client]
address = "10.0.0.3/24"
"""
TAP = 'tap = { device = "t0", peer = "10.1.0.1/24" }\n'
EDGE = '[host.edge]\naddress = "10.1.0.2/24"\n' + TAP


@pytest.mark.parametrize(
    ("text", "line", "key", "message"),
    [
        ("", 1, "", "there is no host"),
        (
            HOSTS + '[wire.lan]\nhosts = ["web",\n"clinet"]',
            7,
            "wire.lan.hosts[1]",
            'there is no host "clinet"; did you mean "client"? Valid: web, client',
        ),
        (HOSTS + '[wire.lan]\nhosts = ["web", "web"]', 6, "wire.lan.hosts", "both ends"),
        (
            HOSTS + '[host.more]\naddresses = ["10.0.0.4/24", "10.0.0.2/16"]',
            6,
            "host.more.addresses[1]",
            "10.0.0.2 is taken by host.web.address (line 2)",
        ),
        (
            '[host.a]\naddress = "10.1.0.1/24"\n' + TAP,
            3,
            "host.a.tap.peer",
            "10.1.0.1 is taken by host.a.address (line 2)",
        ),
        (
            EDGE + EDGE.replace("edge", "b").replace("10.1.", "10.3."),
            6,
            "host.b.tap.device",
            "belongs to host edge already",
        ),
        (
            HOSTS.replace("10.0.0.3", "10.0.1.3") + '[wire.lan]\nhosts = ["web", "client"]',
            6,
            "wire.lan.hosts",
            "share no subnet (web: 10.0.0.2/24; client: 10.0.1.3/24)",
        ),
        (
            HOSTS.replace("10.0.0.3/24", "10.0.0.3/16") + '[wire.lan]\nhosts = ["web", "client"]',
            6,
            "wire.lan.hosts",
            "share no subnet",
        ),
        (
            '[host.a]\naddress = "10.2.0.2/24"\n' + TAP,
            3,
            "host.a.tap.peer",
            "shares no subnet with the host (10.2.0.2/24); use another address of 10.2.0.0/24",
        ),
        (
            HOSTS + '[wire.one]\nhosts = ["web", "client"]\n[wire.two]\nhosts = ["web", "client"]',
            8,
            "wire.two.hosts",
            "host web reaches this subnet by wire.one too",
        ),
        (EDGE + 'gateway = "10.1.0.2"', 4, "host.edge.gateway", "10.1.0.2 is the host itself"),
        (
            EDGE + 'gateway = "10.2.0.1"',
            4,
            "host.edge.gateway",
            "10.2.0.1 is in no subnet of a wire or tap; an address in 10.1.0.0/24 is valid",
        ),
        (
            '[host.alone]\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"',
            3,
            "host.alone.gateway",
            "the host needs a wire or tap",
        ),
        (
            EDGE + 'gateway = "10.1.0.1"\nroutes = [{ to = "0.0.0.0/0", via = "10.1.0.7" }]',
            5,
            "host.edge.routes[0].to",
            "there is a route to 0.0.0.0/0 already",
        ),
    ],
)
def test_what_does_not_fit(text: str, line: int, key: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        parse_topology(text, "net.toml")
    assert (caught.value.line, caught.value.key) == (line, key)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[host.alone]\naddress = "10.0.0.2/24"\n',
        EDGE + 'gateway = "10.1.0.1"\n',
        # A router: two wires, two subnets, and a route through it.
        """
        [host.left]
        address = "10.0.0.2/24"
        gateway = "10.0.0.1"
        [host.router]
        addresses = ["10.0.0.1/24", "10.0.1.1/24"]
        [host.right]
        address = "10.0.1.2/24"
        routes = [{ to = "10.0.0.0/24", via = "10.0.1.1" }]
        [wire.a]
        hosts = ["left", "router"]
        [wire.b]
        hosts = ["router", "right"]
        """,
        # Several addresses in one subnet, and one that lies on no link.
        HOSTS.replace(
            'address = "10.0.0.3/24"', 'addresses = ["10.0.0.3/24", "10.0.0.4/24", "10.9.9.9/32"]'
        )
        + '[wire.lan]\nhosts = ["web", "client"]\n',
    ],
)
def test_what_fits(text: str) -> None:
    parse_topology(text, "net.toml")


def many(count: int, form: str) -> str:
    return ", ".join(form.format(i + 2) for i in range(count))


def star(count: int) -> str:
    """Write a hub with a wire to each of `count` hosts."""
    listed = many(count, '"10.0.{}.1/24"')
    text = f"[host.hub]\naddresses = [{listed}]\n"
    for i in range(2, count + 2):
        text += f'[host.h{i}]\naddress = "10.0.{i}.2/24"\n'
        text += f'[wire.w{i}]\nhosts = ["hub", "h{i}"]\n'
    return text


def addresses(count: int) -> str:
    listed = many(count, '"10.0.0.{}/24"')
    return f"[host.a]\naddresses = [{listed}]\n"


def routes(count: int) -> str:
    listed = many(count, '{{ to = "10.9.{}.0/24", via = "10.1.0.1" }}')
    return f"{EDGE}routes = [{listed}]\n"


@pytest.mark.parametrize(
    ("fits", "too_many", "key", "problem"),
    [
        (star(8), star(9), "host.hub", "9 wires and taps are too many"),
        (addresses(32), addresses(33), "host.a.addresses", "33 addresses are too many"),
        (routes(32), routes(33), "host.edge.routes", "33 routes are too many"),
    ],
)
def test_the_servers_tables_limit_a_host(fits: str, too_many: str, key: str, problem: str) -> None:
    parse_topology(fits, "net.toml")
    with pytest.raises(TopologyError, match=problem) as caught:
        parse_topology(too_many, "net.toml")
    assert caught.value.key == key
