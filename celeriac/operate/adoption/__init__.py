"""What moving a plain Celery app to this platform changes, and what of it is at risk.

Its configuration and tasks are read, its source is looked through; nothing of it is run beyond its import.
"""

from __future__ import annotations

from typing import Any

from celeriac.operate.adoption.facts import read
from celeriac.operate.adoption.notes import Kind, Note, judge

__all__ = ["Kind", "Note", "lint"]


def lint(app: Any) -> list[Note]:
    """Every note on a Celery app, the risks first."""
    return judge(read(app))
