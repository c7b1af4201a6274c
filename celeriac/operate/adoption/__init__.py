"""What blocks, and what changes, when a plain Celery project moves to this platform.

The app is imported; its configuration, its tasks and its source are read. Nothing else of it runs. Of a
tree that cannot be imported here the source alone is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celeriac.operate.adoption.facts import read, read_source
from celeriac.operate.adoption.notes import Kind, Note, judge

__all__ = ["Kind", "Note", "lint", "lint_source"]


def lint(app: Any) -> list[Note]:
    """All notes on a Celery app, first what blocks."""
    return judge(read(app))


def lint_source(tree: Path) -> list[Note]:
    """All notes on the files below ``tree``, none of which is imported."""
    return judge(read_source(tree))
