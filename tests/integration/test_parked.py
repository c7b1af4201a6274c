"""The body of a chord that Redis has not released: the keeper gives it the results that the ledger has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import chord
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.factory import build
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep.prune import prune
from celeriac.ledger.writes.claims import messages
from celeriac.operate import dead_letters
from celeriac.operate.job import Job, job, jobs
from celeriac.settings import Settings
from celeriac.worker.duties.workflows import Workflows
from tests.signers import own_serializers, signer

AWHILE = timedelta(minutes=1)


@pytest.fixture(params=["json", "signed"])
def app(
    request: pytest.FixtureRequest, redis_url: str, database_url: str, tmp_path: Path
) -> Iterator[Celeriac]:
    signing: dict[str, Any] = signer(tmp_path, "ours").settings if request.param == "signed" else {}
    with ExitStack() as stack:
        stack.enter_context(own_serializers())
        settings = Settings(
            broker_url=redis_url, database_url=database_url, task_modules=("tests.jobs",), **signing
        )
        made: Celeriac = build(settings, set_as_current=False)
        stack.callback(made.database.close)
        yield stack.enter_context(closing(made))


def enqueue(app: Celeriac, body: Any) -> str:
    """A chord of two jobs that have ended with 1 and 2, a while ago; return its body's id."""
    echo = app.tasks["tests.echo"]
    result = chord([echo.s(1), echo.s(2)], body)()
    members = [member.id for member in result.parent.results]
    with app.database.transaction() as connection:
        for number, member in enumerate(members, 1):
            ended = {
                "state": JobState.COMPLETED,
                "result": str(number),
                "finished": datetime.now(UTC) - AWHILE,
            }
            connection.execute(update(JOBS).where(JOBS.c.id == UUID(member)).values(ended))
    return str(result.id)


def sweep(app: Celeriac) -> None:
    Workflows(app.database, on_change=lambda: None).sweep()


def released(found: Job) -> bool:
    return found.state is JobState.PENDING and found.next_attempt_after.year < 9999


@pytest.mark.parametrize("compression", [None, "zlib", "bzip2"])
def test_it_gets_the_results_in_front_of_its_arguments(compression: str | None, app: Celeriac) -> None:
    id = enqueue(app, app.tasks["tests.echo"].s("own").set(compression=compression))
    assert not released(job(id, app=app))
    sweep(app)
    found = job(id, app=app)
    assert released(found)
    assert found.args == [[1, 2], "own"]


def test_one_that_takes_no_results_is_left_as_it_was(app: Celeriac) -> None:
    id = enqueue(app, app.tasks["tests.echo"].si("own").set(compression="zlib"))
    before = payload(app, id)
    sweep(app)
    assert released(job(id, app=app))
    assert payload(app, id) == before


def test_one_that_cannot_be_read_is_a_dead_letter_and_holds_up_nobody(app: Celeriac) -> None:
    damaged = enqueue(app, app.tasks["tests.echo"].s())
    whole = enqueue(app, app.tasks["tests.echo"].s())
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(damaged)).values(payload=b"\xff{"))
    sweep(app)
    found = job(damaged, app=app)
    assert found.state is JobState.FAILED
    assert payload(app, damaged) == b"\xff{"
    assert released(job(whole, app=app))


def one_fails(app: Celeriac, body: str) -> str:
    """The first of its two members is a dead letter, and so is the body; return the member's id."""
    member = next(found.id for found in jobs(app=app) if found.args == [1])
    with app.database.transaction() as connection:
        failed = {"state": JobState.FAILED, "result": None}
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(member)).values(failed))
    sweep(app)
    assert job(body, app=app).state is JobState.FAILED
    return member


def test_one_that_is_replayed_waits_for_its_members_again(app: Celeriac) -> None:
    body = enqueue(app, app.tasks["tests.echo"].s("own"))
    member = one_fails(app, body)
    assert dead_letters.replay(dead_letters.Cause(), app=app) == 2
    sweep(app)
    found = job(body, app=app)
    assert (found.state, found.next_attempt_after.year) == (JobState.PENDING, 9999)
    with app.database.transaction() as connection:
        ended = datetime.now(UTC) - AWHILE
        again = {"state": JobState.COMPLETED, "result": "1", "finished": ended, "dispatched": ended}
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(member)).values(again))
    sweep(app)
    assert released(job(body, app=app))
    assert job(body, app=app).args == [[1, 2], "own"]


def test_one_that_is_replayed_without_its_members_is_a_dead_letter_again(app: Celeriac) -> None:
    body = enqueue(app, app.tasks["tests.echo"].s())
    one_fails(app, body)
    assert dead_letters.replay_one(body, app=app)
    sweep(app)
    assert job(body, app=app).state is JobState.FAILED


def test_one_that_had_its_results_is_replayed_with_them(app: Celeriac) -> None:
    body = enqueue(app, app.tasks["tests.echo"].s("own"))
    sweep(app)
    with app.database.transaction() as connection:
        failed = {"state": JobState.FAILED, "finished": datetime.now(UTC), "dispatched": datetime.now(UTC)}
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(body)).values(failed))
    assert dead_letters.replay_one(body, app=app)
    found = job(body, app=app)
    assert released(found)
    assert found.args == [[1, 2], "own"]


def test_one_that_is_replayed_with_other_arguments_waits_for_nothing(app: Celeriac) -> None:
    body = enqueue(app, app.tasks["tests.echo"].s())
    one_fails(app, body)
    assert dead_letters.replay_one(body, args=[[7, 8]], app=app)
    found = job(body, app=app)
    assert released(found)
    assert found.args == [[7, 8]]


def test_members_that_are_waited_for_are_not_pruned(app: Celeriac) -> None:
    body = enqueue(app, app.tasks["tests.echo"].s())
    lonely = app.tasks["tests.echo"].delay().id
    with app.database.transaction() as connection:
        ended = {"state": JobState.COMPLETED, "finished": datetime.now(UTC)}
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(lonely)).values(ended))

    def pruned() -> int:
        with app.database.transaction() as connection:
            return prune(connection, JobState.COMPLETED, age=-3600, limit=9)

    assert pruned() == 1  # the one that nobody waits for
    sweep(app)
    assert released(job(body, app=app))
    assert pruned() == 2


def payload(app: Celeriac, id: str) -> bytes:
    with app.database.reading() as connection:
        return messages(connection, [UUID(id)])[UUID(id)].payload
