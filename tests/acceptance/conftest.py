"""Shared by the tests that start real workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.application import Celeriac
from tests.producers import producing


@pytest.fixture
def producer(redis_url: str, postgres_url: str) -> Iterator[Celeriac]:
    """App code that enqueues, with the broker and the ledger of the workers."""
    with producing(redis_url, postgres_url) as app:
        yield app
