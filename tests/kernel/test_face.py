"""The stub of the kernel's cffi module names what the module has, no more and no less."""

import ast

import pytest

from newtos_py.kernel._kernel import lib


def test_the_stub_is_complete(pytestconfig: pytest.Config) -> None:
    stub = pytestconfig.rootpath / "newtos_py" / "kernel" / "_kernel.pyi"
    names = set()
    for node in ast.walk(ast.parse(stub.read_text())):
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    names.add(member.name)
                elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    names.add(member.target.id)
    # nt_panic ends the process: not for Python to call.
    assert names | {"nt_panic"} == set(dir(lib)) | {"nt_panic"}
