"""Shared by the tests that start real workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from app.application import Celeriac
from app.factory import build
from app.settings import Settings


@pytest.fixture
def producer(redis_url: str, postgres_url: str) -> Iterator[Celeriac]:
    """App code that enqueues, with the broker and the ledger of the workers."""
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": postgres_url}
    app = build(Settings(**known, task_modules=("tests.jobs",)), set_as_current=False)
    yield app
    app.close()
    app.database.close()
