"""Cancel, dead letters, retention and revoke, through the public functions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, update

from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.errors import BadArgument
from celeriac.factory import build
from celeriac.ledger.reads.job_rows import Filter
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.cancel import Answer
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import as_of_now, cancel, cancel_all, cancel_matching, job, jobs
from celeriac.operate.retention import Retention, prune
from celeriac.settings import Settings

WORKER = uuid4()


@pytest.fixture
def platform(redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celeriac]:
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = build(Settings(), name="operations", set_as_current=False)

    @app.task(name="tests.mail", shared=False)
    def mail(to: str) -> str:
        return to

    @app.task(name="tests.kept", keep_days=100, shared=False)
    def kept() -> None: ...

    yield app
    app.database.close()


def enqueued(platform: Celeriac, *args: object, task: str = "tests.mail") -> UUID:
    return UUID(platform.tasks[task].apply_async(args, max_tries=1).id)


def run(
    platform: Celeriac, *ids: UUID, state: JobState = JobState.COMPLETED, failure: Failure | None = None
) -> None:
    with platform.database.transaction() as connection:
        won = claims.claim(connection, ids, worker=WORKER)
        assert set(won) == set(ids)
        told = [Outcome(id=i, attempt=won[i].attempt, state=state, failure=failure) for i in ids]
        assert set(outcomes.record(connection, told, worker=WORKER)) == set(ids)


BROKEN = Failure(AttemptKind.ERROR, "KeyError", "'x'", "mail.py:send", "…")


def test_a_cancel_says_what_became_of_it(platform: Celeriac) -> None:
    waiting, running, done = (enqueued(platform, "a") for _ in range(3))
    run(platform, done)
    with platform.database.transaction() as connection:
        claims.claim(connection, [running], worker=WORKER)
    assert cancel(str(waiting), app=platform) is Answer.CANCELLED
    assert cancel(str(waiting), app=platform) is Answer.ALREADY_CANCELLED
    assert cancel(str(running), app=platform) is Answer.REQUESTED
    assert cancel(str(done), app=platform) is Answer.FINISHED
    assert cancel(str(uuid4()), app=platform) is Answer.UNKNOWN


def test_a_hard_request_is_never_softened(platform: Celeriac) -> None:
    running = enqueued(platform, "a")
    with platform.database.transaction() as connection:
        claims.claim(connection, [running], worker=WORKER)
    cancel(str(running), hard=True, app=platform)
    cancel(str(running), app=platform)
    assert job(str(running), app=platform).cancel_requested == "hard"


def test_a_revoke_of_celery_is_a_cancel_for_ever(platform: Celeriac) -> None:
    result = platform.tasks["tests.mail"].delay("a")
    result.revoke()
    assert job(result.id, app=platform).state is JobState.CANCELLED
    with platform.database.transaction() as connection:
        assert claims.claim(connection, [UUID(result.id)], worker=WORKER) == {}


def test_cancelling_by_filter_counts_first_and_spares_the_rest(platform: Celeriac) -> None:
    ids = [enqueued(platform, "a") for _ in range(3)]
    other = enqueued(platform, task="tests.kept")
    assert cancel_all(task="tests.mail", dry_run=True, app=platform) == 3
    assert jobs(state="cancelled", app=platform) == []
    assert cancel_all(task="tests.mail", app=platform) == 3
    assert {UUID(found.id) for found in jobs(state="cancelled", app=platform)} == set(ids)
    assert job(str(other), app=platform).state is JobState.PENDING


def test_a_cancel_of_a_filter_is_of_what_was_counted(platform: Celeriac) -> None:
    """While somebody reads the question, others go on enqueuing."""
    for _ in range(3):
        enqueued(platform, "a")
    wanted = as_of_now(Filter(task="tests.mail"), app=platform)
    later = enqueued(platform, "a")
    assert cancel_matching(wanted, dry_run=True, app=platform) == 3
    assert cancel_matching(wanted, app=platform) == 3
    assert job(str(later), app=platform).state is JobState.PENDING


def test_dead_letters_are_grouped_by_their_cause(platform: Celeriac) -> None:
    run(platform, *(enqueued(platform, "a") for _ in range(3)), state=JobState.FAILED, failure=BROKEN)
    other = Failure(AttemptKind.ERROR, "OSError", "no", "mail.py:connect", "…")
    run(platform, enqueued(platform, "b"), state=JobState.FAILED, failure=other)
    found = [(g.task, g.exception_type, g.frame, g.count) for g in dead_letters.groups(app=platform)]
    assert found == [
        ("tests.mail", "KeyError", "mail.py:send", 3),
        ("tests.mail", "OSError", "mail.py:connect", 1),
    ]


def test_a_replay_by_cause_leaves_the_others_dead(platform: Celeriac) -> None:
    one, two = enqueued(platform, "a"), enqueued(platform, "b")
    run(platform, one, state=JobState.FAILED, failure=BROKEN)
    run(platform, two, state=JobState.FAILED, failure=Failure(AttemptKind.ERROR, "OSError"))
    cause = Cause(exception_type="KeyError")
    assert dead_letters.replay(cause, dry_run=True, app=platform) == 1
    assert job(str(one), app=platform).state is JobState.FAILED
    assert dead_letters.replay(cause, app=platform) == 1
    assert job(str(one), app=platform).state is JobState.PENDING
    assert job(str(two), app=platform).state is JobState.FAILED
    assert [attempt.exception_type for attempt in job(str(one), app=platform).attempts] == ["KeyError"]


def test_what_was_cancelled_is_no_dead_letter_to_be_replayed(platform: Celeriac) -> None:
    id = str(enqueued(platform, "a"))
    cancel(id, app=platform)
    assert not dead_letters.replay_one(id, app=platform)
    assert job(id, app=platform).state is JobState.CANCELLED


def test_edited_arguments_are_checked_against_the_signature(platform: Celeriac) -> None:
    dead = enqueued(platform, "a")
    run(platform, dead, state=JobState.FAILED, failure=BROKEN)
    with pytest.raises(BadArgument, match="positional argument"):
        dead_letters.replay_one(str(dead), args=("a", "b"), app=platform)
    assert job(str(dead), app=platform).state is JobState.FAILED
    assert dead_letters.replay_one(str(dead), args=("b",), app=platform)
    assert job(str(dead), app=platform).args == ["b"]
    assert not dead_letters.replay_one(str(dead), app=platform)


def test_a_discard_deletes_what_was_meant(platform: Celeriac) -> None:
    dead, done = enqueued(platform, "a"), enqueued(platform, "b")
    run(platform, dead, state=JobState.FAILED, failure=BROKEN)
    run(platform, done)
    assert dead_letters.discard(Cause(task="tests.mail"), app=platform) == 1
    assert {UUID(found.id) for found in jobs(app=platform)} == {done}


def test_pruning_takes_what_is_older_than_its_retention(platform: Celeriac) -> None:
    done, dead, waits = enqueued(platform, "a"), enqueued(platform, "b"), enqueued(platform, "c")
    own = enqueued(platform, task="tests.kept")
    run(platform, done, own)
    run(platform, dead, state=JobState.FAILED, failure=BROKEN)
    assert prune(app=platform)[JobState.COMPLETED] == 0
    now = Retention(done=timedelta(0), dead=timedelta(days=30), tasks={"tests.kept": timedelta(days=100)})
    assert prune(app=platform, retention=now)[JobState.COMPLETED] == 1
    assert {UUID(found.id) for found in jobs(app=platform)} == {dead, waits, own}
    assert Retention.of(platform).tasks == {"tests.kept": timedelta(days=100)}


def test_a_prune_rests_after_each_batch_for_longer_than_it_worked(platform: Celeriac) -> None:
    enqueue_many(platform.tasks["tests.mail"], ([str(number)] for number in range(2_500)))
    deletes: list[tuple[float, float]] = []
    with platform.database.transaction() as connection:
        connection.execute(update(JOBS).values(state=JobState.COMPLETED, finished=JOBS.c.queued))

    def before(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.startswith("DELETE FROM background_jobs"):
            deletes.append((time.monotonic(), 0.0))

    def after(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.startswith("DELETE FROM background_jobs"):
            deletes[-1] = deletes[-1][0], time.monotonic()

    event.listen(platform.database.engine, "before_cursor_execute", before)
    event.listen(platform.database.engine, "after_cursor_execute", after)
    everything = Retention(done=timedelta(0), dead=timedelta(0))
    assert prune(app=platform, retention=everything)[JobState.COMPLETED] == 2_500
    first, second, third, *_ = deletes
    assert second[0] - first[1] > 2 * (first[1] - first[0])
    assert third[0] - second[1] > 2 * (second[1] - second[0])
