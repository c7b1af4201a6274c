"""A run of pytest inside a test: for what our own plugins do to tests that go wrong."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.processes import run
from tests.workers import PYTEST, ROOT


def outcomes(folder: Path, tests: str, *options: str, conftest: str = "") -> dict[str, set[str]]:
    """What became of each of ``tests``, by name; the run itself must come to its end.

    Args:
        options: of pytest; the plugin for time-outs is always there.
        conftest: the text of a ``conftest.py`` beside the tests.
    """
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_it.py").write_text(tests)
    config = folder / "pytest.ini"
    config.write_text("[pytest]\ntimeout = 60\nwatchdog = 0\n")
    plugins = ("-p", "tests.timeouts", "-p", "hypothesispytest")
    argv = [sys.executable, "-m", *PYTEST, "-vv", *plugins, "-c", str(config), *options, str(folder)]
    ran = run(argv, cwd=ROOT, env=os.environ)
    assert "INTERNALERROR" not in ran.stdout, ran.stdout
    assert re.search(r"=+ .* in [\d.]+s", ran.stdout.splitlines()[-1]), ran.stdout + ran.stderr
    found: dict[str, set[str]] = {}
    for test, said in re.findall(r"::(\w+) (PASSED|FAILED|ERROR)", ran.stdout):
        found.setdefault(test.removeprefix("test_"), set()).add(said)
    for said, test in re.findall(r"(PASSED|FAILED|ERROR) .*::(\w+)", ran.stdout):
        found.setdefault(test.removeprefix("test_"), set()).add(said)
    assert ran.stdout.count("cleaned up") == tests.count("(cleaned")
    return found
