"""Cancel, dead letters, retention and revoke, through the public functions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, event, insert, select, text, update

from celeriac.application import Celeriac
from celeriac.enqueue.bulk import enqueue_many
from celeriac.errors import BadArgument
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKERS
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.cancel import Answer
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import as_of_now, cancel, cancel_all, cancel_matching, job, jobs
from celeriac.retention import Retention, prune
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.support import wait_until

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


def test_a_cancel_that_waited_for_an_outcome_says_what_it_was(platform: Celeriac) -> None:
    """An outcome is not committed for as long as the transaction of a task that completes in its own."""
    id = enqueued(platform, "a")
    with ThreadPoolExecutor(1) as threads:
        with platform.database.transaction() as connection:
            won = claims.claim(connection, [id], worker=WORKER)
        with platform.database.transaction() as connection:
            done = Outcome(id=id, attempt=won[id].attempt, state=JobState.COMPLETED)
            outcomes.record(connection, [done], worker=WORKER)
            answer = threads.submit(cancel, str(id), app=platform)
            if platform.database.dialect == "postgresql":
                wait_until(lambda: _waits_for_a_lock(platform), within=20, saying="the cancel waits")
    assert answer.result(20) is Answer.FINISHED


def _waits_for_a_lock(platform: Celeriac) -> bool:
    with platform.database.reading() as connection:
        return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())


def test_a_cancel_in_the_last_attempt_is_no_dead_letter_that_a_replay_runs(platform: Celeriac) -> None:
    id = enqueued(platform, "a")
    with platform.database.transaction() as connection:
        won = claims.claim(connection, [id], worker=WORKER)
        assert won[id].attempt == won[id].max_tries
    assert cancel(str(id), app=platform) is Answer.REQUESTED
    with platform.database.transaction() as connection:
        told = Outcome(id=id, attempt=1, state=JobState.FAILED, failure=BROKEN)
        outcomes.record(connection, [told], worker=WORKER)
    assert job(str(id), app=platform).state is JobState.CANCELLED
    assert dead_letters.replay(Cause(task="tests.mail"), app=platform) == 0


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


@pytest.mark.parametrize("command", ["revoke", "terminate"])
def test_a_revoke_that_is_broadcast_is_a_cancel_for_ever(platform: Celeriac, command: str) -> None:
    """So `celery control revoke` sends it."""
    ids = [str(enqueued(platform, "a")) for _ in range(2)]
    platform.control.broadcast(command, arguments={"task_id": ids, "signal": "KILL"})
    assert {job(id, app=platform).state for id in ids} == {JobState.CANCELLED}


def test_a_revoke_by_stamps_cancels_what_waits(platform: Celeriac) -> None:
    mail = platform.tasks["tests.mail"]

    def stamped(**stamps: Any) -> str:
        return str(mail.s("a").stamp(**stamps).apply_async(countdown=60).id)

    plain = str(enqueued(platform, "a"))
    one, several, other, elsewhere = (
        stamped(tenant="acme"),
        stamped(tenant=["x", "acme"]),
        stamped(tenant="x"),
        stamped(customer="acme"),
    )
    platform.control.revoke_by_stamped_headers({"tenant": ["acme", "none"]})
    states = {id: job(id, app=platform).state for id in (plain, one, several, other, elsewhere)}
    assert [id for id, state in states.items() if state is JobState.CANCELLED] == [one, several]
    platform.control.broadcast("revoke_by_stamped_headers", arguments={"headers": ["customer=acme"]})
    assert job(elsewhere, app=platform).state is JobState.CANCELLED
    assert job(other, app=platform).state is JobState.PENDING


@pytest.mark.parametrize("way", ["control", "channel"])
def test_a_purge_counts_the_jobs_that_will_not_run(platform: Celeriac, way: str) -> None:
    """The channel's is what `celery purge` and `celery amqp queue.purge` call."""
    waiting, running, done, kept = (enqueued(platform, "a") for _ in range(4))
    later = UUID(platform.tasks["tests.mail"].apply_async(("a",), countdown=60).id)
    run(platform, done)
    with platform.database.transaction() as connection:
        claims.claim(connection, [running], worker=WORKER)
        connection.execute(update(JOBS).where(JOBS.c.id == kept).values(queue="low"))
    with platform.connection_for_write() as broker:
        channel = broker.default_channel
        channel.client.lpush("normal", "no message", '{"headers": {"id": "x", "task": "other"}}')
        if way == "control":
            platform.amqp.queues.select(["normal"])
        count = platform.control.purge() if way == "control" else channel.queue_purge("normal")
        assert channel.client.llen("normal") == 0
    assert count == 4
    states = {id: job(str(id), app=platform).state for id in (waiting, later, running, done, kept)}
    assert [str(state) for state in states.values()] == [
        "cancelled",
        "cancelled",
        "running",
        "completed",
        "pending",
    ]
    assert job(str(running), app=platform).cancel_requested is None
    assert job(str(waiting), app=platform).failure_info == "cancelled: its queue was purged"


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


def test_a_worker_is_kept_for_as_long_as_a_dead_letter_names_it(platform: Celeriac) -> None:
    start = WorkerStart(
        id=WORKER, hostname="w@here", pid=1, pool="solo", concurrency=1, queues=[], tasks="", version="1"
    )
    with platform.database.transaction() as connection:
        worker_rows.sign_on(connection, start)
    dead = enqueued(platform, "a")
    run(platform, dead, state=JobState.FAILED, failure=BROKEN)
    with platform.database.transaction() as connection:
        worker_rows.sign_off(connection, WORKER)
    prune(app=platform, retention=Retention(done=timedelta(0), dead=timedelta(days=30)))
    found = job(str(dead), app=platform)
    assert (found.worker, found.attempts[0].worker) == ("w@here", "w@here")
    assert prune(app=platform, retention=Retention(done=timedelta(0), dead=timedelta(0)))["workers"] == 1


@pytest.mark.parametrize("named_by", ["job", "attempt"])
def test_a_worker_is_kept_for_as_long_as_anything_names_it(platform: Celeriac, named_by: str) -> None:
    """Also where its end is long ago: by a job that waited for long, and by one of its earlier attempts."""
    day = timedelta(days=1)
    with platform.database.transaction() as connection:
        gone = {"started": stock.before(9 * 86_400), "stopped": stock.before(8 * 86_400)}
        others = [stock.worker(id=UUID(int=number), **gone) for number in (1, 2)]
        connection.execute(insert(WORKERS), others)
        queued = stock.before(8.5 * 86_400)
        one = stock.pending(queued=queued, state="error", try_count=2, last_worker_id=UUID(int=7))
        if named_by == "job":
            one["last_worker_id"] = UUID(int=1)
        connection.execute(insert(JOBS), [one])
        if named_by == "attempt":
            attempt = stock.failure(one | {"started": queued}, attempt=1, worker_id=UUID(int=1))
            connection.execute(insert(FAILURES), [attempt])
    keep = Retention(done=day, dead=day)
    assert prune(app=platform, retention=keep)["workers"] == 1, "nothing names the second"
    with platform.database.transaction() as connection:
        assert connection.execute(select(WORKERS.c.id)).scalars().all() == [UUID(int=1)]
        connection.execute(delete(JOBS))
    assert prune(app=platform, retention=keep)["workers"] == 1


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
