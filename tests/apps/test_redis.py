"""redis that saves and replicates: children of fork() write the dataset while the parent serves.

The digests are redis's own (DEBUG DIGEST): equal ones mean equal datasets.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ADDRESS, LOCAL = "10.0.0.2", "127.0.0.1"
PORT, REPLICA_PORT = 6379, 6380
Until = Callable[[Callable[[], bool], str], None]

pytestmark = pytest.mark.apps("redis-server", "redis-cli", "redis-benchmark")


@contextmanager
def redis(hosts: Any, host: str, port: int, *options: str) -> Iterator[None]:
    directory = hosts.directory / f"redis-{port}"
    directory.mkdir(exist_ok=True)
    with hosts.serve(
        port, "redis-server", "--port", str(port), "--bind", "0.0.0.0", "--protected-mode", "no",
        "--enable-debug-command", "yes", "--dir", str(directory), *options, host=host,
    ):  # fmt: skip
        yield


def cli(hosts: Any, host: str, address: str, port: int, *words: str) -> str:
    return str(hosts.run(host, "redis-cli", "-h", address, "-p", str(port), *words).stdout).strip()


def info(said: str) -> dict[str, str]:
    return dict(line.strip().split(":", 1) for line in said.splitlines() if ":" in line)


def load(hosts: Any, requests: int) -> None:
    said = hosts.ask(
        "redis-benchmark", "-h", ADDRESS, "-p", str(PORT), "--csv", "-n", str(requests), "-c", "20",
        "-r", "100000", "-d", "500", "-P", "4", "-t", "set,lpush,sadd,hset", timeout=100,
    )  # fmt: skip
    assert len(said.splitlines()) == 5


def test_saves_while_it_serves(wire_hosts: Any, until: Until) -> None:
    """BGSAVE and the rewrite of the append-only file under load; then all is read back."""

    def ask(*words: str) -> str:
        return cli(wire_hosts, wire_hosts.client, ADDRESS, PORT, *words)

    saving = ("--save", "3600 1", "--appendonly", "yes")
    with redis(wire_hosts, wire_hosts.web, PORT, *saving):
        load(wire_hosts, 4000)
        for command, running in (
            ("bgsave", "rdb_bgsave_in_progress"),
            ("bgrewriteaof", "aof_rewrite_in_progress"),
        ):
            assert "started" in ask(command)
            load(wire_hosts, 2000)
            until(lambda name=running: info(ask("info"))[name] == "0", f"{command} ends")  # type: ignore[misc]
        said = info(ask("info"))
        assert said["rdb_last_bgsave_status"] == "ok"
        assert said["aof_last_bgrewrite_status"] == "ok"
        assert int(said["total_forks"]) >= 2
        keys, digest = ask("dbsize"), ask("debug", "digest")
        assert int(keys) > 4000
    with redis(wire_hosts, wire_hosts.web, PORT, *saving):
        until(lambda: ask("ping") == "PONG", "the dataset is loaded")
        assert (ask("dbsize"), ask("debug", "digest")) == (keys, digest)
        assert ask("flushall") == "OK"
    wire_hosts.await_nothing_left()


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_replicates_to_another_host(wire_hosts: Any, until: Until, diskless: str) -> None:
    """A full resynchronization under load; then a partial one, after the link was cut."""

    def master(*words: str) -> str:
        return cli(wire_hosts, wire_hosts.client, ADDRESS, PORT, *words)

    def replica(*words: str) -> str:
        return cli(wire_hosts, wire_hosts.client, LOCAL, REPLICA_PORT, *words)

    def in_step() -> bool:
        """The replica has what the master has; nobody writes."""
        ours, theirs = info(master("info")), info(replica("info"))
        return (
            theirs["master_link_status"] == "up"
            and ours["master_repl_offset"] == theirs["slave_repl_offset"]
        )

    options = ("--save", "", "--repl-diskless-sync", diskless, "--repl-diskless-sync-delay", "0")
    with (
        redis(wire_hosts, wire_hosts.web, PORT, *options, "--repl-backlog-size", "16mb"),
        redis(wire_hosts, wire_hosts.client, REPLICA_PORT, "--save", ""),
    ):
        load(wire_hosts, 4000)
        assert replica("replicaof", ADDRESS, str(PORT)) == "OK"
        load(wire_hosts, 4000)
        until(in_step, "the replica is in step")
        assert master("debug", "digest") == replica("debug", "digest")
        assert master("wait", "1", "10000") == "1"
        full = info(master("info"))["sync_full"]

        partial = info(master("info"))["sync_partial_ok"]
        assert int(master("client", "kill", "type", "replica")) == 1
        load(wire_hosts, 1000)
        until(in_step, "the replica is in step again")
        assert master("debug", "digest") == replica("debug", "digest")
        said = info(master("info"))
        assert (said["sync_full"], said["sync_partial_ok"]) == (full, str(int(partial) + 1))
        assert int(master("dbsize")) == int(replica("dbsize")) > 4000
    wire_hosts.await_nothing_left()
