"""The body of a chord that Redis has not released: the keeper gives it the results that the ledger has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import chord
from sqlalchemy import event, update

import tests.jobs  # noqa: F401
from celeriac.application import Celeriac
from celeriac.ids import new_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep.prune import prune
from celeriac.ledger.writes.claims import messages
from celeriac.operate import dead_letters
from celeriac.operate.job import Job, job, jobs
from celeriac.settings.platform import Settings
from celeriac.worker.duties import workflows
from celeriac.worker.duties.workflows import Workflows
from tests.apps import build
from tests.signers import own_serializers, signer

AWHILE = timedelta(minutes=1)

#: What does not depend on how messages are written.
plain = pytest.mark.parametrize("app", ["json"], indirect=True)


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


def enqueue(app: Celeriac, body: Any, *, members: int = 2) -> str:
    """A chord of jobs that have ended with 1, 2, …, a while ago; return its body's id."""
    echo = app.tasks["tests.echo"]
    result = chord([echo.s(number) for number in range(members)], body)()
    for number, member in enumerate(result.parent.results, 1):
        end(app, member.id, result=str(number))
    return str(result.id)


def end(app: Celeriac, id: str, *, state: JobState = JobState.COMPLETED, **values: Any) -> None:
    ended = {"state": state, "finished": datetime.now(UTC) - AWHILE} | values
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(ended))


def sweep(app: Celeriac) -> None:
    Workflows(app.database, on_change=lambda: None, grace=0).sweep()


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
    member = next(found.id for found in jobs(app=app) if found.args == [0])
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


def test_its_results_come_in_the_order_of_the_members(app: Celeriac) -> None:
    """Of the group, not of the ids; also where a header holds what PostgreSQL cannot read of JSON."""
    echo = app.tasks["tests.echo"]
    ids = sorted(new_id() for _ in range(12))
    members = [echo.s(number).set(task_id=id) for number, id in enumerate(reversed(ids))]
    result = chord(members, echo.s())()
    for number, id in enumerate(reversed(ids)):
        with app.database.transaction() as connection:
            headers = messages(connection, [UUID(id)])[UUID(id)].headers
        odd = {"note": "NUL \x00, lone surrogate \ud800"} if number % 2 else {"note": "plain"}
        end(app, id, result=f'"{number}"', headers={**odd, **headers})
    sweep(app)
    assert job(result.id, app=app).args == [[str(number) for number in range(12)]]


@plain
def test_a_member_that_was_given_up_fails_it(app: Celeriac) -> None:
    echo = app.tasks["tests.echo"]
    result = chord([echo.s(1), echo.s(2)], echo.s())()
    done, failed = (member.id for member in result.parent.results)
    end(app, done, result="1")
    end(app, failed, state=JobState.FAILED, failure_info="error")
    sweep(app)
    found = job(result.id, app=app)
    assert found.state is JobState.FAILED
    assert f"dependency {failed} is failed" in str(found.failure_info)


@plain
def test_a_result_that_is_lost_fails_it(app: Celeriac) -> None:
    id = enqueue(app, app.tasks["tests.echo"].s())
    with app.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.result == "2").values(result=None))
    sweep(app)
    assert "the result of dependency" in str(job(id, app=app).failure_info)


@plain
def test_it_waits_while_a_member_is_to_be_done(app: Celeriac) -> None:
    echo = app.tasks["tests.echo"]
    result = chord([echo.s(1), echo.s(2)], echo.s())()
    end(app, result.parent.results[0].id, result="1")
    keeper = Workflows(app.database, on_change=lambda: None, grace=0)
    for _ in range(3):
        keeper.sweep()
    assert not released(job(result.id, app=app))
    end(app, result.parent.results[1].id, result="2")
    keeper.sweep()
    assert released(job(result.id, app=app))


@plain
def test_it_is_left_alone_until_it_was_seen_without_members_for_a_grace(app: Celeriac) -> None:
    id = enqueue(app, app.tasks["tests.echo"].s())
    keeper = Workflows(app.database, on_change=lambda: None, grace=60)
    for _ in range(3):
        keeper.sweep()
    assert not released(job(id, app=app))


@plain
def test_every_parked_row_is_looked_at_however_many_wait(
    app: Celeriac, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "_PAGE", 3)
    echo = app.tasks["tests.echo"]
    chords = []
    for number in range(10):
        if number == 7:
            chords.append(enqueue(app, echo.s()))
        else:
            chords.append(str(chord([echo.s(1), echo.s(2).set(countdown=3600)], echo.s())().id))
    keeper = Workflows(app.database, on_change=lambda: None, grace=0)
    for _ in range(8):
        keeper.sweep()
    assert [released(job(id, app=app)) for id in chords] == [number == 7 for number in range(10)]


@plain
def test_a_large_chord_does_not_pass_through_its_keeper(app: Celeriac) -> None:
    fetched = []
    for members in (2, 40):
        enqueue(app, app.tasks["tests.echo"].s(), members=members)
        with counting_rows(app) as rows:
            sweep(app)
        fetched.append(rows)
    assert fetched[0] == fetched[1]


@contextmanager
def counting_rows(app: Celeriac) -> Iterator[list[int]]:
    """How many rows each statement of the block returns or changes."""
    rows: list[int] = []

    def note(_: Any, cursor: Any, *__: Any) -> None:
        rows.append(cursor.rowcount)

    event.listen(app.database.engine, "after_cursor_execute", note)
    yield rows
    event.remove(app.database.engine, "after_cursor_execute", note)
