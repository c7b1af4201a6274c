"""Exceptions to the rules of linter and type checker, and broad ``except``: each says why it is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("celeriac", "app", "tasks")

#: What is an exception, and what it looks like when its reason stands behind it or in the line above.
EXCEPTIONS = {
    "noqa": (re.compile(r"#\s*noqa"), re.compile(r"#\s*noqa: [A-Z0-9, ]+ +# ?\S")),
    "type: ignore": (re.compile(r"#\s*type: ignore"), re.compile(r"#\s*type: ignore\[[a-z, -]+\] +# ?\S")),
    "except Exception": (re.compile(r"except (Exception|BaseException)\b"), re.compile(r": +# ?\S")),
}


def _lines() -> Iterator[tuple[str, str, str]]:
    """Place, line and the line below of all code."""
    for place in PLACES:
        for path in (ROOT / place).rglob("*.py"):
            lines = path.read_text().splitlines()
            for number, line in enumerate(lines):
                below = lines[number + 1].strip() if number + 1 < len(lines) else ""
                yield f"{path.relative_to(ROOT)}:{number + 1}", line, below


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_an_exception_to_a_rule_says_why(kind: str) -> None:
    seen, explained = EXCEPTIONS[kind]
    unexplained = [
        f"{place}: {line.strip()}"
        for place, line, below in _lines()
        if seen.search(line) and not explained.search(line) and not below.startswith("#")
    ]
    assert unexplained == []
