"""A Celeriac app in the harness's own process, for the questions of an operator's commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from benchmarks.trial import Trial
from celeriac import Celeriac
from celeriac.settings.platform import Settings


@contextmanager
def app(trial: Trial) -> Iterator[Celeriac]:
    """On the servers of the trial; its connections are closed when the block ends."""
    settings = Settings(
        database_url=trial.environment["DATABASE_URL"], broker_url=trial.environment["CELERY_BROKER_URL"]
    )
    made = Celeriac("operator", settings=settings, set_as_current=False)
    with closing(made.database):
        yield made
