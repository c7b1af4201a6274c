"""The guards of the ledger's writes: made from the lifecycle, none of them by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.ledger.schema.lifecycle import ENTERED_FROM, GIVEN_UP, WAITING, JobState, sources
from celeriac.ledger.schema.state_conditions import may_enter

ROOT = Path(__file__).resolve().parent.parent

#: What defines the states and the column; migrations are history, and say what they said then.
DEFINING = {"lifecycle.py", "state_conditions.py", "models.py"}


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("celeriac", "app"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name not in DEFINING and "migrations" not in path.parts:
                yield path.relative_to(ROOT), ast.parse(path.read_text())


def _is_column(node: ast.AST) -> bool:
    """Whether it is a table's column ``state``: ``JOBS.c.state``, ``c.state``, ``unindexed(c.state)``."""
    if isinstance(node, ast.Call):
        return any(map(_is_column, node.args))
    if not (isinstance(node, ast.Attribute) and node.attr == "state"):
        return False
    table = node.value
    return (isinstance(table, ast.Name) and table.id in ("c", "_c", "cls")) or (
        isinstance(table, ast.Attribute) and table.attr == "c" and "JOBS" in ast.dump(table.value)
    )


def _by_hand(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.Attribute) and node.attr in ("in_", "not_in"):
            compared = [node.value]
        if any(map(_is_column, compared)):
            yield node.lineno


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _sets_state(function: ast.FunctionDef) -> bool:
    """Whether it makes an UPDATE of jobs that gives them a state."""
    keys = {
        key.value
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    keywords = {
        keyword.arg
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "values"
        for keyword in node.keywords
    }
    return {"update", "JOBS"} <= _names(function) and "state" in keys | keywords


def test_no_statement_compares_the_state_by_hand() -> None:
    found = [f"{path}:{line}" for path, tree in _modules() for line in _by_hand(tree)]
    assert found == []


def test_every_update_of_the_state_has_a_guard_of_the_lifecycle() -> None:
    writers = {
        f"{path.name}:{node.name}": "may_enter" in _names(node) or "_mine" in _names(node)
        for path, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and _sets_state(node)
    }
    assert len(writers) >= 10
    assert [name for name, guarded in writers.items() if not guarded] == []


@pytest.mark.parametrize(
    "line",
    [
        "update(JOBS).where(JOBS.c.state == JobState.RUNNING)",
        "c.state.in_(sorted(WAITING))",
        "unindexed(JOBS.c.state) != JobState.FAILED",
        "JOBS.alias('body').c.state.not_in(sorted(TERMINAL))",
    ],
)
def test_a_guard_by_hand_is_seen(line: str) -> None:
    assert list(_by_hand(ast.parse(line))) == [1]


@pytest.mark.parametrize("state", JobState)
def test_a_guard_names_the_states_of_the_table(state: JobState) -> None:
    guard = may_enter(state).compile(compile_kwargs={"literal_binds": True})
    assert {each for each in JobState if f"'{each}'" in str(guard)} == ENTERED_FROM[state] == sources(state)


def test_a_move_that_the_lifecycle_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="no state leads to all of"):
        may_enter(JobState.COMPLETED, of=WAITING)
    with pytest.raises(ValueError, match="no state leads to all of"):
        may_enter(JobState.RUNNING, of=GIVEN_UP)
