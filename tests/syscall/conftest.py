"""Programs that talk with the syscall server, over rs and fake transports."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_programs import Shim
from rs_world import FAKES, TWO_HOSTS, World, make_world

FAKE_TRANSPORTS = {
    "wire": FAKES["wire"],
    "ip": FAKES["ip"],
    "tcp": "fake_transports:TCP",
    "udp": "fake_transports:UDP",
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "rs"))
    with make_world(FAKE_TRANSPORTS) as world:
        monkeypatch.setenv("NEWTOS_FAKES", str(world.root))
        world.boot(TWO_HOSTS)
        yield world


Connect = Callable[[], Shim]


@pytest.fixture
def connect(world: World) -> Iterator[Connect]:
    """Makes programs; their connections are closed after the test."""
    shims: list[Shim] = []

    def connect_one() -> Shim:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(world.runtime.control_path(world.host().token, "web")))
        shims.append(Shim(connection))
        return shims[-1]

    yield connect_one
    for shim in shims:
        shim.connection.close()


@pytest.fixture
def shim(connect: Connect) -> Shim:
    return connect()
