"""The cluster module of Node.js over the wire that loses 0.5 %: workers that share a socket."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADDRESS, PORT = "10.0.0.2", 3400
CLUSTER = Path(__file__).parent / "programs" / "cluster.js"


@pytest.mark.apps("node", "curl")
def test_cluster(wire_hosts: Any, pages: Path, until: Callable[..., None]) -> None:
    """Both workers serve; one that ends is replaced; SIGTERM ends all of them in order."""
    url = f"http://{ADDRESS}:{PORT}"

    def ask(path: str = "/") -> int:
        return int(wire_hosts.ask("curl", "-sS", "--fail", url + path))

    with wire_hosts.serve(PORT, "node", str(CLUSTER), str(PORT)) as primary:

        def workers() -> set[int]:
            path = Path(f"/proc/{primary.pid}/task/{primary.pid}/children")
            return set(map(int, path.read_text().split()))

        until(lambda: len(workers()) == 2, "two workers")
        said = wire_hosts.ask("curl", "-sS", "--fail", "-w", " ", f"{url}/?[1-30]")
        assert set(map(int, said.split())) <= workers()
        page = pages / "512000"
        said = wire_hosts.ask("curl", "-sS", "--fail", "--data-binary", f"@{page}", url)
        assert said == hashlib.sha256(page.read_bytes()).hexdigest()

        ended = ask("/exit")
        until(lambda: ended not in workers() and len(workers()) == 2, "a new worker")
        assert ask() in workers()
    assert primary.returncode == 7
