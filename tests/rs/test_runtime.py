"""The runtime directory: whose it is, what it holds, and who runs."""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.errors import NewtosError
from newtos_py.rs.process_id import ProcessId, boot_id, own_id, send_signal, wait_for_exit
from newtos_py.rs.records import (
    HostRecord,
    RecordError,
    ServerRecord,
    ServerState,
    decode_record,
    encode_record,
)
from newtos_py.rs.runtime import (
    HostNotRunningError,
    HostRunningError,
    RuntimeDir,
    RuntimeDirError,
    new_token,
    open_runtime_dir,
    region_name,
    runtime_path,
)

Start = Callable[..., ProcessId]


def record(host: str, token: str, rs: ProcessId | None = None) -> HostRecord:
    return HostRecord(
        host=host,
        token=token,
        boot_file="net.toml",
        boot_id=boot_id(),
        rs=rs or own_id(),
        programs_core=0,
        slice_us=100,
        helpers=(),
        servers=(ServerRecord("ip", 0, ServerState.RUNNING, 1, 0, own_id()),),
    )


def dead(start: Start) -> ProcessId:
    """Make a process that has run and does no more."""
    process = start()
    assert send_signal(process, signal.SIGKILL)
    assert wait_for_exit(process, 30)
    return process


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDir:
    return open_runtime_dir(tmp_path / "newtos")


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"NEWTOS_RUNTIME_DIR": "/a/b", "XDG_RUNTIME_DIR": "/run/user/7"}, "/a/b"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/newtos"),
        ({"XDG_RUNTIME_DIR": ""}, "/tmp/newtos-7"),
        ({}, "/tmp/newtos-7"),
    ],
)
def test_where_it_is(environ: dict[str, str], path: str) -> None:
    assert runtime_path(environ, 7) == Path(path)


def test_it_is_made_for_its_user_alone_and_found_again(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        runtime = open_runtime_dir(tmp_path / "newtos")
    finally:
        os.umask(previous)
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    assert open_runtime_dir(tmp_path / "newtos") == runtime


def test_one_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    with pytest.raises(RuntimeDirError, match="chmod 700"):
        open_runtime_dir(tmp_path / "open")


def test_a_link_to_somewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(RuntimeDirError, match="no directory"):
        open_runtime_dir(tmp_path / "link")


def test_one_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    with pytest.raises(RuntimeDirError, match="set NEWTOS_RUNTIME_DIR"):
        open_runtime_dir(tmp_path / "missing" / "newtos")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, -1)
    with pytest.raises(RuntimeDirError, match="belongs to user 12345"):
        open_runtime_dir(tmp_path / "theirs")


def test_names() -> None:
    assert region_name("0a1b2c3d4e5f", "web", "tcp0.arena") == "/newtos.0a1b2c3d4e5f.web.tcp0.arena"
    assert new_token() != new_token()


def test_a_registered_host_is_found(runtime: RuntimeDir) -> None:
    token = new_token()
    web, client = record("web", token), record("client", token)
    runtime.register([web, client])
    assert runtime.find_host("web") == web
    assert runtime.all_hosts() == runtime.running_hosts() == [client, web]
    assert runtime.control_path(token, "web").parent == runtime.record_path(token, "web").parent


def test_a_second_host_of_that_name_is_refused_with_all_that_came_along(
    runtime: RuntimeDir,
) -> None:
    runtime.register([record("web", new_token())])
    token = new_token()
    with pytest.raises(HostRunningError, match=r"web is running already.*newtos down web"):
        runtime.register([record("client", token), record("web", token)])
    assert [found.host for found in runtime.all_hosts()] == ["web"]


def test_a_dead_hosts_name_is_free(runtime: RuntimeDir, start: Start) -> None:
    runtime.register([record("web", new_token(), dead(start))])
    alive = record("web", new_token())
    runtime.register([alive])
    assert runtime.find_host("web") == alive


def test_a_host_of_an_earlier_boot_of_the_machine_is_dead(runtime: RuntimeDir) -> None:
    runtime.register([replace(record("web", new_token()), boot_id="another")])
    assert runtime.running_hosts() == []


