"""Which programs the dynamic linker loads the shim into."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from newtos_py.cli.preload import why_not_preloadable

PYTHON = Path(os.path.realpath(sys.executable))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return Path(shutil.copy(PYTHON, tmp_path / "program"))


def test_an_ordinary_program() -> None:
    assert why_not_preloadable(PYTHON) is None


def test_a_program_of_another_machine(program: Path) -> None:
    with program.open("r+b") as file:
        file.seek(18)  # e_machine
        file.write(b"\xf7\x00")
    assert "another machine" in str(why_not_preloadable(program))


def test_a_program_of_another_word_size(program: Path) -> None:
    with program.open("r+b") as file:
        file.seek(4)  # EI_CLASS
        file.write(b"\x01")
    assert "word size" in str(why_not_preloadable(program))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("mode", "refused"), [(0o4755, True), (0o2755, True), (0o755, False)])
def test_a_program_that_changes_its_user(program: Path, mode: int, refused: bool) -> None:
    os.chown(program, 12345, 12345)
    program.chmod(mode)
    reason = why_not_preloadable(program)
    assert ("changes its user" in str(reason)) == refused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_scripts_own_bits_mean_nothing_but_its_interpreters_do(
    program: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{program} -x\n")
    os.chown(script, 12345, 12345)
    script.chmod(0o4755)
    assert why_not_preloadable(script) is None
    os.chown(program, 12345, 12345)
    program.chmod(0o4755)
    assert "changes its user" in str(why_not_preloadable(script))


def test_what_the_kernel_will_refuse_anyway(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.write_text(f"#!{loop}\n")
    assert why_not_preloadable(loop) is None
    assert why_not_preloadable(tmp_path) is None
    assert why_not_preloadable(tmp_path / "missing") is None


@given(st.binary(max_size=200))
def test_any_file_has_an_answer(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any-file"
    for start in (b"", b"#!", PYTHON.read_bytes()[:20]):
        file.write_bytes(start + content)
        why_not_preloadable(file)
