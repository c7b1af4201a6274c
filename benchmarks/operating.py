"""Celeriac in the harness's own process, to ask what an operator's commands ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from app.application import Celeriac
from app.factory import build
from app.settings import Settings
from benchmarks.trial import Trial


@contextmanager
def app(trial: Trial) -> Iterator[Celeriac]:
    """On the servers of the trial; its connections are closed when the block ends."""
    settings = Settings(
        database_url=trial.environment["DATABASE_URL"], broker_url=trial.environment["CELERY_BROKER_URL"]
    )
    made = build(settings, name="operator", set_as_current=False)
    with closing(made.database):
        yield made
