"""The oldest and the newest version of Django that is supported, each in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contrib.project import ROOT, Project

pytestmark = [pytest.mark.index, pytest.mark.slow]

_OTHERS = ("pytest", "pytest-django", "pytest-xdist")
_PYTHON_OF_DJANGO_6 = (3, 12)
#: Interpreters that may be at hand beside the one of this run.
_KNOWN = ("python3.12", "python3.13", "python3.14", "python3")


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with Django 4.2."""
    return _environment(tmp_path_factory.mktemp("django42"), sys.executable, "django<4.3", "django-tasks")


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with Django 6.0, where one is at hand that is new enough."""
    found = _new_enough()
    if found is None:
        pytest.skip("Django 6.0 needs Python 3.12, and there is none on the PATH")
    return _environment(tmp_path_factory.mktemp("django60"), found, "django>=6.0,<6.1")


def test_django_4_2_has_all_of_it(oldest: str, bare_database_url: str, redis_url: str) -> None:
    _has_all_of_it("4.2", Project(bare_database_url, redis_url, python=oldest))


def test_django_6_0_has_all_of_it(newest: str, bare_database_url: str, redis_url: str) -> None:
    _has_all_of_it("6.0", Project(bare_database_url, redis_url, python=newest))


def _has_all_of_it(version: str, project: Project) -> None:
    assert project.run("-m", "django", "--version").startswith(version)
    project.manage("migrate")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert " passed" in project.live()
    assert " passed" in project.tests("testing", "shop/tests.py")


def _environment(home: Path, python: str, *packages: str) -> str:
    """Make an environment of ``python`` with this checkout and ``packages``; its interpreter."""
    found = str(home / "bin" / "python")
    wanted = [f"{ROOT}[django,postgres]", *packages, *_OTHERS]
    install = [found, "-m", "pip", "install", "--quiet", "--editable", *wanted]
    for argv in ([python, "-m", "venv", str(home)], install):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=590)
        assert done.returncode == 0, done.stderr
    return found


def _new_enough() -> str | None:
    if sys.version_info >= _PYTHON_OF_DJANGO_6:
        return sys.executable
    asks = "import sys; print(sys.executable) if sys.version_info >= {} else sys.exit(1)"
    for name in filter(shutil.which, _KNOWN):
        argv = [name, "-c", asks.format(_PYTHON_OF_DJANGO_6)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            return done.stdout.strip()
    return None
