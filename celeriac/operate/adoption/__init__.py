"""What changes, and what is at risk, when a plain Celery app moves to this platform.

The app is imported; its configuration, its tasks and its source are read. Nothing else of it runs.
"""

from __future__ import annotations

from typing import Any

from celeriac.operate.adoption.facts import read
from celeriac.operate.adoption.notes import Kind, Note, judge

__all__ = ["Kind", "Note", "lint"]


def lint(app: Any) -> list[Note]:
    """All notes on a Celery app, the risks first."""
    return judge(read(app))
