"""What an installation contains: all of ours, under newtos_py, and nothing else.

The Makefile makes a plain install, which is a wheel unpacked, so its RECORD is the wheel's
list of contents. The build's file lists are explicit; this is what notices a forgotten line.
"""

import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution, entry_points
from pathlib import Path, PurePosixPath

import pytest

# Where each source folder is installed.
INSTALLED_AS = {
    "newtos_py": "newtos_py",
    "servers": "newtos_py/servers",
    "drivers": "newtos_py/drivers",
    "libc_shim": "newtos_py/libc_shim",
    "bench": "newtos_py/bench",
}
PUBLIC_HEADERS = ("newtos_py/kernel", "newtos_py/net")


@pytest.fixture(scope="module")
def dist() -> Distribution:
    return distribution("newtos_py")


@pytest.fixture(scope="module")
def contents(dist: Distribution) -> set[str]:
    assert dist.files, "newtos_py is not installed plainly: run the tests with make test"
    return {
        PurePosixPath(file).as_posix() for file in dist.files if "__pycache__" not in file.parts
    }


def expected_files(root: Path) -> set[str]:
    wanted = set()
    for source, installed in INSTALLED_AS.items():
        for file in (root / source).rglob("*"):
            path = file.relative_to(root).as_posix()
            is_header = file.suffix == ".h" and path.startswith(PUBLIC_HEADERS)
            if file.suffix in (".py", ".pyi", ".lua") or file.name == "py.typed" or is_header:
                wanted.add(installed + path.removeprefix(source))
    return wanted


def test_every_source_file_is_installed(pytestconfig: pytest.Config, contents: set[str]) -> None:
    missing = expected_files(pytestconfig.rootpath) - contents
    assert not missing, f"add to the meson.build of their folders: {sorted(missing)}"


def test_nothing_else_is_installed(pytestconfig: pytest.Config, contents: set[str]) -> None:
    extra = {
        name
        for name in contents - expected_files(pytestconfig.rootpath)
        if not name.endswith(("bin/newtos", ".so", "/newtos-calls"))
        and not name.split("/")[0].endswith(".dist-info")
    }
    assert not extra


def test_no_other_top_level_package(contents: set[str]) -> None:
    tops = {name.split("/")[0] for name in contents if not name.startswith("..")}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {"newtos_py", "bin"}


def test_each_typed_extension_is_built(contents: set[str]) -> None:
    stubs = {name.removesuffix(".pyi") for name in contents if name.endswith(".pyi")}
    built = {name.partition(".")[0] for name in contents if name.endswith(".so")}
    assert "newtos_py/kernel/_kernel" in stubs
    assert stubs <= built
    extensions = {name for name in built if not name.endswith("/libnewtos")}
    assert extensions <= stubs, "each extension module needs a .pyi"


def test_entry_points_load(dist: Distribution) -> None:
    names = {entry.name for entry in dist.entry_points if entry.group == "console_scripts"}
    assert names == {"newtos"}
    for entry in dist.entry_points:
        entry.load()
    for group in ("newtos.servers", "newtos.drivers"):
        for entry in entry_points(group=group):
            assert entry.value.startswith("newtos_py."), f"{entry} is not this package's"


def test_console_script_runs(dist: Distribution) -> None:
    newtos = Path(sys.executable).with_name("newtos")
    result = subprocess.run([newtos, "--version"], capture_output=True, text=True, check=True)
    assert dist.version in result.stdout


@pytest.mark.slow
def test_wheel_built_from_scratch_is_what_is_installed(
    pytestconfig: pytest.Config, contents: set[str], tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps",
         f"-Cbuild-dir={tmp_path / 'build'}", "--wheel-dir", tmp_path, pytestconfig.rootpath],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("newtos_py/")}
    assert names == {name for name in contents if name.startswith("newtos_py/")}
