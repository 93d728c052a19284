"""What each server process may write, against the table of architecture.md §4.

Looked at are the mappings of booted servers, as Linux lists them. That writing elsewhere faults is
tests/kernel/test_protection.py.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rs_world import FAKES, TWO_HOSTS, World, make_world

from newtos_py.kernel._kernel import lib
from newtos_py.kernel.server import PoolShape

PAGE = 4096
DRIVER = "wire.lan"
FAKE_POOL = PoolShape(small_count=8, large_count=2)
MAPPING = re.compile(
    r"(?P<start>\w+)-(?P<end>\w+) (?P<access>\S+) (?P<offset>\w+) \S+ \d+\s+/dev/shm/newtos\."
    r"\w+\.(?P<host>\w+)\.(?P<kind>[a-z]+)\.(?P<rest>.+)"
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A stretch of a region in a server's address space."""

    host: str
    kind: str
    rest: str
    first: int
    last: int
    is_writable: bool


def mappings(pid: int) -> Iterator[Mapped]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = MAPPING.match(line)
        if match is not None:
            offset = int(match["offset"], 16)
            size = int(match["end"], 16) - int(match["start"], 16)
            yield Mapped(
                match["host"],
                match["kind"],
                match["rest"],
                offset,
                offset + size - PAGE,
                "w" in match["access"],
            )


def may_write(host: str, role: str, region: Mapped, offset: int) -> bool:
    """The table: whether a server may write the page at `offset` of a region."""
    is_own = (region.host, region.rest) == (host, role)
    match region.kind:
        case "status" | "arena":
            return is_own
        case "pool":
            pool_data: int = lib.nt_pool_data_offset(FAKE_POOL.small_count, FAKE_POOL.large_count)
            is_far_end = role == region.rest == DRIVER and region.host != host
            return is_own or (is_far_end and offset >= pool_data)
        case "cap":
            return is_own and offset >= PAGE
        case "ch" | "rt":
            me = f"lan.{host}" if region.rest.startswith("lan.") else role
            other = host if region.rest.startswith("lan.") else role
            is_consumer_page = offset == 0
            ends = region.rest.endswith(f".{other}"), region.rest.startswith(f"{me}.")
            return ends[0] if is_consumer_page else ends[1]
    raise AssertionError(f"what is {region}?")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with make_world(FAKES) as world:
        monkeypatch.setenv("NEWTOS_FAKES", str(world.root))
        world.boot(TWO_HOSTS)
        yield world


def test_every_page_has_the_protection_of_the_table(world: World) -> None:
    seen: set[str] = set()
    writers: dict[tuple[str, str, str, int], list[str]] = {}
    for host in ("web", "client"):
        for server in world.host(host).servers:
            assert server.process is not None
            name = f"{host}:{server.role}"
            for region in mappings(server.process.pid):
                seen.add(region.kind)
                for offset in (region.first, region.last):
                    wanted = may_write(host, server.role, region, offset)
                    assert region.is_writable == wanted, f"{name}: {region} at {offset:#x}"
                if region.is_writable:
                    page = (region.host, region.kind, region.rest, region.first)
                    writers.setdefault(page, []).append(name)
    assert seen == {"status", "arena", "pool", "cap", "ch", "rt"}
    # Each page has one writer, but for a pool's buffers: its owner, and the wire's far end.
    for (_, kind, rest, _), names in writers.items():
        assert len(names) == 1 or (kind == "pool" and rest == DRIVER), names


def test_a_server_sees_nothing_of_what_is_not_its_business(world: World) -> None:
    for server in world.host("web").servers:
        assert server.process is not None
        regions = list(mappings(server.process.pid))
        arenas = {region.rest for region in regions if region.kind == "arena"}
        assert arenas <= {server.role}
        foreign = {region.kind for region in regions if region.host != "web"}
        assert foreign == ({"status", "pool"} if server.role == DRIVER else set())
        if server.role == "syscall":
            assert {region.kind for region in regions} == {"status", "ch"}
