"""Jobs by the worker that runs them or had them last, and by the version that it ran."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from celeriac import Celeriac
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKERS
from celeriac.operate import listing
from celeriac.operate.acting.operations import Plan, begin, count, find, settled
from celeriac.operate.acting.selection import Selection
from celeriac.operate.actions import Actor, Via
from celeriac.operate.listing import Filter, Sort
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.commands import told

#: Two starts of one worker, with a deploy between them, and one on another machine.
OLD, NEW, OTHER = (UUID(int=number) for number in (1, 2, 3))
WORKERS_ROWS = [
    stock.worker(id=OLD, hostname="celery@one", code_version="v1", stopped=stock.before(100)),
    stock.worker(id=NEW, hostname="celery@one", code_version="v2"),
    stock.worker(id=OTHER, hostname="gpu@two", code_version=None, version="9.9"),
]
ROWS = {
    "done": stock.job(queued=stock.before(900), last_worker_id=OLD),
    "dead": stock.failed(queued=stock.before(800), last_worker_id=OLD),
    "waits": stock.pending(queued=stock.before(700), state="error", last_worker_id=OLD, dispatched=None),
    "runs": stock.running(queued=stock.before(600), worker_id=NEW, last_worker_id=NEW),
    "after": stock.job(queued=stock.before(500), last_worker_id=NEW, job_type="mail.other"),
    "there": stock.job(queued=stock.before(400), last_worker_id=OTHER),
    "unrun": stock.pending(queued=stock.before(300)),
}


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(
        Settings(broker_url=redis_url, database_url=database_url), name="by-worker", set_as_current=False
    )
    with made.database.transaction() as connection:
        connection.execute(insert(WORKERS), WORKERS_ROWS)
        connection.execute(insert(JOBS), list(ROWS.values()))
        connection.execute(insert(FAILURES), [stock.failure(ROWS["dead"], worker_id=OTHER)])
    yield made
    made.database.close()


def names(jobs: Any) -> list[str]:
    known = {str(row["id"]): name for name, row in ROWS.items()}
    return [known[job.id] for job in jobs]


@pytest.mark.parametrize(
    ("wanted", "fit"),
    [
        (Filter(worker="celery@one"), ["after", "runs", "waits", "dead", "done"]),
        (Filter(worker="one"), ["after", "runs", "waits", "dead", "done"]),
        (Filter(worker=str(OLD)), ["waits", "dead", "done"]),
        (Filter(worker="two"), ["there"]),
        (Filter(worker="o"), []),
        (Filter(worker="%"), []),
        (Filter(version="v1"), ["waits", "dead", "done"]),
        (Filter(version="9.9"), ["there"]),
        (Filter(version="0.1.0"), ["after", "runs", "waits", "dead", "done"]),
        (Filter(worker="one", version="v2"), ["after", "runs"]),
        (Filter(worker="one", version="9.9"), []),
        (Filter(worker="one", task="mail.other"), ["after"]),
        (Filter(version="v1", state=listing.JobState.FAILED), ["dead"]),
    ],
    ids=str,
)
def test_the_last_worker_decides(app: Celeriac, wanted: Filter, fit: list[str]) -> None:
    assert names(listing.page(wanted, app=app).jobs) == fit
    assert names(listing.page(wanted, sort=Sort.OLDEST, app=app).jobs) == fit[::-1]
    assert listing.count(wanted, most=100, app=app) == len(fit)


def test_other_orders_are_of_the_same_jobs(app: Celeriac) -> None:
    wanted = Filter(version="v1")
    assert names(listing.page(wanted, sort=Sort.DUE, app=app).jobs) == ["waits"]
    assert names(listing.page(wanted, sort=Sort.FINISHED, app=app).jobs) == ["dead", "done"]
    assert names(listing.page(Filter(worker="one"), sort=Sort.LONGEST, app=app).jobs) == ["runs"]


def test_each_job_is_on_one_page(app: Celeriac) -> None:
    found: list[str] = []
    after: str | None = None
    for _ in range(10):
        page = listing.page(Filter(worker="one"), limit=2, after=after, app=app)
        found += names(page.jobs)
        after = page.next
        if after is None:
            break
    assert found == ["after", "runs", "waits", "dead", "done"]


def test_an_action_means_the_starts_that_were_there_when_it_was_asked_for(app: Celeriac) -> None:
    selection = settled(Selection(wanted=Filter(worker="one")), app=app)
    assert count("cancel", selection, app=app) == 2  # that waits, and that runs
    plan = Plan(action="cancel", selection=selection, subject="--worker one")
    id = begin(plan, by=Actor("ann", Via.CONSOLE), counted=2, app=app)
    with app.database.transaction() as connection:  # restarted meanwhile
        connection.execute(insert(WORKERS), [stock.worker(id=UUID(int=4), hostname="celery@one")])
    kept = find(id, app=app)
    assert kept is not None
    assert kept.selection.wanted == selection.wanted
    assert kept.selection.wanted is not None
    assert set(kept.selection.wanted.worker_ids or ()) == {OLD, NEW}


def test_a_command_filters_and_tells_both_versions(app: Celeriac) -> None:
    found = told(app, "jobs", "list", "--worker", "one", "--version", "v2")["jobs"]
    assert [(job["worker"], job["code_version"], job["worker_version"]) for job in found] == [
        ("celery@one", "v2", "0.1.0")
    ] * 2
    assert {each["code_version"] for each in told(app, "workers")["workers"]} == {"v1", "v2", None}
