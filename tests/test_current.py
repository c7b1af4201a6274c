"""Which app a process finds that names none: the one that ``celery -A app`` finds, in each of its threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers import ROOT, environment

_IN_A_THREAD = """
from concurrent.futures import ThreadPoolExecutor
from tasks.maintenance import prune
from celeriac.operate.job import job
with ThreadPoolExecutor(1) as thread:
    id = thread.submit(lambda: prune.delay().id).result()
    print(thread.submit(lambda: job(id).task).result())
"""
_IN_A_FUNCTION = """
from celeriac.operate.job import jobs
print(jobs())
"""
_BESIDE_ANOTHER = """
from celery import Celery
Celery("another")
from celeriac.operate.job import jobs
print(jobs())
"""


@pytest.fixture
def printed(redis_url: str, database_url: str, tmp_path: Path) -> Callable[[str], str]:
    """What a new process prints that runs such lines."""
    env = environment(redis_url, database_url, {"data_dir": tmp_path})

    def run(lines: str) -> str:
        argv = [sys.executable, "-c", lines]
        made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert not made.returncode, made.stderr
        return made.stdout

    return run


def test_a_thread_that_did_not_import_the_app_enqueues_with_it(printed: Callable[[str], str]) -> None:
    assert printed(_IN_A_THREAD) == "maintenance.prune\n"


@pytest.mark.parametrize("lines", [_IN_A_FUNCTION, _BESIDE_ANOTHER], ids=["none", "another"])
def test_the_ledger_is_found_before_anybody_imported_the_app(
    printed: Callable[[str], str], lines: str
) -> None:
    assert printed(lines) == "[]\n"
