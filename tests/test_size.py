"""A ratchet: a module that grows beyond what one can hold in mind, or a function that does, says why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for place in ("celeriac", "app", "tasks") for path in (ROOT / place).rglob("*.py"))

LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60
FILES_OF_A_FOLDER = 16

#: The words that every room uses stand at the root.
FILES_OF_THE_ROOT = 25

#: A comment on a function's first line that says why it is long.
REASON = "# long: "


def functions(path: Path) -> Iterator[tuple[str, int, str]]:
    """Name, length and first line of each function of a module."""
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = " ".join(lines[node.lineno - 1 : node.body[0].lineno - 1])
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1, first


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_can_be_held_in_mind(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_OF_A_MODULE
    long = [(name, lines) for name, lines, first in functions(path) if lines > LINES_OF_A_FUNCTION]
    unexplained = {name for name, _, first in functions(path) if REASON not in first}
    assert [each for each in long if each[0] in unexplained] == []


def test_a_folder_can_be_seen_at_a_glance() -> None:
    folders = {path.parent for path in FILES} - {ROOT / "celeriac" / "ledger" / "migrations" / "versions"}
    crowded = {}
    for folder in folders:
        files, most = len(list(folder.glob("*.py"))), FILES_OF_A_FOLDER
        if folder == ROOT / "celeriac":
            most = FILES_OF_THE_ROOT
        if files > most:
            crowded[str(folder.relative_to(ROOT))] = files
    assert crowded == {}
