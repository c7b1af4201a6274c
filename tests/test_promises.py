"""Every promise names the tests that would fail if it were broken, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"

_ROW = re.compile(r"^\| (P\d+) \| .*? \| (.*) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[[^`]*\])?`")


def promised() -> dict[str, list[tuple[str, str]]]:
    """The tests of each promise: file and name."""
    return {name: _TEST.findall(cell) for name, cell in _ROW.findall(PAGE.read_text())}


def test_every_promise_is_on_the_page_and_has_its_tests() -> None:
    found = promised()
    assert list(found) == [f"P{number}" for number in range(1, 11)]
    assert all(found.values())


@pytest.mark.parametrize(("file", "name"), sorted({test for tests in promised().values() for test in tests}))
def test_the_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
