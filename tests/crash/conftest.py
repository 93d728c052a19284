"""Hosts, and files to fetch from them, that the tests of this folder share."""

import hashlib
import random
from collections.abc import Iterator

import pytest
from real_hosts import TOPOLOGY, RealHosts, Site

from newtos_py.rs.scratch import ScratchHosts

BIG_BYTES = 100_000_000


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """`page`, 64 bytes; `big`, 100 MB of noise."""
    folder = tmp_path_factory.mktemp("site")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)
    (folder / "page").write_bytes(b"x" * 64)
    (folder / "index.html").write_bytes(b"hello\n")
    noise = random.Random(1).randbytes(BIG_BYTES)
    (folder / "big").write_bytes(noise)
    return Site(folder, BIG_BYTES, hashlib.sha256(noise).hexdigest())


@pytest.fixture
def hosts() -> Iterator[RealHosts]:
    """Two hosts and a wire, of the test's own."""
    with ScratchHosts(TOPOLOGY) as scratch:
        yield RealHosts(scratch)
