"""The stub of the kernel's cffi module has every function, and nothing that is not there."""

import ast

import pytest

from newtos_py.kernel._kernel import lib


def test_the_stub_is_true(pytestconfig: pytest.Config) -> None:
    stub = pytestconfig.rootpath / "newtos_py" / "kernel" / "_kernel.pyi"
    functions, constants = set(), set()
    for node in ast.walk(ast.parse(stub.read_text())):
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    functions.add(member.name)
                elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    constants.add(member.target.id)
    assert functions == {name for name in dir(lib) if callable(getattr(lib, name))}
    assert constants <= set(dir(lib))  # mypy finds those that are used and not listed
