"""What a command that must be quick does not import: a container's engine asks for health again and again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workers import ROOT, environment

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
