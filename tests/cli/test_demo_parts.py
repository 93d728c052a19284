"""What the demo is made of: which programs it finds, what it runs, and what it shows of them."""

import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from newtos_py.cli import demo, demo_programs
from newtos_py.cli.demo_screen import Screen


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any of the programs."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(demo_programs, "_SERVER_PATH", "/nowhere")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server of the test's; its URL. It serves tmp_path."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


PROGRAMS = ("wrk", "curl")


def output(command: list[str]) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


@pytest.mark.parametrize(
    "program", [*(pytest.param(name, marks=pytest.mark.apps(name)) for name in PROGRAMS), "python"]
)
def test_load_comes_from_the_best_there_is(
    program: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {name: shutil.which(name) for name in PROGRAMS}
    present = {"wrk": ("wrk", "curl"), "curl": ("curl",), "python": ()}[program]
    monkeypatch.setattr(
        demo_programs.shutil, "which", lambda name: found[name] if name in present else None
    )
    monkeypatch.setattr(demo_programs, "_CURL_REQUESTS", 20)
    monkeypatch.setattr(demo_programs, "_URLLIB_REQUESTS", 20)
    (tmp_path / "page").write_bytes(b"hello")
    _, command = demo_programs.load(f"{site}/page")
    assert Path(command[0]).name.startswith(program)
    output(command)


@pytest.mark.usefixtures("bare")
def test_without_programs_cpython_does() -> None:
    assert demo_programs.find_web_server().name == "CPython's http.server"
    assert demo_programs.find_cache() is None
    assert demo_programs.find_fetcher().name == "CPython's urllib"


@pytest.mark.apps("lighttpd", "memcached", "curl")
def test_installed_programs_are_used(tmp_path: Path) -> None:
    web = demo_programs.find_web_server()
    assert web.name == "lighttpd"
    command = web.command(tmp_path, tmp_path)
    subprocess.run([command[0], "-tt", "-f", command[-1]], check=True, timeout=30)
    assert demo_programs.find_cache() is not None
    assert demo_programs.find_fetcher().name == "curl"


@pytest.mark.parametrize(
    "which", [pytest.param("installed", marks=pytest.mark.apps("curl")), "cpython"]
)
def test_pages_are_fetched(
    which: str, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if which == "cpython":
        monkeypatch.setenv("PATH", "/nowhere")
    fetcher = demo_programs.find_fetcher()
    (tmp_path / "page").write_bytes(b"hello")
    (tmp_path / "big").write_bytes(bytes(300_000))
    assert output(fetcher.fetch(f"{site}/page")) == b"hello"
    assert output(fetcher.download(f"{site}/big", 10_000_000)) == bytes(300_000)
    missing = fetcher.fetch(f"{site}/missing")
    assert subprocess.run(missing, check=False, capture_output=True, timeout=30).returncode != 0


def test_the_probe_waits_for_a_port(site: str) -> None:
    assert output(demo_programs.probe("127.0.0.1", int(site.rpartition(":")[2]))) == b""


def test_commands_are_shown_without_folders_and_scripts() -> None:
    assert demo_programs.readable(["/usr/bin/curl", "http://x/y"]) == "curl http://x/y"
    probe = demo_programs.probe("10.0.0.2", 80)
    assert demo_programs.readable(probe) == f"{Path(sys.executable).name} -Pc '...' 10.0.0.2 80"


def test_shares_are_of_all_calls(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    told = {"program": "curl", "user_space_calls": 1980, "server_calls": 15, "kernel_calls": 5}
    path.write_text(json.dumps(told) + "\n")
    (share,) = demo._read_stats(path)
    assert share.cells() == ("curl", "1,980", "15", "5", "99.00%")
    assert list(demo._read_stats(tmp_path / "missing")) == []


def test_noise_has_its_checksum(tmp_path: Path) -> None:
    told = demo._write_noise(tmp_path / "x", 2 << 20)
    content = (tmp_path / "x").read_bytes()
    assert len(content) == 2 << 20
    assert hashlib.sha256(content).hexdigest() == told


def test_elsewhere_than_on_a_terminal_it_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.step("First")
    screen.command("run it")
    screen.answer("one [bold]line[/]\ntwo")
    screen.table(("server", "pid"), [("web:ip", "12")])
    screen.check(passed=True, good="fine", bad="not fine")
    screen.check(passed=False, good="fine", bad="not fine")
    with screen.bar("downloading", 100) as bar:
        bar.advance(100)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[:6] == [
        "1. First",
        "$ run it",
        "one [bold]line[/]",
        "two",
        "server  pid",
        "web:ip   12",
    ]
    assert lines[6].endswith(" fine")
    assert lines[7].endswith(" not fine")
    assert len(lines) == 8
    assert screen.problems == ["not fine"]
