"""Where in a TOML text each key and array element stands.

tomllib parses but forgets positions, and tomlkit keeps the text but tells no line either. So the
text is read twice: tomllib decides whether it is TOML and what it means; the scanner here only
finds line numbers, and relies on the text being valid. It knows just enough of TOML's grammar to
step over values: strings, brackets and comments.

Invariant (tested): every path of the parsed document has a line.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

# A path names a value: table keys as text, array elements by index.
Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^"\\]|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Numbers, booleans and dates; a date may hold a space.
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


def locate(text: str) -> Mapping[Path, int]:
    """Map the path of every value in `text`, which must be valid TOML, to its line, from 1.

    A table's line is that of its header, or of the first key that brings it into being.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """One pass over a valid TOML text."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._text = text
        self._at = 0
        self._newlines = [i for i, character in enumerate(text) if character == "\n"]
        # How many elements each array of tables has so far.
        self._table_counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self._skip_blank():
            if self._peek() == "[":
                table = self._header()
            else:
                self._key_value(table)

    def _header(self) -> Path:
        """[a.b] or [[a.b]]: answers the path that the following keys belong to."""
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._at += 2 if is_array else 1
        *parents, last = self._dotted_key()
        self._at += 2 if is_array else 1
        path: Path = ()
        for key in parents:
            path = self._enter(path, key, start)
        if not is_array:
            return self._enter(path, last, start)
        path = (*path, last)
        count = self._table_counts.get(path, 0)
        self._table_counts[path] = count + 1
        self._record(path, start)
        self._record((*path, count), start)
        return (*path, count)

    def _enter(self, path: Path, key: str, start: int) -> Path:
        """Step into a table; in an array of tables that is its newest element."""
        path = (*path, key)
        self._record(path, start)
        count = self._table_counts.get(path)
        return path if count is None else (*path, count - 1)

    def _key_value(self, table: Path) -> None:
        start = self._at
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self._record(path, start)
        self._at += 1  # the "="
        self._match(_SPACE)
        self._value(path)

    def _dotted_key(self) -> list[str]:
        """Read a.b."c d" and stop at the "=" or "]" behind it."""
        keys = []
        while True:
            self._match(_SPACE)
            if self._peek() in "\"'":
                quoted = self._match(_STRING)
                keys.append(str(tomllib.loads(f"key = {quoted}")["key"]))
            else:
                keys.append(self._match(_BARE_KEY))
            self._match(_SPACE)
            if self._peek() != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        match self._peek():
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._match(_STRING)
            case _:
                self._match(_BARE_VALUE)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._skip_blank() and self._peek() != "]":
            if self._peek() == ",":
                self._at += 1
                continue
            self._record((*path, index), self._at)
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip_blank() and self._peek() != "}":
            if self._peek() == ",":
                self._at += 1
                continue
            self._key_value(path)
        self._at += 1

    def _record(self, path: Path, start: int) -> None:
        self.lines.setdefault(path, bisect_left(self._newlines, start) + 1)

    def _skip_blank(self) -> bool:
        """Step over space, newlines and comments; False at the end of the text."""
        self._match(_BLANK)
        return self._at < len(self._text)

    def _peek(self) -> str:
        return self._text[self._at]

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        assert match is not None, "locate() was given text that is not valid TOML"
        self._at = match.end()
        return match.group()
