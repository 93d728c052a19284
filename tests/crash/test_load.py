"""Servers die under 200 open connections: wrk sees no error, on any of them."""

import pytest
from real_hosts import ADDRESS, CLIENT, HOSTS, RealHosts, Site, until, wrk_errors

CONNECTIONS = 200


@pytest.mark.apps("lighttpd", "wrk")
def test_no_connection_breaks_under_load(hosts: RealHosts, site: Site) -> None:
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", "-d3s", "--timeout", "20", f"http://{ADDRESS}/page"]
    with hosts.serving(site.folder), hosts.start(CLIENT, wrk) as process:
        until(
            lambda: hosts.tcp_counter(CLIENT, "tcbs_in_use") >= CONNECTIONS,
            "all connections are open",
        )
        for role in ("tcp0", "ip", "wire.lan"):
            for host in HOSTS:
                gap = hosts.kill(host, role)
                print(f"{host}:{role} was back after {gap * 1e3:.0f} ms")
        assert process.poll() is None, "wrk ended before the kills"
        said = process.communicate(timeout=60)[0].decode()
    print(said)
    assert process.returncode == 0
    assert wrk_errors(said) == 0, said


@pytest.mark.apps("lighttpd", "ab", "curl")
def test_a_program_after_a_restart_gets_fresh_sockets(hosts: RealHosts, site: Site) -> None:
    # It inherits the number of an area that had more grants than a ring holds.
    ab = ["ab", "-q", "-n", "10000", "-c", "50", f"http://{ADDRESS}/page"]
    with hosts.serving(site.folder):
        for _ in range(2):
            assert "Failed requests:        0\n" in hosts.run(CLIENT, ab)
            until(lambda: len(hosts.areas()) == 1, "ab's area is gone")
            hosts.kill(CLIENT, "tcp0")
            hosts.run(CLIENT, ["curl", "-sSf", f"http://{ADDRESS}/page"])
