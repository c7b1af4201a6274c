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
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith("celery: the settings have 2 problems:\n  - DATABASE_URL: ")
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr
