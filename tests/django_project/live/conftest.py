"""These tests run on the project's own database, not on one that Django makes for tests.

They are started by tests/contrib/test_django.py, in a process of their own.
"""

import os
from collections.abc import Callable, Iterator

import django
import pytest
import redis
from sqlalchemy import create_engine, make_url, text

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
django.setup()

from proj.celery import app  # noqa: E402  # the settings are named first
from shop.models import Order  # noqa: E402  # applications are ready

QUEUES = ("critical", "high", "normal", "low")


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    with app.database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM background_jobs")
    Order.objects.all().delete()
    with redis.Redis.from_url(os.environ["PROJECT_BROKER"]) as client:
        client.flushdb()
    yield
    from django.db import connection

    connection.close()


@pytest.fixture
def committed() -> Callable[[], list[str]]:
    """The ids of the rows that another connection sees, in their order."""
    url = make_url(os.environ.get("PROJECT_LEDGER") or os.environ["PROJECT_DATABASE"])

    def read() -> list[str]:
        engine = create_engine(url)
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id FROM background_jobs ORDER BY queued, id"))
            ids = [str(row.id).replace("-", "") for row in found]
        engine.dispose()
        return ids

    return read


@pytest.fixture
def sent() -> Callable[[], int]:
    """How many messages wait in the broker."""

    def count() -> int:
        with redis.Redis.from_url(os.environ["PROJECT_BROKER"]) as client:
            return sum(int(client.llen(queue)) for queue in QUEUES)

    return count
