"""Every value of a TOML document has a line, and it is the right one."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from newtos_py.topology.locate import Path, locate

# Text that a careless scanner would take for structure.
TRICKY = """\
# comment with [brackets] and "quotes"
title = "a # no comment ] } = \\" still"   # but this is one
literal = 'C:\\'
dotted.key."quoted \\u0041 key" = 1

[table]
list = [
  "one",  # [[comment]]
  [2, 3],
  { a = 4, b = [5] },
]
many = \"\"\"
line ] two
"quoted"\"\"\"\"
raw = '''
[not.a.table]
''''
after = 1979-05-27 07:32:00
[ spaced . out ]
x = 1
[[array]]
x = 1
[array.sub]
x = 2
[[array]]
x = 3
[[array.nested]]
y = 4
[[array.nested]]
y = 5
"""


def paths_of(value: object, path: Path = ()) -> list[Path]:
    """Every path of a parsed document."""
    children: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path, *(p for key, child in children for p in paths_of(child, (*path, key)))]


def test_every_value_of_a_tricky_document_has_a_line() -> None:
    assert set(paths_of(tomllib.loads(TRICKY))) == set(locate(TRICKY))


def test_lines_of_a_tricky_document() -> None:
    lines = locate(TRICKY)
    text = TRICKY.splitlines()

    def at(*path: str | int) -> str:
        return text[lines[path] - 1]

    assert at("literal") == "literal = 'C:\\'"
    assert at("dotted", "key", "quoted A key").startswith("dotted.key")
    assert at("table") == "[table]"
    assert at("table", "list", 0).startswith('  "one"')
    assert at("table", "list", 1, 1) == "  [2, 3],"
    assert at("table", "list", 2, "b", 0) == "  { a = 4, b = [5] },"
    assert at("table", "after").startswith("after =")
    assert at("spaced", "out") == "[ spaced . out ]"
    assert lines["array", 0, "sub", "x"] == text.index("x = 2") + 1
    assert lines["array", 1, "x"] == text.index("x = 3") + 1
    assert lines["array", 1, "nested", 0, "y"] == text.index("y = 4") + 1
    assert lines["array", 1, "nested", 1, "y"] == text.index("y = 5") + 1


def test_windows_line_ends() -> None:
    assert locate("a = 1\r\n\r\nb = [\r\n 2,\r\n]\r\n") == {
        (): 1,
        ("a",): 1,
        ("b",): 3,
        ("b", 0): 4,
    }


values = st.recursive(
    st.sampled_from(["1", "-2.5e3", "true", '"#]}"', '"""a\nb"""', "'''\n'\n'''", "07:32:00"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(
            lambda items: "[" + " # ]\n".join(i + "," for i in items) + "\n]"
        )
        | st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"k{i} = {v}" for i, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=8,
)
statements = st.lists(
    values
    | st.sampled_from(
        ["# comment = [", "", "[header]", "[[rows]]", "[header.sub]", "[[rows.sub]]"]
    ),
    max_size=10,
)


@given(statements)
def test_every_statement_is_found_on_its_line(written: list[str]) -> None:
    """Write statements of known lines; read them back through tomllib's eyes and ours."""
    text, expected = "", {}
    for i, statement in enumerate(written):
        line = text.count("\n") + 1
        if (
            not statement
            or statement[0] == "#"
            or statement[1:2].isalpha()
            or statement[:2] == "[["
        ):
            text += statement + "\n"
        else:
            text += f"unique{i} = {statement}\n"
            expected[f"unique{i}"] = line
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # a header twice
    lines = locate(text)
    assert set(paths_of(document)) == set(lines)
    found = {str(path[-1]): line for path, line in lines.items() if path}
    assert {key: found[key] for key in expected} == expected
