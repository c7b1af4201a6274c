"""App code that enqueues, for tests: an app of its own, with the tasks of ``tests.jobs``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.settings.platform import Settings
from tests.apps import build


@contextmanager
def producing(broker: str, database: str, **settings: Any) -> Iterator[Celeriac]:
    """Closed when the block ends.

    Args:
        settings: further fields of ``Settings``.
    """
    known: dict[str, Any] = {"broker_url": broker, "database_url": database, **settings}
    app = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
    yield app
    app.close()
