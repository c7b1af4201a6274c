"""What the README tells people to type is there, and is what the other tests run."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery.bin.celery import celery

from celeriac.settings.platform import Settings, variable

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code() -> Iterator[str]:
    """The lines of the README that are shown as code."""
    for line in (ROOT / "README.md").read_text().splitlines():
        if line.startswith("    "):
            yield line.strip().removeprefix(">>> ").removeprefix("$ ")


def test_two_commands_do_everything() -> None:
    typed = [line.split("#")[0].strip() for line in code() if line.startswith("make ")]
    assert typed == ["make run", "make test"]


@pytest.mark.parametrize(
    ("target", "does"),
    [
        ("run", "-m app.demo --exit"),  # tests/acceptance/test_demo.py
        ("test", '-m pytest --processes 5 -m "not chaos and not thorough" --exit'),  # this run
    ],
)
def test_a_command_does_what_is_tested(target: str, does: str) -> None:
    argv = ["make", "--dry-run", target, "ARGS=--exit"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert made.stdout.splitlines()[-1].endswith(does)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_celery_command_exists(page: Path) -> None:
    for name in re.findall(r"celery -A app ([a-z-]+)", page.read_text()):
        assert name in celery.commands


def test_what_is_imported_exists() -> None:
    found = re.findall(r"from ((?:app|tasks)[\w.]*) import (\w+)", "\n".join(code()))
    assert found
    for module, name in found:
        assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_exists(page: Path) -> None:
    known = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"CELERIAC_[A-Z_]+", page.read_text())) <= known


def test_the_page_of_settings_has_each_of_them_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|.*\| ([^|]+) \|$", page, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        named = variable(name)
        assert named in rows
        if field.default is not None and not name.endswith(("url", "dir", "backend")):
            assert ast.literal_eval(rows[named]) == field.default, named
