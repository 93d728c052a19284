"""PostgreSQL: a postmaster that accepts, and a child of fork() for each client that it accepted.

It refuses to be root's, so root runs it as another user; the cluster is made by the distribution's
initdb, without newtos. The clients are psql, pgbench and pg_basebackup.
"""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
PORT, REPLICA_PORT = 5632, 5633
BIN = "/usr/lib/postgresql/15/bin"
USER = "postgres"

pytestmark = pytest.mark.apps(f"{BIN}/postgres", f"{BIN}/psql", f"{BIN}/pgbench", "setpriv")


def as_user(*command: str) -> list[str]:
    """The command, as the user that PostgreSQL's package made if we are root."""
    if os.getuid() != 0:
        return list(command)
    group = str(pwd.getpwnam(USER).pw_gid)
    return ["setpriv", f"--reuid={USER}", f"--regid={group}", "--clear-groups", *command]


def give(path: Path) -> Path:
    """Makes a folder that is the user's."""
    path.mkdir(mode=0o700)
    if os.getuid() == 0:
        user = pwd.getpwnam(USER)
        os.chown(path, user.pw_uid, user.pw_gid)
    return path


@contextmanager
def postgres(hosts: Any, data: Path, port: int, host: str) -> Iterator[None]:
    with hosts.serve(
        port,
        *as_user(f"{BIN}/postgres", "-D", str(data), "-p", str(port)),
        host=host,
        cwd=Path("/"),
    ):
        yield


@pytest.fixture(scope="module")
def database(wire_hosts: Any) -> Iterator[None]:
    wire_hosts.directory.chmod(0o711)
    data = give(wire_hosts.directory / "pg")
    made = subprocess.run(
        as_user(
            f"{BIN}/initdb", "-D", str(data), "-U", "root", "-A", "trust", "-N",
            "--no-instructions", "-E", "UTF8", "--no-locale",
        ),
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all,replication all 10.0.0.0/24 trust\n")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(
            "listen_addresses = '*'\nunix_socket_directories = ''\nfsync = off\n"
            "shared_buffers = 32MB\nmax_connections = 40\n"
        )
    with postgres(wire_hosts, data, PORT, wire_hosts.web):
        yield
    wire_hosts.await_nothing_left()


def psql(hosts: Any, script: str, port: int = PORT, address: str = ADDRESS) -> str:
    return str(
        hosts.ask(
            f"{BIN}/psql", "-h", address, "-p", str(port), "-U", "root", "-d", "postgres", "-XqAt",
            "-v", "ON_ERROR_STOP=1", stdin=script, timeout=100,
        )
    )  # fmt: skip


@pytest.mark.usefixtures("database")
def test_copies_rows_in_and_out(wire_hosts: Any) -> None:
    """Some megabytes each way."""
    rows = [f"{number}\t{number * number}\tword {number % 97}" for number in range(60_000)]
    table = "create table numbers (number int primary key, square bigint, word text);"
    psql(wire_hosts, "\n".join([table, "copy numbers from stdin;", *rows, "\\.", ""]))
    assert (
        psql(wire_hosts, "copy (select * from numbers order by 1) to stdout;").splitlines() == rows
    )
    assert psql(wire_hosts, "select sum(square) from numbers;").strip() == str(
        sum(number * number for number in range(60_000))
    )


@pytest.mark.usefixtures("database")
def test_notifies_another_client(wire_hosts: Any) -> None:
    """One backend signals another, which tells its client."""
    script = "listen news;\n\\! {other}\nselect 1;\n"
    other = (
        f'{BIN}/psql -h {ADDRESS} -p {PORT} -U root -d postgres -Xqc "notify news, $$something$$"'
    ).replace("$$", "'")
    said = psql(wire_hosts, script.replace("{other}", other))
    assert 'Asynchronous notification "news" with payload "something" received' in said


@pytest.mark.usefixtures("database")
def test_a_query_is_cancelled(wire_hosts: Any) -> None:
    """A statement that takes too long ends, and the connection goes on."""
    said = wire_hosts.run(
        wire_hosts.client, f"{BIN}/psql", "-h", ADDRESS, "-p", str(PORT), "-U", "root",
        "-d", "postgres", "-XAt",
        stdin="set statement_timeout = 200; select pg_sleep(60);\nselect 'still ' || 'there';\n",
        check=False,
    )  # fmt: skip
    assert "canceling statement due to statement timeout" in said.stderr
    assert "still there" in said.stdout


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("flags", [["-M", "prepared"], ["-C"]])
def test_pgbench(wire_hosts: Any, flags: list[str]) -> None:
    """Eight clients; every transaction is all there. -C: a connection a transaction."""
    where = ["-h", ADDRESS, "-p", str(PORT), "-U", "root", "postgres"]
    wire_hosts.ask(f"{BIN}/pgbench", "-i", "-q", "-s", "1", *where, timeout=100)
    count = 10 if "-C" in flags else 40
    said = wire_hosts.ask(
        f"{BIN}/pgbench", "-n", "-c", "8", "-j", "2", "-t", str(count), *flags, *where, timeout=100
    )
    assert f"number of transactions actually processed: {8 * count}/{8 * count}" in said
    assert "number of failed transactions: 0 " in said
    sums = psql(
        wire_hosts,
        "select sum(delta) from pgbench_history; select sum(abalance) from pgbench_accounts;"
        "select sum(bbalance) from pgbench_branches; select sum(tbalance) from pgbench_tellers;"
        "select count(*) from pgbench_history;",
    ).split()
    assert len(set(sums[:4])) == 1
    assert sums[4] == str(8 * count)


@pytest.mark.slow
@pytest.mark.apps(f"{BIN}/pg_basebackup")
@pytest.mark.usefixtures("database")
def test_replicates_to_another_host(wire_hosts: Any, until: Any) -> None:
    """A base backup over the wire, and a standby that follows by streaming."""
    data = give(wire_hosts.directory / "standby")
    wire_hosts.ask(
        *as_user(
            f"{BIN}/pg_basebackup", "-h", ADDRESS, "-p", str(PORT), "-U", "root", "-D", str(data),
            "-R", "-X", "stream", "-c", "fast",
        ),
        timeout=100,
    )  # fmt: skip
    with postgres(wire_hosts, data, REPLICA_PORT, wire_hosts.client):
        psql(wire_hosts, "create table followed as select generate_series(1, 20000) as number;")

        def followed() -> bool:
            said = psql(
                wire_hosts, "select to_regclass('followed') is not null;", REPLICA_PORT, "127.0.0.1"
            )
            return said.strip() == "t"

        until(followed, "the standby has the table")
        there = psql(wire_hosts, "select sum(number) from followed;", REPLICA_PORT, "127.0.0.1")
        assert there.strip() == str(sum(range(20_001)))
