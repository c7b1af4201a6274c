"""The demonstration judges by the ledger: only its own jobs count, and each should have its own end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import insert

from app.demo.demonstration import Run
from app.demo.load import Planned, load
from app.demo.receiver import Receiver
from celeriac.application import Celeriac
from celeriac.ids import new_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build

COMPLETED, ERROR, FAILED = JobState.COMPLETED, JobState.ERROR, JobState.FAILED


@pytest.fixture
def app(sqlite_url: str) -> Iterator[Celeriac]:
    made = build(
        Settings(database_url=sqlite_url, broker_url="redis://127.0.0.1:1/0", task_modules=()),
        set_as_current=False,
    )
    with closing(made.database):
        yield made


@pytest.fixture
def run(app: Celeriac) -> Run:
    with Receiver(b"secret") as receiver:
        return Run.of(app, receiver, jobs=20)


def written(app: Celeriac, user_id: str, state: JobState) -> UUID:
    """A job of ``user_id`` in ``state``, as the ledger would have it."""
    row = stock.job(job_type="webhooks.deliver", user_id=user_id, queued=datetime.now(UTC), state=str(state))
    if state is not COMPLETED:
        row["result"] = None
    if state is ERROR:
        row["finished"] = None
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
    return row["id"]


def test_a_job_in_another_state_than_planned_is_named(app: Celeriac, run: Run) -> None:
    to_complete, to_fail = load(20).members[0], replace(load(20).members[0], state=FAILED, path="/gone")

    def accept(planned: Planned, state: JobState) -> UUID:
        id = written(app, run.enqueuer.user_id, state)
        run.enqueuer.accepted[id] = planned
        return id

    accept(to_complete, COMPLETED)
    accept(to_fail, FAILED)
    late, lucky, gone = accept(to_complete, ERROR), accept(to_fail, COMPLETED), UUID(new_id())
    run.enqueuer.accepted[gone] = to_complete
    assert run.wrong() == [
        f"{late} (webhooks.deliver /ok): wanted completed, found error",
        f"{lucky} (webhooks.deliver /gone): wanted failed, found completed",
        f"{gone} (webhooks.deliver /ok): wanted completed, found no row",
    ]


def test_the_jobs_of_an_earlier_demonstration_do_not_count(app: Celeriac, run: Run) -> None:
    written(app, "demo-earlier", COMPLETED)
    written(app, run.enqueuer.user_id, FAILED)
    assert dict(run.tally().counts) == {("normal", FAILED): 1}
    assert run.summary().whole.jobs == 1
