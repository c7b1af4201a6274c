"""Which app a process finds that names none: the one that was made in it, in each of its threads."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import run
from tests.workers import ROOT, environment

_IN_A_THREAD = """
from concurrent.futures import ThreadPoolExecutor
from tasks.reports import daily
from celeriac.operate.job import job
with ThreadPoolExecutor(1) as thread:
    id = thread.submit(lambda: daily.delay().id).result()
    print(thread.submit(lambda: job(id).task).result())
"""
_IMPORTED = """
from app.celery import app
from celeriac.operate.job import jobs
print(jobs())
"""
_NOT_IMPORTED = """
from celeriac.operate.job import jobs
try:
    jobs()
except Exception as exc:
    print(type(exc).__name__, exc)
"""
_BESIDE_ANOTHER = """
from celery import Celery
Celery("another")
""" + _NOT_IMPORTED.lstrip()


_WITHOUT = """
from celery import shared_task
import celeriac.enqueue.transactions
@shared_task(name="shop.charge")
def charge(order): ...
for call in (lambda: charge.delay(1), lambda: (charge.si(1) | charge.si(2))()):
    try:
        call()
    except Exception as exc:
        print(type(exc).__name__, exc)
"""
_BOUND = """
from shop.tasks import charge
from celeriac.operate.job import job
id = charge.delay(1).id
print(job(id).task)
"""


@pytest.fixture
def printed(redis_url: str, database_url: str, tmp_path: Path) -> Callable[[str], str]:
    """What a new process prints that runs such lines."""
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    env = environment(redis_url, database_url, {"data_dir": tmp_path, "PYTHONPATH": path})

    def printed(lines: str) -> str:
        made = run([sys.executable, "-c", lines], cwd=ROOT, env=env)
        assert not made.returncode, made.stderr
        return made.stdout

    return printed


def test_a_thread_that_did_not_import_the_app_enqueues_with_it(printed: Callable[[str], str]) -> None:
    assert printed(_IN_A_THREAD) == "reports.daily\n"


def test_a_function_finds_the_app_that_was_imported(printed: Callable[[str], str]) -> None:
    assert printed(_IMPORTED) == "[]\n"


@pytest.mark.parametrize("lines", [_NOT_IMPORTED, _BESIDE_ANOTHER], ids=["none", "another"])
def test_a_function_without_an_app_is_refused(printed: Callable[[str], str], lines: str) -> None:
    assert printed(lines).startswith("NoAppMade no app was made in this process; import the module that")


def test_a_task_that_is_called_where_no_app_was_made_is_refused(printed: Callable[[str], str]) -> None:
    """Celery would make an app up: an id would come back, and there would be no row."""
    one, other = printed(_WITHOUT).splitlines()
    assert one == other
    assert one.startswith("NoAppMade shop.charge cannot be enqueued: no app was made in this process; import")


def test_a_package_that_imports_the_app_binds_its_tasks_to_it(
    printed: Callable[[str], str], tmp_path: Path
) -> None:
    """As the README says it, for whoever imports nothing but its tasks."""
    (block,) = re.findall(r"# shop/__init__\.py\n((?:    .*\n)+)", (ROOT / "README.md").read_text())
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(textwrap.dedent(block))
    (package / "tasks.py").write_text(
        "from celery import shared_task\n@shared_task(name='shop.charge')\ndef charge(order): ...\n"
    )
    assert printed(_BOUND) == "shop.charge\n"
