"""Every public object has an example, and every example is true."""

from __future__ import annotations

import builtins
import inspect
import json
import sys
from typing import Any

import pytest

from tests import public
from tests.processes import run
from tests.workers import ROOT, environment

DOCUMENTED = dict(public.documented())
FUNCTIONS = {name: found for name, found in DOCUMENTED.items() if inspect.isfunction(found)}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the examples came to, each run on a private ledger, in one process."""
    folder = tmp_path_factory.mktemp("examples")
    env = environment("redis://127.0.0.1:1/0", f"sqlite:///{folder / 'unused.db'}", {"data_dir": folder})
    argv = [sys.executable, "-m", "tests.examples", str(folder)]
    ended = run(argv, cwd=ROOT, env=env)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_public_object_has_an_example(name: str) -> None:
    """Of its own; a member of a class may be in the example of its class."""
    outer, _, member = name.rpartition(".")
    own, of_class = (inspect.getdoc(DOCUMENTED.get(each)) or "" for each in (name, outer))
    assert ">>> " in own or f".{member}" in of_class.partition(">>> ")[2], "add an example to its docstring"


@pytest.mark.parametrize("name", public.examples())
def test_an_example_is_true(name: str, told: dict[str, Any]) -> None:
    assert name in told["ran"]
    assert name not in told["wrong"], told["wrong"][name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_error_that_a_function_names_is_one(name: str) -> None:
    """Under ``Raises:``, each name before a colon is an error of ours or of Python."""
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    known = {*public.error_classes(), *dir(builtins)}
    for named in public.raised(text):
        assert named in known, named


def test_an_error_says_what_it_is() -> None:
    assert [name for name, kind in public.error_classes().items() if not kind.__doc__] == []
