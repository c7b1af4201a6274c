"""The oldest version of Django that is supported, in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.contrib.project import ROOT, Project

pytestmark = [pytest.mark.index, pytest.mark.slow]

_OTHERS = ("django-tasks", "pytest", "pytest-django", "pytest-xdist")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with Django 4.2."""
    home = tmp_path_factory.mktemp("django42")
    venv.create(home, with_pip=True)
    found = str(Path(home) / "bin" / "python")
    wanted = [f"{ROOT}[django,postgres]", "django<4.3", *_OTHERS]
    argv = [found, "-m", "pip", "install", "--quiet", "--editable", *wanted]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=590)
    assert done.returncode == 0, done.stderr
    assert sys.prefix not in found
    return found


def test_django_4_2_has_all_of_it(python: str, bare_database_url: str, redis_url: str) -> None:
    project = Project(bare_database_url, redis_url, python=python)
    assert project.run("-m", "django", "--version").startswith("4.2")
    project.manage("migrate")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert " passed" in project.live()
    assert " passed" in project.tests("testing", "shop/tests.py")
