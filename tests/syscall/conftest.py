"""Programs that talk with the syscall server, over rs and fake transports."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fake_programs import Shim
from fake_sharing import Connect, Fork
from rs_world import FAKES, TWO_HOSTS, World, make_world

from newtos_py.kernel._kernel import lib

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


@pytest.fixture
def placeholder() -> Iterator[int]:
    with socket.socket(socket.AF_UNIX) as held:
        yield held.fileno()


@pytest.fixture
def fork() -> Iterator[Fork]:
    """Makes children: what a TOKEN's other end is to the shim."""
    children: list[Shim] = []

    def fork_one(
        parent: Shim, text: bytes = b"", flags: int = 0, shown: Sequence[int] = ()
    ) -> Shim:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        with theirs:
            parent.tell(
                lib.NT_CTL_TOKEN,
                *shown,
                theirs.fileno(),
                text=text,
                arg=flags,
                options=len(shown),
            )
        children.append(Shim(ours))
        return children[-1]

    yield fork_one
    for child in children:
        child.connection.close()