def test_what_is_said_of_a_host_that_does_not_run(runtime: RuntimeDir, start: Start) -> None:
    with pytest.raises(HostNotRunningError, match="newtos boot"):
        runtime.find_host("web")
    runtime.register([record("client", new_token())])
    with pytest.raises(HostNotRunningError, match="running: client"):
        runtime.find_host("web")
    runtime.register([record("web", new_token(), dead(start))])
    with pytest.raises(HostNotRunningError, match="newtos clean"):
        runtime.find_host("web")


def test_a_rewritten_record_is_the_new_one(runtime: RuntimeDir) -> None:
    web = record("web", new_token())
    runtime.register([web])
    restarted = replace(
        web, servers=(replace(web.servers[0], generation=2, restarts=1, process=None),)
    )
    runtime.write(restarted)
    assert runtime.find_host("web") == restarted


def test_forgetting_the_last_host_leaves_nothing(runtime: RuntimeDir) -> None:
    token = new_token()
    runtime.register([record("web", token), record("client", token)])
    runtime.control_path(token, "web").touch()
    runtime.forget(token, "web")
    assert [found.host for found in runtime.all_hosts()] == ["client"]
    runtime.forget(token, "client")
    assert list(runtime.path.iterdir()) == []


def test_a_path_too_long_for_a_socket_is_refused_at_once(tmp_path: Path) -> None:
    runtime = open_runtime_dir(tmp_path / ("d" * 100))
    with pytest.raises(RuntimeDirError, match="too long for a socket"):
        runtime.register([record("web", new_token())])
    assert list(runtime.path.iterdir()) == []


def test_only_one_of_many_registers_a_name(runtime: RuntimeDir) -> None:
    results: list[str] = []
    begin = threading.Barrier(8)

    def register() -> None:
        begin.wait(timeout=30)
        try:
            runtime.register([record("web", new_token())])
        except HostRunningError:
            results.append("refused")
        else:
            results.append("registered")

    threads = [threading.Thread(target=register) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(results) == ["refused"] * 7 + ["registered"]


def test_files_that_are_no_records_are_passed_over(runtime: RuntimeDir) -> None:
    web = record("web", new_token())
    runtime.register([web])
    folder = runtime.folder(web.token)
    (folder / "torn.json").write_text(encode_record(web)[:50])
    (folder / "binary.json").write_bytes(b"\xff\xfe")
    (folder / "renamed.json").write_text(encode_record(web))
    (folder / "later.json").write_text(encode_record(web).replace('"version": 1', '"version": 99'))
    assert runtime.all_hosts() == [web]


texts = st.text(max_size=5)
numbers = st.integers(2, 2**31)
processes = st.builds(ProcessId, numbers, numbers)


@given(
    st.builds(
        HostRecord,
        host=texts,
        token=texts,
        boot_file=texts,
        boot_id=texts,
        rs=processes,
        programs_core=numbers,
        slice_us=numbers,
        helpers=st.lists(processes, max_size=2).map(tuple),
        servers=st.lists(
            st.builds(
                ServerRecord,
                role=texts,
                core=numbers,
                state=st.sampled_from(ServerState),
                generation=numbers,
                restarts=numbers,
                process=st.none() | processes,
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_a_record_reads_back(written: HostRecord) -> None:
    assert decode_record(encode_record(written)) == written


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_a_record_with_one_field_changed_reads_or_is_refused(data: st.DataObject) -> None:
    """Never another exception: the file may come from anywhere."""
    fields = json.loads(encode_record(record("web", "0a1b2c3d4e5f")))
    place = data.draw(st.sampled_from([fields, fields["rs"], fields["servers"][0]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        decoded = decode_record(json.dumps(fields))
    except RecordError as error:
        assert isinstance(error, NewtosError)  # noqa: PT017
    else:
        assert decoded.rs.pid > 1


@given(st.text())
def test_any_text_is_a_record_or_a_record_error(text: str) -> None:
    with pytest.raises(RecordError):
        decode_record(text)
