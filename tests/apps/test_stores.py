"""memcached and redis, with the clients that come with them, over a clean and over a lossy wire."""

from collections.abc import Iterator
from typing import Any

import pytest

ADDRESS = "10.0.0.2"


@pytest.fixture(scope="module", params=["hosts", "lossy_hosts"])
def pair(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def memcached(pair: Any) -> Iterator[None]:
    with pair.serve(11211, "memcached", "-u", "root", "-p", "11211", "-U", "0", "-t", "4"):
        yield


@pytest.fixture(scope="module")
def redis(pair: Any) -> Iterator[None]:
    with pair.serve(
        6379, "redis-server", "--port", "6379", "--save", "", "--bind", "0.0.0.0",
        "--protected-mode", "no",
    ):  # fmt: skip
        yield


@pytest.mark.apps("memcached", "nc")
@pytest.mark.usefixtures("memcached")
def test_memcached_by_hand(pair: Any) -> None:
    talk = "set key 0 0 5\r\nhello\r\nget key\r\ndelete key\r\nget key\r\nquit\r\n"
    said = pair.ask("nc", "-N", ADDRESS, "11211", stdin=talk)
    assert said.split() == ["STORED", "VALUE", "key", "0", "5", "hello", "END", "DELETED", "END"]


@pytest.mark.apps("memcached", "memccapable")
@pytest.mark.usefixtures("memcached")
def test_memccapable(pair: Any) -> None:
    said = pair.ask("memccapable", "-h", ADDRESS, "-p", "11211")
    assert "All tests passed" in said


@pytest.mark.apps("redis-server", "redis-cli")
@pytest.mark.usefixtures("redis")
def test_redis_by_hand(pair: Any) -> None:
    def cli(*words: str) -> str:
        return str(pair.ask("redis-cli", "-h", ADDRESS, *words)).strip()

    assert cli("ping") == "PONG"
    assert cli("set", "key", "x" * 100_000) == "OK"
    assert len(cli("get", "key")) == 100_000
    assert cli("--pipe") is not None
    assert cli("client", "list").count("addr=10.0.0.3:") == 1


@pytest.mark.apps("redis-server", "redis-benchmark")
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("flags", [[], ["-P", "16"], ["--threads", "2"], ["-k", "0"]])
def test_redis_benchmark(pair: Any, request: pytest.FixtureRequest, flags: list[str]) -> None:
    lossy = "lossy_hosts" in request.node.callspec.params.values()
    requests = "1000" if lossy else "2000" if "-k" in flags else "10000"
    said = pair.ask(
        "redis-benchmark", "-h", ADDRESS, "--csv", "-n", requests, "-c", "50", *flags,
        "-t", "ping,set,get,incr,lpush,lrange_100,mset",
    )  # fmt: skip
    rows = [line.split(",") for line in said.splitlines()[1:]]
    assert len(rows) >= 7
    assert all(float(row[1].strip('"')) > 0 for row in rows)
