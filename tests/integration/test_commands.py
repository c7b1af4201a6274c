"""The command line, where nothing else is running: what it says of the user's own mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workers import ROOT, environment


@pytest.mark.parametrize("command", ["worker", "beat", "up", "db"])
def test_bad_settings_are_sentences_without_a_traceback(command: str) -> None:
    env = environment("", "mysql://me:hunter2@host/n", {"max_tries": "none"})
    argv = [sys.executable, "-m", "celery", "-A", "app", command]
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert ended.stderr.startswith("celery: the settings have 2 problems:\n  - DATABASE_URL: ")
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


def test_a_command_that_is_not_called_costs_no_start() -> None:
    """Celery imports every sub-command, whichever is called; a worker need not wait for rich."""
    code = """
import sys
from importlib.metadata import entry_points
before = set(sys.modules)
import celery.bin.celery
ours = [one for one in entry_points(group="celery.commands") if one.value.startswith("app.")]
for one in ours:
    one.load()
print(len(ours), sorted({name.split(".")[0] for name in sys.modules} & {"rich", "sqlalchemy", "alembic"}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.stdout == "12 []\n", ended.stderr
