"""The public face: what ``from celeriac import …`` gives, and what importing it does not cost."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import celeriac

ROOT = Path(__file__).resolve().parent.parent
NAMES = [name for name in celeriac.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(celeriac, name)
    assert inspect.ismodule(found) or found.__name__ == name
    assert found.__doc__


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(str(celeriac.__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {*NAMES}


def test_another_name_is_refused_with_a_sentence() -> None:
    with pytest.raises(AttributeError, match=r"no attribute .Nonsense.; docs/api\.md"):
        celeriac.Nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module",
    ["celeriac", "celeriac.cli", "celeriac.cli.entry", "celeriac.testing", "celeriac.testing.plugin"],
)
def test_what_every_process_imports_costs_nothing(module: str) -> None:
    """``celery`` and ``pytest`` import the entry points of whatever is installed beside them."""
    code = "import sys, pytest, click; before = set(sys.modules); "
    code += f"import {module}; print(*set(sys.modules) - before)"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in asked.stdout.split() if name.startswith("celeriac")}
    assert ours <= {"celeriac", module, module.rpartition(".")[0]}
    assert not {name.split(".")[0] for name in asked.stdout.split()} & {
        "sqlalchemy",
        "celery",
        "kombu",
        "redis",
    }
