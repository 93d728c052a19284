"""Who may depend on whom: the import and include directions of ARCHITECTURE.md.

The tree is divided into rooms: a folder of newtos_py/ (kernel, net, rs, ...), a folder of
servers/ or drivers/ (servers/tcp is one), libc_shim and bench. MAY_USE says which rooms a
room's Python may import and its C may include; itself always. Nothing else is allowed, so
the directions cannot close to a cycle. Code outside of the tree's rooms (tests) is free.

Also checked: every quoted include names a file that is there, so that no header is found by
accident of an include path.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

# The package itself (newtos_py/*.py) holds what everyone may use and uses no room.
PACKAGE = "newtos_py"
GROUPS = ("servers", "drivers")

MAY_USE: dict[str, set[str]] = {
    PACKAGE: set(),
    "kernel": set(),
    "net": {"kernel"},
    "topology": {"net", "kernel"},
    "rs": {"topology", "net", "kernel"},
    "observe": {"rs", "topology", "net", "kernel"},
    "cli": {"bench", "observe", "rs", "topology", "net", "kernel"},
    "bench": {"rs", "sim", "topology", "libc_shim", "net", "kernel"},
    "servers/*": {"net", "kernel"},
    "drivers/*": {"net", "kernel"},
    "libc_shim": {"kernel"},
    "sim": {"servers/*", "drivers/*", "libc_shim", "net", "kernel"},
}

C_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def room_of_path(path: PurePosixPath) -> str | None:
    """The room of a file, by its path from the root; None outside of all rooms."""
    top, *rest = path.parts
    if top == PACKAGE:
        return rest[0] if len(rest) > 1 else PACKAGE
    if top in GROUPS:
        return f"{top}/{rest[0]}" if len(rest) > 1 else PACKAGE
    return top if top in ("libc_shim", "bench") else None


def room_of_module(name: str) -> str | None:
    """The room of an installed module, by its full name; None if it is not ours."""
    top, *rest = name.split(".")
    if top != PACKAGE:
        return None
    if not rest:
        return PACKAGE
    if rest[0] in GROUPS:
        return f"{rest[0]}/{rest[1]}" if len(rest) > 1 else PACKAGE
    kind = rest[0]
    return kind if kind in MAY_USE else PACKAGE


def may_use(user: str, used: str) -> bool:
    if used in (user, PACKAGE):
        return True

    def rule(room: str) -> str:
        return f"{room.partition('/')[0]}/*" if "/" in room else room

    return rule(used) in MAY_USE.get(rule(user), set())


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that Python source in `package` imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            # `from newtos_py import kernel` names a module by its last part.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def python_uses(root: Path, path: PurePosixPath) -> Iterator[tuple[int, str, str]]:
    folder = path.parent.as_posix().replace("/", ".")
    package = folder if folder.startswith(PACKAGE) else f"{PACKAGE}.{folder}"
    for line, name in imported_modules((root / path).read_text(), package):
        room = room_of_module(name)
        if room is not None:
            yield line, name, room


def c_uses(root: Path, path: PurePosixPath) -> Iterator[tuple[int, str, str]]:
    text = (root / path).read_text()
    for match in C_INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        name = match[1]
        beside = (root / path.parent / name).resolve()
        found = beside if beside.is_file() else (root / name).resolve()
        if not found.is_file():
            yield line, name, "nowhere"
        else:
            room = room_of_path(PurePosixPath(found.relative_to(root.resolve()).as_posix()))
            yield line, name, room or "outside"


def violations(root: Path) -> list[str]:
    """Each forbidden import or include below `root`, as `file:line: what`."""
    found = []
    for top in (PACKAGE, *GROUPS, "libc_shim", "bench"):
        for file in sorted((root / top).rglob("*")):
            path = PurePosixPath(file.relative_to(root).as_posix())
            room = room_of_path(path)
            uses = {".py": python_uses, ".pyi": python_uses, ".c": c_uses, ".h": c_uses}.get(
                file.suffix
            )
            if uses is None or room is None:
                continue
            found += [
                f"{path}:{line}: {room} may not use {used} ({name})"
                for line, name, used in uses(root, path)
                if not may_use(room, used)
            ]
    return found


def test_tree_keeps_the_directions(pytestconfig: pytest.Config) -> None:
    assert violations(pytestconfig.rootpath) == []


def test_every_room_has_a_rule(pytestconfig: pytest.Config) -> None:
    folders = (pytestconfig.rootpath / PACKAGE).iterdir()
    rooms = {f.name for f in folders if f.is_dir() and f.name != "__pycache__"}
    assert rooms <= set(MAY_USE)


def test_rules_have_no_cycle() -> None:
    left = dict(MAY_USE)
    while left:
        leaves = {room for room, uses in left.items() if not uses & left.keys()}
        assert leaves, f"a cycle among {sorted(left)}"
        left = {room: uses for room, uses in left.items() if room not in leaves}


FORBIDDEN = [
    ("newtos_py/kernel/a.py", "from newtos_py.net import wire\n", "kernel may not use net"),
    ("newtos_py/kernel/a.py", "from newtos_py import rs\n", "kernel may not use rs"),
    ("newtos_py/kernel/a.py", "from ..net import wire\n", "kernel may not use net"),
    ("newtos_py/net/a.py", "import newtos_py.servers.ip\n", "net may not use servers/ip"),
    ("newtos_py/rs/a.py", "import newtos_py.cli\n", "rs may not use cli"),
    ("newtos_py/rs/a.py", "import newtos_py.servers.tcp\n", "rs may not use servers/tcp"),
    ("newtos_py/sim/a.py", "def f():\n    import newtos_py.rs\n", "sim may not use rs"),
    ("servers/tcp/a.py", "from ..ip import x\n", "servers/tcp may not use servers/ip"),
    ("servers/tcp/a.c", '#include "servers/ip/ip.h"\n', "servers/tcp may not use servers/ip"),
    ("servers/tcp/a.h", '#  include "../ip/ip.h"\n', "servers/tcp may not use servers/ip"),
    ("drivers/tap/a.c", '#include "servers/ip/ip.h"\n', "drivers/tap may not use servers/ip"),
    ("libc_shim/preload/a.c", '#include "newtos_py/net/wire.h"\n', "libc_shim may not use net"),
    ("newtos_py/net/a.c", '#include "gone.h"\n', "net may not use nowhere"),
]

ALLOWED = [
    ("newtos_py/cli/a.py", "from newtos_py.rs import boot\nfrom newtos_py import __version__\n"),
    ("newtos_py/sim/a.c", '#include "servers/ip/ip.h"\n#include <stdio.h>\n'),
    ("servers/ip/a.c", '#include "ip.h"\n#include "newtos_py/net/wire.h"\n'),
    ("servers/ip/a.py", "import newtos_py.kernel.clock\nfrom . import engine\n"),
    ("tests/a.py", "import newtos_py.servers.tcp, newtos_py.cli\n"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("newtos_py/net/wire.h", "servers/ip/ip.h"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(("name", "text", "message"), FORBIDDEN)
def test_finds_a_violation(tree: Path, name: str, text: str, message: str) -> None:
    put(tree, name, text)
    (found,) = violations(tree)
    assert found.startswith(f"{name}:{text.count(chr(10))}: {message}")


@pytest.mark.parametrize(("name", "text"), ALLOWED)
def test_lets_the_rest_be(tree: Path, name: str, text: str) -> None:
    put(tree, name, text)
    assert violations(tree) == []
