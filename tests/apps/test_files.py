"""rsync and git with their own daemons, over the wire that loses 0.5 %.

Both daemons serve each connection in a child; git's gives it to another program as its standard
input and output.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDRESS = "10.0.0.2"
RSYNC, GIT, DUMB = 8730, 9418, 8088


def make_tree(root: Path) -> None:
    """Files of all sizes, empty folders, links, and odd names."""
    draw = random.Random(3)
    for number in range(60):
        folder = root / f"d{number % 7}" / f"e {number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(draw.randbytes(draw.choice((0, 1, 700, 9_000, 80_000))))
    (root / "big").write_bytes(draw.randbytes(2_000_000))
    (root / "empty").mkdir()
    (root / "link").symlink_to("big")
    (root / "d1" / "executable").write_text("#!/bin/sh\n")
    (root / "d1" / "executable").chmod(0o755)


def listing(root: Path) -> dict[str, tuple[int, bytes]]:
    """Each path with its mode, and its bytes or where it leads."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            content = bytes(path.readlink())
        else:
            content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (mode, content)
    return found


# -- rsync -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules(wire_hosts: Any) -> Iterator[Path]:
    """A daemon with two modules: one with a tree to read, one to write to."""
    root: Path = wire_hosts.directory / "rsync"
    for name in ("source", "sink"):
        (root / name).mkdir(parents=True)
    make_tree(root / "source")
    config = root / "rsyncd.conf"
    config.write_text(
        f"use chroot = no\nmunge symlinks = no\nuid = {os.getuid()}\n"
        f"[source]\npath = {root / 'source'}\n[sink]\npath = {root / 'sink'}\nread only = no\n"
    )
    command = ("rsync", "--daemon", "--no-detach", f"--port={RSYNC}", f"--config={config}")
    with wire_hosts.serve(RSYNC, *command):
        yield root


@pytest.mark.apps("rsync")
class TestRsync:
    """One daemon for all of them."""

    def test_fetches_a_tree(self, wire_hosts: Any, modules: Path) -> None:
        source, got = modules / "source", modules / "got"
        url = f"rsync://{ADDRESS}:{RSYNC}/source/"
        wire_hosts.ask("rsync", "-a", url, str(got))
        assert listing(got) == listing(source)
        # Once more, and only what has changed is sent.
        (source / "big").write_bytes((source / "big").read_bytes()[:-1] + b"!")
        said = wire_hosts.ask(
            "rsync", "-a", "--checksum", "--stats", "--no-whole-file", url, str(got)
        )
        assert "Number of regular files transferred: 1" in said
        assert listing(got) == listing(source)

    def test_sends_a_tree(self, wire_hosts: Any, modules: Path) -> None:
        url = f"rsync://{ADDRESS}:{RSYNC}/sink/"
        wire_hosts.ask("rsync", "-a", "-z", f"{modules / 'source'}/", url)
        assert listing(modules / "sink") == listing(modules / "source")

    def test_names_what_is_not_there(self, wire_hosts: Any, modules: Path) -> None:
        assert modules.is_dir()
        asked = ("rsync", f"rsync://{ADDRESS}:{RSYNC}/nothing/", "/tmp/never")
        done = wire_hosts.run(wire_hosts.client, *asked, check=False)
        assert done.returncode == 5
        assert "Unknown module" in done.stderr


# -- git -------------------------------------------------------------------------------------


def git(directory: Path, *words: str) -> str:
    """On Linux: what prepares and compares."""
    identity = {f"GIT_{who}_{what}": "nobody@example.org" for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")}  # fmt: skip
    done = subprocess.run(["git", *words], cwd=directory, env=os.environ | identity, check=True,
                          capture_output=True, text=True)  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def repositories(wire_hosts: Any) -> Path:
    """A bare repository with a tree, and a clone that pushed it."""
    root: Path = wire_hosts.directory / "git"
    make_tree(root / "work")
    git(root, "init", "-q", "--bare", "-b", "main", "served.git")
    git(root, "init", "-q", "-b", "main", "work")
    git(root / "work", "add", ".")
    git(root / "work", "commit", "-q", "-m", "first")
    git(root / "work", "push", "-q", "../served.git", "main")
    return root


@pytest.mark.apps("git")
def test_git_over_its_daemon(wire_hosts: Any, repositories: Path) -> None:
    work, clone = repositories / "work", repositories / "clone"
    url = f"git://{ADDRESS}/served.git"
    with wire_hosts.serve(GIT, "git", "daemon", f"--base-path={repositories}", "--export-all",
                          "--reuseaddr", "--enable=receive-pack"):  # fmt: skip
        wire_hosts.ask("git", "clone", "-q", url, str(clone))
        assert git(clone, "rev-parse", "HEAD^{tree}") == git(work, "rev-parse", "HEAD^{tree}")
        assert git(clone, "status", "--porcelain") == ""
        git(clone, "fsck", "--strict")

        (work / "more").write_bytes(random.Random(4).randbytes(500_000))
        git(work, "add", ".")
        git(work, "commit", "-q", "-m", "second")
        wire_hosts.ask("git", "-C", str(work), "push", "-q", url, "main")
        assert git(repositories / "served.git", "rev-parse", "main") == git(
            work, "rev-parse", "main"
        )

        wire_hosts.ask("git", "-C", str(clone), "fetch", "-q")
        assert git(clone, "rev-parse", "origin/main") == git(work, "rev-parse", "main")
        assert git(work, "rev-parse", "main").strip() in wire_hosts.ask("git", "ls-remote", url)


@pytest.mark.apps("git", "lighttpd")
def test_git_over_http(wire_hosts: Any, repositories: Path) -> None:
    """The client's transport is a program of its own, a child with pipes; files lie in lighttpd."""
    config = wire_hosts.directory / "git.conf"
    config.write_text(f'server.document-root = "{repositories}"\nserver.port = {DUMB}\n')
    git(repositories / "served.git", "update-server-info")
    with wire_hosts.serve(DUMB, "lighttpd", "-D", "-f", str(config)):
        clone = repositories / "over-http"
        url = f"http://{ADDRESS}:{DUMB}/served.git"
        wire_hosts.ask("git", "clone", "-q", url, str(clone))
        git(clone, "fsck", "--strict")
        served = git(repositories / "served.git", "rev-parse", "main")
        assert git(clone, "rev-parse", "HEAD") == served
