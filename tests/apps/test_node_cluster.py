"""The cluster module of Node.js over the wire that loses 0.5 %: workers that share a socket."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
CLUSTER = Path(__file__).parent / "programs" / "cluster.js"


@pytest.mark.apps("node", "curl")
@pytest.mark.parametrize(("policy", "port"), [("shared", 3400), ("dealt", 3401)])
def test_cluster(
    wire_hosts: Any, pages: Path, until: Callable[..., None], policy: str, port: int
) -> None:
    """Both workers serve; one that ends is replaced; SIGTERM ends all of them in order."""
    url = f"http://{ADDRESS}:{port}"

    def ask(path: str = "/") -> int:
        return int(wire_hosts.ask("curl", "-sS", "--fail", url + path))

    with wire_hosts.serve(port, "node", str(CLUSTER), str(port), policy) as primary:

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
