"""What a command that must be quick does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workers import ROOT, environment

#: A container's engine asks for health again and again.
_HEALTH = """
import sys
from celery.__main__ import main
sys.argv = ["celery", "-A", "app", "health"]
try:
    main()
finally:
    print(*sys.modules)
"""

#: Each takes its time, and says nothing of a liveness file. What Flower's command imports, which Celery loads
#: whatever was typed, is not among them.
SLOW = (
    *("alembic", "sqlalchemy.orm", "psycopg", "structlog", "rich", "redbeat"),
    *(
        "celeriac.observe.logs",
        "celeriac.ledger.schema.models",
        "celeriac.worker",
        "celeriac.schedules",
        "celeriac.operate.doctor",
    ),
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a process that was asked for its health."""
    home = tmp_path_factory.mktemp("none")
    env = environment("redis://127.0.0.1:1/0", f"sqlite:///{home / 'none.db'}", {"data_dir": home})
    argv = [sys.executable, "-c", _HEALTH]
    asked = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert asked.stderr == "no worker or beat has a liveness file on this machine\n"
    return set(asked.stdout.split())


def test_health_is_what_ran(imported: set[str]) -> None:
    assert {"celeriac.cli.commands.health", "celeriac.observe.liveness", "app.celery"} <= imported


@pytest.mark.parametrize("module", SLOW)
def test_health_does_not_wait_for_what_it_does_not_need(imported: set[str], module: str) -> None:
    assert module not in imported


_LIST = """
import gc, sys
first, late = gc.get_threshold(), []  # collections of garbage behind those of the first steps
gc.callbacks.append(lambda phase, info: gc.get_threshold() == first or late.append("a-late-collection"))
from celeriac.cli.program import main
sys.argv = ["celeriac", "-A", "app", "jobs", "list"]
try:
    main()
finally:
    print(*sys.modules, *late)
"""

#: What a person waits for who only reads the ledger, here an SQLite one.
SLOW_TO_READ = (
    *("alembic", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql", "psycopg", "redis", "redbeat"),
    *("celery.bin", "click_repl", "flower", "tornado", "structlog", "cronsim", "prometheus_client"),
    *("celery.canvas", "celery.app.task", "celeriac.limits.unique", "celeriac.task.event_loop"),
    *("pydantic_settings", "dotenv", "rich.console", "rich.table", "rich.text", "rich.cells", "pygments"),
    *("celeriac.worker", "celeriac.schedules", "celeriac.operate.dead_letters"),
)


@pytest.fixture(scope="module")
def imported_to_list(module_sqlite_url: str) -> set[str]:
    """The modules of a ``celeriac -A app jobs list``."""
    env = environment("redis://127.0.0.1:1/0", module_sqlite_url)
    argv = [sys.executable, "-c", _LIST]
    asked = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert asked.stderr == "no job fits\n"
    return set(asked.stdout.split())


def test_a_list_is_what_ran(imported_to_list: set[str]) -> None:
    assert {"celeriac.cli.views.job_list", "celeriac.ledger.reads.job_pages"} <= imported_to_list


@pytest.mark.parametrize("module", SLOW_TO_READ)
def test_a_list_does_not_wait_for_what_it_does_not_need(imported_to_list: set[str], module: str) -> None:
    assert module not in imported_to_list


def test_a_list_collects_no_garbage_behind_its_first_steps(imported_to_list: set[str]) -> None:
    """It would look at whatever was imported, of which nothing is garbage."""
    assert "a-late-collection" not in imported_to_list


_ALL = """
import sys
import celeriac
for name in celeriac.__all__:
    getattr(celeriac, name)
print(*sys.modules)
"""


@pytest.fixture(scope="module")
def imported_with_all() -> set[str]:
    """The modules of a process that has used every public name."""
    argv = [sys.executable, "-c", _ALL]
    asked = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    return set(asked.stdout.split())


def test_every_public_name_is_what_was_used(imported_with_all: set[str]) -> None:
    assert {"celeriac.enqueue.bulk", "celeriac.enqueue.transactions"} <= imported_with_all


@pytest.mark.parametrize("module", ["alembic", "sqlalchemy.orm", "flower", "fastapi"])
def test_no_public_name_makes_a_worker_large(imported_with_all: set[str], module: str) -> None:
    assert module not in imported_with_all
