"""The Django project of the tests, in processes of its own: Django's settings are of a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.fork_server import DJANGO
from tests.processes import run
from tests.workers import PYTEST

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = ROOT / "tests" / "django_project"
_SET_BY_THE_TESTS = ("CELERY", "CELERIAC", "DATABASE_URL", "DJANGO", "PROJECT_", "PYTEST_")


@dataclass(frozen=True)
class Project:
    """The project with a database and a broker.

    Attributes:
        python: the interpreter, of the environment whose Django is tested.
        settings: further variables.
    """

    database: str
    broker: str = "redis://127.0.0.1:1/0"
    python: str = sys.executable
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_SET_BY_THE_TESTS)}
        named = {"PROJECT_DATABASE": self.database, "PROJECT_BROKER": self.broker}
        return kept | named | {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(ROOT)]), **self.settings}

    def run(self, *words: str, status: int = 0) -> str:
        """What ``python …`` prints, which must end with ``status``."""
        done = run([self.python, *words], cwd=PROJECT, env=self.env, within=100, libraries=DJANGO)
        assert done.returncode == status, (
            f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def manage(self, *words: str, status: int = 0) -> str:
        return self.run("manage.py", *words, status=status)

    def live(self, folder: str = "live") -> str:
        """Run the tests that use the project's own database."""
        return self.run("-m", *PYTEST, "-p", "no:django", folder)

    def tests(self, *words: str) -> str:
        """Run the tests as a Django project runs its own, with pytest-django."""
        return self.run("-m", *PYTEST, "--ds", "proj.settings", *words)
