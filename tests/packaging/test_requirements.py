"""The three lists of dependencies agree: pyproject.toml, requirements/dev.in, dev.txt."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def requirement_lines(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


@pytest.fixture
def requested(pytestconfig: pytest.Config) -> dict[str, Requirement]:
    lines = requirement_lines(pytestconfig.rootpath / "requirements/dev.in")
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


@pytest.fixture
def locked(pytestconfig: pytest.Config) -> dict[str, str]:
    text = (pytestconfig.rootpath / "requirements/dev.txt").read_text()
    pins = re.findall(r"^([\w.-]+)==(\S+) \\\n +--hash=sha256:", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def test_what_the_package_needs_is_requested_alike(
    pytestconfig: pytest.Config, requested: dict[str, Requirement]
) -> None:
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text())
    extras = [
        needed for extra in project["project"]["optional-dependencies"].values() for needed in extra
    ]
    needed = project["project"]["dependencies"] + project["build-system"]["requires"] + extras
    for requirement in map(Requirement, needed):
        found = requested[canonicalize_name(requirement.name)]
        assert found.specifier == requirement.specifier, f"{requirement} against {found}"


def test_everything_requested_is_locked_with_a_hash(
    requested: dict[str, Requirement], locked: dict[str, str]
) -> None:
    for name, requirement in requested.items():
        assert locked[name] in requirement.specifier, f"{requirement}: run make lock"


def test_every_request_says_why(pytestconfig: pytest.Config) -> None:
    text = (pytestconfig.rootpath / "requirements/dev.in").read_text()
    for line in text.splitlines():
        assert not line or "#" in line, f"no reason given: {line}"
