"""Every promise, and every difference from plain Celery, names tests that would fail; and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
MOVING = ROOT / "docs" / "adopting.md"

_ROW = re.compile(r"^\| (P\d+) \| .*? \| (.*) \|$", re.MULTILINE)
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[[^`]*\])?`")


def promised() -> dict[str, list[tuple[str, str]]]:
    """The tests of each promise: file and name."""
    return {name: _TEST.findall(cell) for name, cell in _ROW.findall(PAGE.read_text())}


def test_every_promise_is_on_the_page_and_has_its_tests() -> None:
    found = promised()
    assert list(found) == [f"P{number}" for number in range(1, 11)]
    assert all(found.values())


def differences() -> dict[str, list[tuple[str, str]]]:
    """The tests of each difference from plain Celery: file and name."""
    section = MOVING.read_text().partition("\n## What differs\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return {line: _TEST.findall(line) for line in rows}


def test_every_difference_has_its_test() -> None:
    assert len(differences()) > 15
    assert [line for line, tests in differences().items() if not tests] == []


NAMED = {test for found in (promised(), differences()) for tests in found.values() for test in tests}


@pytest.mark.parametrize(("file", "name"), sorted(NAMED))
def test_the_test_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
