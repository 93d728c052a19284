"""The differences that the tests allow are those that docs/compatibility.md explains."""

import re
from pathlib import Path

from .differences import OPTIONS, SEQUENCES

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def test_the_page_and_the_tests_name_the_same_differences() -> None:
    explained = set(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert explained == {difference.name for difference in OPTIONS} | set(SEQUENCES)
