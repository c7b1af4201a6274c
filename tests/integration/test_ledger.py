"""The ledger on PostgreSQL and SQLite: every write, what it does, and everything that it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import CheckConstraint, Connection, Row, insert, make_url, select, update
from sqlalchemy.exc import IntegrityError

from celeriac.application import Celeriac
from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_pages, job_rows
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.columns import PARKED, after, now
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.metadata.mapped import BackgroundJob, FailedAttempt
from celeriac.ledger.upkeep import dispatch, lost_messages
from celeriac.ledger.writes import claims, outcomes, quarantine
from celeriac.ledger.writes.new_jobs import enqueue, unpark
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.quarantine import Unreadable
from celeriac.ledger.writes.replay import ENDLESS, replay
from celeriac.operate.job import jobs as listed
from celeriac.settings.platform import Settings
from celeriac.worker.gate import deliveries
from tests.apps import build
from tests.new_jobs import new_job
from tests.unit.test_deliveries import FOREIGN, TASKS, UNREADABLE, arrived

T = TypeVar("T")

WORKER, OTHER = UUID(int=1), UUID(int=2)
FAILURE = Failure(AttemptKind.ERROR, "ValueError", "wrong", "mail.py:send", "Traceback …")
HOUR = 3600.0  # seconds

_table = BackgroundJob.__table__


class Ledger:
    """The ledger's functions, each call in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def do(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        with self.database.transaction() as connection:
            return function(connection, *args, **options)

    def enqueued(self, **changes: Any) -> UUID:
        """The id of a job that waits."""
        job = new_job(**changes)
        assert self.do(enqueue, [job]) == 1
        return job.id

    def running(self, **changes: Any) -> UUID:
        """The id of a job in its first attempt, held by WORKER."""
        job = self.enqueued(**changes)
        assert self.claim(job) == {job: 1}
        return job

    def failed(self, **changes: Any) -> UUID:
        """The id of a dead letter whose only attempt failed."""
        job = self.running(**changes)
        assert self.record(job, 1, JobState.FAILED, failure=FAILURE) is JobState.FAILED
        return job

    def claim(self, *jobs: UUID, worker: UUID = WORKER) -> dict[UUID, int]:
        """The attempts that were won."""
        return {job: won.attempt for job, won in self.do(claims.claim, jobs, worker=worker).items()}

    def release(self, job: UUID, attempt: int = 1, *, worker: UUID = WORKER, **options: Any) -> bool:
        return bool(self.do(claims.release, [(job, attempt)], worker=worker, **options))

    def record(
        self, job: UUID, attempt: int, state: JobState, *, worker: UUID = WORKER, **outcome: Any
    ) -> JobState | None:
        """What the outcome led to; None when it was refused."""
        told = Outcome(id=job, attempt=attempt, state=state, **outcome)
        return self.do(outcomes.record, [told], worker=worker).get(job)

    def set(self, job: UUID, **columns: Any) -> None:
        """What time or somebody else would have done."""
        self.do(
            lambda connection: connection.execute(update(_table).where(_table.c.id == job).values(**columns))
        )

    def row(self, job: UUID) -> Row[Any]:
        found = self.do(job_rows.find, job)
        assert found is not None
        return found

    def attempts(self, *jobs: UUID) -> list[Row[Any]]:
        return self.do(job_rows.attempts, jobs)

    def seconds_until(self, moment: datetime) -> float:
        """From now, on the database's clock."""
        clock: datetime = self.do(lambda connection: connection.execute(select(now())).scalar_one())
        return (moment - clock).total_seconds()


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    database = Database(make_url(database_url), pool=4, patience=10)
    yield Ledger(database)
    database.close()


@pytest.fixture
def postgres_ledger(postgres_url: str) -> Iterator[Ledger]:
    database = Database(make_url(postgres_url), pool=4)
    yield Ledger(database)
    database.close()


# Enqueue


def test_an_enqueued_job_is_pending_with_all_that_was_asked_for(ledger: Ledger) -> None:
    job = new_job(
        payload=b"\x00\xff",
        headers={"note": "NUL \x00, lone surrogate \ud800", "deep": [1, {"a": None}]},
        timeout=1.5,
        user_id="someone",
        idempotency_key="key",
        schedule="nightly",
        root_id=WORKER,
        parent_id=OTHER,
        group_id=WORKER,
    )
    ledger.do(enqueue, [job])
    row = ledger.row(job.id)
    for name in ("job_type", "queue", "priority", "payload", "content_type", "content_encoding", "headers"):
        assert getattr(row, name) == getattr(job, name)
    for name in ("max_tries", "timeout", "user_id", "idempotency_key", "schedule", "root_id", "parent_id"):
        assert getattr(row, name) == getattr(job, name)
    assert (row.group_id, row.state, row.try_count, row.tries_before) == (WORKER, "pending", 0, 0)
    unset = ("worker_id", "started", "finished", "result", "failure_info", "expires", "cancel_requested")
    assert [getattr(row, name) for name in unset] == [None] * len(unset)
    assert -5 < ledger.seconds_until(row.queued) <= 0
    assert -5 < ledger.seconds_until(row.next_attempt_after) <= 0


def test_a_job_whose_message_leaves_at_once_is_dispatched(ledger: Ledger) -> None:
    row = ledger.row(ledger.enqueued())
    assert row.dispatch_count == 1
    assert -5 < ledger.seconds_until(row.dispatched) <= 0


@pytest.mark.parametrize(
    "changes", [{"send": False}, {"delay": HOUR}, {"not_before": datetime(2200, 1, 1, tzinfo=UTC)}]
)
def test_a_job_whose_message_does_not_leave_is_not_dispatched(
    ledger: Ledger, changes: dict[str, Any]
) -> None:
    row = ledger.row(ledger.enqueued(**changes))
    assert (row.dispatched, row.dispatch_count) == (None, 0)


def test_a_delay_counts_from_the_databases_now(ledger: Ledger) -> None:
    row = ledger.row(ledger.enqueued(delay=HOUR))
    assert HOUR - 5 < ledger.seconds_until(row.next_attempt_after) <= HOUR


def test_a_moment_wins_over_a_delay(ledger: Ledger) -> None:
    moment = datetime(2200, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    assert ledger.row(ledger.enqueued(delay=HOUR, not_before=moment)).next_attempt_after == moment


def test_an_expiry_is_a_moment_or_counts_from_now(ledger: Ledger) -> None:
    moment = datetime(2200, 1, 1, tzinfo=UTC)
    assert ledger.row(ledger.enqueued(expires=moment, expires_in=HOUR)).expires == moment
    relative = ledger.row(ledger.enqueued(expires_in=HOUR)).expires
    assert HOUR - 5 < ledger.seconds_until(relative) <= HOUR


def test_a_row_that_exists_is_left_as_it_is(ledger: Ledger) -> None:
    job = new_job()
    assert ledger.do(enqueue, [job]) == 1
    before = ledger.row(job.id)
    assert ledger.do(enqueue, [replace(job, payload=b"other", priority=30, max_tries=1)]) == 0
    assert ledger.row(job.id) == before


def test_of_a_batch_the_new_ones_are_counted(ledger: Ledger) -> None:
    one, two, three = new_job(), new_job(), new_job()
    assert ledger.do(enqueue, [one, two, one]) == 2
    assert ledger.do(enqueue, [one, three, two]) == 1
    assert len(ledger.do(job_pages.page, Filter(), limit=10)) == 3


def test_of_two_that_enqueue_the_same_job_one_makes_the_row(ledger: Ledger) -> None:
    job = new_job()
    assert sorted(at_once(lambda: ledger.do(enqueue, [job]))) == [0, 1]


def test_nothing_is_written_after_the_deadline(ledger: Ledger) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    jobs = [new_job(), new_job()]
    assert ledger.do(enqueue, jobs[:1], deadline=past) == 0
    assert ledger.do(enqueue, jobs, deadline=past) == 0
    assert ledger.do(job_pages.page, Filter(), limit=10) == []
    assert ledger.do(enqueue, jobs, deadline=datetime.now(UTC) + timedelta(hours=1)) == 2


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    job = new_job()
    with pytest.raises(RuntimeError), ledger.database.transaction() as connection:
        assert enqueue(connection, [job]) == 1
        raise RuntimeError
    assert ledger.do(job_rows.find, job.id) is None
    assert ledger.do(enqueue, [job]) == 1


RULES: list[tuple[str, dict[str, Any]]] = [
    ("finished_iff_terminal", {"finished": now()}),
    ("finished_iff_terminal", {"state": "failed"}),
    ("held_iff_running", {"worker_id": WORKER}),
    ("held_iff_running", {"state": "running"}),
    ("undispatched_only_while_waiting", {"state": "failed", "finished": now(), "dispatched": None}),
    ("cancel_mode_is_known", {"cancel_requested": "kind"}),
    ("state_is_known", {"state": "asleep"}),
    ("at_least_one_try", {"max_tries": 0}),
    ("priority_within_0_and_100", {"priority": -1}),
    ("priority_within_0_and_100", {"priority": 101}),
    ("tries_within_limit", {"try_count": 6}),
    ("tries_within_limit", {"try_count": -1}),
]


def test_a_row_that_breaks_a_rule_is_refused_by_its_name(ledger: Ledger) -> None:
    job = ledger.enqueued()
    before = ledger.row(job)
    for rule, broken in RULES:
        with pytest.raises(IntegrityError, match=rule):
            ledger.set(job, **broken)
    assert ledger.row(job) == before
    checks = {each.name for each in _table.constraints if isinstance(each, CheckConstraint)}
    assert checks == {rule for rule, _ in RULES}


def test_ready_for_retry_says_the_same_in_sql(ledger: Ledger) -> None:
    waiting, due, later = ledger.enqueued(), ledger.running(), ledger.running()
    ledger.record(due, 1, JobState.ERROR)
    ledger.record(later, 1, JobState.ERROR, delay=HOUR)
    ready = select(BackgroundJob.id).where(BackgroundJob.ready_for_retry)
    assert ledger.do(lambda connection: connection.execute(ready).scalars().all()) == [due]
    for job in (waiting, due, later):
        row = ledger.row(job)
        value = BackgroundJob(state=row.state, next_attempt_after=row.next_attempt_after)
        assert value.ready_for_retry == (job == due)


# Claim


def test_a_claim_takes_a_job_for_one_attempt(ledger: Ledger) -> None:
    job = ledger.enqueued(max_tries=3)
    ledger.set(job, unknown_since=now())
    (won,) = ledger.do(claims.claim, [job], worker=WORKER).values()
    assert (won.id, won.attempt, won.max_tries, won.tries_before, won.dispatch_count) == (job, 1, 3, 0, 1)
    row = ledger.row(job)
    assert (row.state, row.worker_id, row.try_count, row.unknown_since) == ("running", WORKER, 1, None)
    assert -5 < ledger.seconds_until(row.started) <= 0


def test_a_claim_takes_a_job_whose_message_was_said_not_to_be_sent(ledger: Ledger) -> None:
    job = ledger.enqueued(send=False)
    assert ledger.claim(job) == {job: 1}
    assert ledger.row(job).dispatched is not None


def test_the_next_attempt_has_the_next_number(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.ERROR)
    assert ledger.claim(job, worker=OTHER) == {job: 2}


def test_ids_may_repeat_and_be_unknown_and_be_none(ledger: Ledger) -> None:
    job = ledger.enqueued()
    assert ledger.claim(job, UUID(int=9), job) == {job: 1}
    assert ledger.claim() == {}


REFUSED: dict[str, dict[str, Any]] = {
    "not yet due": {"next_attempt_after": after(HOUR)},
    "parked": {"next_attempt_after": PARKED},
    "expired": {"expires": after(-1.0)},
    "no try left": {"try_count": 5},
    "completed": {"state": "completed", "finished": now()},
    "failed": {"state": "failed", "finished": now()},
    "cancelled": {"state": "cancelled", "finished": now()},
    "held by another": {"state": "running", "worker_id": OTHER},
    "held by itself": {"state": "running", "worker_id": WORKER},
}


def test_a_claim_is_refused(ledger: Ledger) -> None:
    free = ledger.enqueued()
    jobs = {ledger.enqueued(): name for name in REFUSED}
    for job, name in jobs.items():
        ledger.set(job, **REFUSED[name])
    before = {job: ledger.row(job) for job in jobs}
    won = ledger.claim(*jobs, free)
    assert [jobs.get(job) for job in won] == [None]
    assert {job: ledger.row(job) for job in jobs} == before


def test_a_job_that_expires_later_is_claimed(ledger: Ledger) -> None:
    job = ledger.enqueued(expires_in=HOUR)
    assert ledger.claim(job) == {job: 1}


def test_a_job_that_another_transaction_has_locked_is_not_waited_for(postgres_ledger: Ledger) -> None:
    locked, free = postgres_ledger.enqueued(), postgres_ledger.enqueued()
    with postgres_ledger.database.transaction() as connection:
        connection.execute(select(_table.c.id).where(_table.c.id == locked).with_for_update())
        assert postgres_ledger.claim(locked, free) == {free: 1}
    assert postgres_ledger.claim(locked) == {locked: 1}


def at_once(*functions: Callable[[], T]) -> list[T]:
    """What the functions return, called at the same moment in threads of their own; one alone, twice."""
    both = functions if len(functions) > 1 else functions * 2
    barrier = Barrier(len(both))

    def call(function: Callable[[], T]) -> T:
        barrier.wait(60)
        return function()

    with ThreadPoolExecutor(len(both)) as threads:
        return list(threads.map(call, both))


def test_of_two_workers_that_claim_a_job_one_wins(ledger: Ledger) -> None:
    for _ in range(5):
        job = ledger.enqueued()
        won = at_once(lambda job=job: ledger.claim(job), lambda job=job: ledger.claim(job, worker=OTHER))
        assert sorted(map(len, won)) == [0, 1]
        assert ledger.row(job).worker_id == (WORKER if won[0] else OTHER)


def test_workers_that_claim_the_same_batch_share_it_and_wait_for_nobody(ledger: Ledger) -> None:
    jobs = [ledger.enqueued() for _ in range(60)]

    def in_steps(ids: Sequence[UUID], worker: UUID) -> list[UUID]:
        return [
            job for place in range(0, 60, 20) for job in ledger.claim(*ids[place : place + 40], worker=worker)
        ]

    mine, theirs = at_once(lambda: in_steps(jobs, WORKER), lambda: in_steps(jobs[::-1], OTHER))
    assert sorted(mine + theirs) == sorted(jobs)
    held = {job: ledger.row(job).worker_id for job in jobs}
    assert held == dict.fromkeys(mine, WORKER) | dict.fromkeys(theirs, OTHER)


def test_the_message_of_a_row_is_what_was_enqueued(ledger: Ledger) -> None:
    job = new_job(payload=b"\x00\xff")
    ledger.do(enqueue, [job])
    message = ledger.do(claims.messages, [job.id, UUID(int=9)])
    assert list(message) == [job.id]
    same = [field.name for field in fields(claims.Message)]
    assert [getattr(message[job.id], name) for name in same] == [getattr(job, name) for name in same]


def test_a_job_that_was_lost_more_than_once_is_told(ledger: Ledger) -> None:
    twice, once, failed, fresh = (ledger.running() for _ in range(4))
    for job in (twice, once):
        ledger.record(job, 1, JobState.ERROR, failure=Failure(AttemptKind.LOST))
    assert ledger.do(claims.claim, [twice], worker=WORKER)[twice].attempt == 2
    ledger.record(twice, 2, JobState.ERROR, failure=Failure(AttemptKind.LOST))
    ledger.record(failed, 1, JobState.ERROR, failure=FAILURE)
    assert ledger.do(claims.lost_repeatedly, [twice, once, failed, fresh]) == {twice}


# Release


def test_a_release_gives_an_attempt_back_uncounted(ledger: Ledger) -> None:
    job = ledger.running()
    assert ledger.release(job)
    row = ledger.row(job)
    assert (row.state, row.try_count, row.worker_id, row.started) == ("pending", 0, None, None)
    assert row.dispatched is None
    assert ledger.attempts(job) == []
    assert ledger.claim(job, worker=OTHER) == {job: 1}


def test_a_release_may_ask_for_a_delay(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.release(job, delay=HOUR)
    assert HOUR - 5 < ledger.seconds_until(ledger.row(job).next_attempt_after) <= HOUR
    assert ledger.claim(job) == {}


def test_a_release_does_not_touch_the_attempts_before(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.ERROR, failure=FAILURE)
    assert ledger.claim(job) == {job: 2}
    assert ledger.release(job, 2)
    assert ledger.row(job).try_count == 1
    assert ledger.claim(job) == {job: 2}


@pytest.mark.parametrize(
    ("attempt", "worker"), [(1, OTHER), (2, WORKER), (0, WORKER)], ids=["worker", "later", "earlier"]
)
def test_only_the_holder_of_the_attempt_releases_it(ledger: Ledger, attempt: int, worker: UUID) -> None:
    job = ledger.running()
    before = ledger.row(job)
    assert not ledger.release(job, attempt, worker=worker)
    assert ledger.row(job) == before


def test_a_second_release_is_refused(ledger: Ledger) -> None:
    job = ledger.running()
    assert ledger.release(job)
    assert not ledger.release(job)
    ledger.claim(job, worker=OTHER)
    assert not ledger.release(job)
    assert ledger.row(job).worker_id == OTHER


@pytest.mark.parametrize("mode", ["soft", "hard"])
def test_a_release_of_what_shall_be_cancelled_cancels_it(ledger: Ledger, mode: str) -> None:
    job = ledger.running()
    ledger.set(job, cancel_requested=mode)
    assert ledger.release(job)
    row = ledger.row(job)
    assert (row.state, row.try_count, row.worker_id) == ("cancelled", 0, None)
    assert row.finished is not None
    assert ledger.claim(job) == {}


def test_of_claims_whose_answer_was_lost_ones_own_are_released(ledger: Ledger) -> None:
    mine, theirs, waiting = ledger.running(), ledger.enqueued(), ledger.enqueued()
    ledger.claim(theirs, worker=OTHER)
    ledger.do(claims.release_uncertain, [mine, theirs, waiting, UUID(int=9)], worker=WORKER)
    assert (ledger.row(mine).state, ledger.row(mine).try_count) == ("pending", 0)
    assert (ledger.row(theirs).state, ledger.row(theirs).worker_id) == ("running", OTHER)
    assert ledger.row(waiting).dispatched is not None


# What an attempt came to


def test_a_completed_attempt_ends_the_job(ledger: Ledger) -> None:
    job, silent = ledger.running(), ledger.running()
    ledger.set(job, cancel_requested="soft")
    assert ledger.record(job, 1, JobState.COMPLETED, result='{"a": "\\u0000"}') is JobState.COMPLETED
    assert ledger.record(silent, 1, JobState.COMPLETED) is JobState.COMPLETED
    row = ledger.row(job)
    assert (row.state, row.worker_id, row.result) == ("completed", None, '{"a": "\\u0000"}')
    assert (row.cancel_requested, ledger.row(silent).result) == (None, None)
    assert -5 < ledger.seconds_until(row.finished) <= 0
    assert ledger.attempts(job) == []


def test_a_failed_attempt_with_tries_left_waits_for_the_next(ledger: Ledger) -> None:
    job = ledger.running()
    assert ledger.record(job, 1, JobState.ERROR, failure=FAILURE, delay=HOUR) is JobState.ERROR
    row = ledger.row(job)
    assert (row.state, row.worker_id, row.dispatched, row.finished) == ("error", None, None, None)
    assert row.failure_info == "error: ValueError: wrong"
    assert HOUR - 5 < ledger.seconds_until(row.next_attempt_after) <= HOUR


def test_an_unsuccessful_attempt_leaves_its_record(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.ERROR, failure=FAILURE)
    ledger.claim(job, worker=OTHER)
    ledger.record(job, 2, JobState.ERROR, failure=Failure(AttemptKind.TIMEOUT), worker=OTHER)
    first, second = ledger.attempts(job)
    assert (first.attempt, first.worker_id, first.kind) == (1, WORKER, "error")
    told = (first.exception_type, first.exception, first.frame, first.traceback)
    assert told == ("ValueError", "wrong", "mail.py:send", "Traceback …")
    assert first.started <= first.finished
    assert (second.attempt, second.worker_id, second.kind, second.exception) == (2, OTHER, "timeout", None)


def test_the_last_try_ends_the_job(ledger: Ledger) -> None:
    job = ledger.running(max_tries=2)
    assert ledger.record(job, 1, JobState.ERROR) is JobState.ERROR
    ledger.claim(job)
    assert ledger.record(job, 2, JobState.ERROR, failure=FAILURE) is JobState.FAILED
    row = ledger.row(job)
    assert (row.state, row.try_count) == ("failed", 2)
    assert row.finished is not None
    assert row.dispatched is not None
    assert ledger.claim(job) == {}


def test_an_attempt_may_raise_the_limit_of_tries_and_never_lower_it(ledger: Ledger) -> None:
    job = ledger.running(max_tries=1)
    assert ledger.record(job, 1, JobState.ERROR, max_tries=3) is JobState.ERROR
    ledger.claim(job)
    assert ledger.record(job, 2, JobState.ERROR, max_tries=1) is JobState.ERROR
    assert ledger.row(job).max_tries == 3


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_an_attempt_may_end_the_job_with_tries_left(ledger: Ledger, state: JobState) -> None:
    job = ledger.running()
    assert ledger.record(job, 1, state, failure=FAILURE) is state
    assert ledger.row(job).state == state
    assert [each.attempt for each in ledger.attempts(job)] == [1]


def test_an_outcome_without_a_failure_leaves_no_record(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.FAILED)
    assert ledger.attempts(job) == []
    assert ledger.row(job).failure_info is None


def test_what_shall_be_cancelled_never_runs_again(ledger: Ledger) -> None:
    ends = dict.fromkeys(_TOLD, JobState.CANCELLED) | {JobState.COMPLETED: JobState.COMPLETED}
    for (told, state), tries in itertools.product(ends.items(), (1, 5)):  # its last try is no exception
        job, successor = ledger.running(max_tries=tries), new_job()
        ledger.set(job, cancel_requested="soft")
        assert ledger.record(job, 1, told, successors=(successor,)) is state
        assert ledger.row(job).state == state
        assert ledger.claim(job) == {}
        # What is completed is completed, and goes on.
        assert (ledger.do(job_rows.find, successor.id) is None) == (state is JobState.CANCELLED)


def test_the_next_attempt_may_run_another_message(ledger: Ledger) -> None:
    job = ledger.running()
    again = new_job(
        payload=b"other", queue="high", priority=20, timeout=3.0, headers={"id": str(job), "x": 1}
    )
    ledger.record(job, 1, JobState.ERROR, message=again)
    message = ledger.do(claims.messages, [job])[job]
    assert (message.payload, message.queue, message.priority) == (b"other", "high", 20)
    assert message.headers == {"id": str(job), "x": 1}
    assert ledger.row(job).timeout == 3.0


def test_the_next_attempts_moment_wins_over_the_delay(ledger: Ledger) -> None:
    job = ledger.running()
    moment = datetime(2200, 1, 1, tzinfo=UTC)
    ledger.record(job, 1, JobState.ERROR, delay=1.0, message=new_job(not_before=moment))
    assert ledger.row(job).next_attempt_after == moment


def test_the_message_of_a_retry_that_there_is_none_of_is_dropped(ledger: Ledger) -> None:
    job = ledger.running(max_tries=1)
    ledger.record(job, 1, JobState.ERROR, message=new_job(payload=b"other"))
    assert ledger.row(job).payload == b"[[], {}, {}]"


def test_a_job_that_replaces_itself_waits_with_its_attempt_uncounted(ledger: Ledger) -> None:
    job = ledger.running()
    other = new_job(job_type="mail.recall", payload=b"other")
    assert ledger.record(job, 1, JobState.PENDING, message=other) is JobState.PENDING
    row = ledger.row(job)
    assert (row.state, row.try_count, row.worker_id, row.dispatched) == ("pending", 0, None, None)
    assert (row.job_type, row.payload) == ("mail.recall", b"other")
    assert ledger.claim(job) == {job: 1}


def test_a_replacement_may_be_for_later(ledger: Ledger) -> None:
    moment = datetime(2200, 1, 1, tzinfo=UTC)
    at, soon = ledger.running(), ledger.running()
    ledger.record(at, 1, JobState.PENDING, message=new_job(not_before=moment))
    ledger.record(soon, 1, JobState.PENDING, message=new_job(delay=HOUR))
    assert ledger.row(at).next_attempt_after == moment
    assert HOUR - 5 < ledger.seconds_until(ledger.row(soon).next_attempt_after) <= HOUR


def test_a_job_replaced_by_others_is_parked_and_they_exist(ledger: Ledger) -> None:
    job, known = ledger.running(), new_job()
    ledger.do(enqueue, [known])
    fresh = new_job()
    ledger.record(job, 1, JobState.PENDING, parked=True, successors=(fresh, known))
    assert ledger.row(job).next_attempt_after == PARKED
    assert ledger.claim(job) == {}
    assert (ledger.row(fresh.id).state, ledger.row(fresh.id).dispatched) == ("pending", None)


def test_a_batch_of_outcomes_of_every_kind_is_recorded_at_once(ledger: Ledger) -> None:
    jobs = [ledger.running() for _ in range(10)]
    told = [
        Outcome(id=job, attempt=1, state=state) for job, state in zip(jobs, [*_TOLD, *_TOLD], strict=True)
    ]
    assert ledger.do(outcomes.record, told, worker=WORKER) == {each.id: each.state for each in told}
    assert [ledger.row(each.id).state for each in told] == [each.state for each in told]


def test_no_outcome_is_no_outcome(ledger: Ledger) -> None:
    assert ledger.do(outcomes.record, [], worker=WORKER) == {}


_TOLD = [JobState.COMPLETED, JobState.ERROR, JobState.FAILED, JobState.CANCELLED, JobState.PENDING]


def _of_another_attempt(ledger: Ledger) -> UUID:
    job = ledger.running()
    ledger.record(job, 1, JobState.ERROR)
    assert ledger.claim(job) == {job: 2}
    return job


def _of_another_worker(ledger: Ledger) -> UUID:
    job = ledger.enqueued()
    assert ledger.claim(job, worker=OTHER) == {job: 1}
    return job


def _after_its_end(ledger: Ledger) -> UUID:
    job = ledger.running()
    ledger.record(job, 1, JobState.COMPLETED, result="1")
    return job


def _after_a_release(ledger: Ledger) -> UUID:
    job = ledger.running()
    ledger.release(job)
    return job


def _after_a_release_and_a_claim_by_another(ledger: Ledger) -> UUID:
    job = _after_a_release(ledger)
    assert ledger.claim(job, worker=OTHER) == {job: 1}
    return job


def _after_a_replay(ledger: Ledger) -> UUID:
    job = ledger.failed()
    ledger.do(replay, [job])
    assert ledger.claim(job) == {job: 2}
    return job


_LATE = [
    _of_another_attempt,
    _of_another_worker,
    _after_its_end,
    _after_a_release,
    _after_a_release_and_a_claim_by_another,
    _after_a_replay,
]


@pytest.mark.parametrize("late", _LATE, ids=lambda function: function.__name__.strip("_"))
def test_a_late_outcome_is_refused(ledger: Ledger, late: Callable[[Ledger], UUID]) -> None:
    for state in _TOLD:
        job, successor = late(ledger), new_job()
        before, attempts = ledger.row(job), ledger.attempts(job)
        other = new_job(payload=b"other")
        assert (
            ledger.record(
                job,
                1,
                state,
                result="9",
                failure=FAILURE,
                message=other,
                max_tries=9,
                successors=(successor,),
            )
            is None
        )
        assert ledger.row(job) == before
        assert ledger.attempts(job) == attempts
        assert ledger.do(job_rows.find, successor.id) is None


def test_an_outcome_that_is_told_twice_is_recorded_once(ledger: Ledger) -> None:
    for state in _TOLD:
        job = ledger.running()
        assert ledger.record(job, 1, state, failure=FAILURE) is state
        before, attempts = ledger.row(job), ledger.attempts(job)
        assert ledger.record(job, 1, state, failure=FAILURE) is None
        assert ledger.row(job) == before
        assert ledger.attempts(job) == attempts


def test_a_late_outcome_beside_the_right_one_leaves_no_trace(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.ERROR, failure=Failure(AttemptKind.LOST))
    ledger.claim(job)
    told = [
        Outcome(id=job, attempt=1, state=JobState.FAILED, failure=FAILURE),
        Outcome(id=job, attempt=2, state=JobState.ERROR, failure=FAILURE),
    ]
    assert ledger.do(outcomes.record, told, worker=WORKER) == {job: JobState.ERROR}
    assert [(each.attempt, each.kind) for each in ledger.attempts(job)] == [(1, "lost"), (2, "error")]


def test_of_two_outcomes_of_an_attempt_one_counts(ledger: Ledger) -> None:
    for _ in range(5):
        job = ledger.running()
        told = at_once(
            lambda job=job: ledger.record(job, 1, JobState.COMPLETED),
            lambda job=job: ledger.record(job, 1, JobState.FAILED, failure=FAILURE),
        )
        assert [*told].count(None) == 1
        assert ledger.row(job).state in told
        assert len(ledger.attempts(job)) == told.count(JobState.FAILED)


# Replay


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_replay_starts_the_tries_anew_and_keeps_the_history(ledger: Ledger, state: JobState) -> None:
    job = ledger.running(max_tries=2, expires_in=HOUR)
    ledger.set(job, cancel_requested="soft", unknown_since=now())
    ledger.record(job, 1, state, failure=FAILURE)
    assert ledger.do(replay, [job]) == {job}
    row = ledger.row(job)
    assert (row.state, row.finished, row.expires, row.cancel_requested) == ("pending", None, None, None)
    assert (row.dispatched, row.unknown_since) == (None, None)
    assert ledger.seconds_until(row.next_attempt_after) <= 0
    for attempt, end in ((2, JobState.ERROR), (3, JobState.FAILED)):
        assert ledger.claim(job) == {job: attempt}
        assert ledger.record(job, attempt, JobState.ERROR, failure=FAILURE) is end
    assert [each.attempt for each in ledger.attempts(job)] == [1, 2, 3]


def test_the_number_of_tries_stays_the_same_over_many_replays(ledger: Ledger) -> None:
    job = ledger.failed(max_tries=2)
    for replays in range(1, 4):
        ledger.do(replay, [job])
        won = ledger.do(claims.claim, [job], worker=WORKER)[job]
        assert (won.attempt - won.tries_before, won.max_tries - won.tries_before) == (1, 2)
        ledger.record(job, 1 + replays, JobState.FAILED)


def test_only_what_failed_or_was_cancelled_is_replayed(ledger: Ledger) -> None:
    waiting, running, done, error = ledger.enqueued(), ledger.running(), ledger.running(), ledger.running()
    ledger.record(done, 1, JobState.COMPLETED)
    ledger.record(error, 1, JobState.ERROR, delay=HOUR)
    failed = ledger.failed()
    others = [waiting, running, done, error]
    before = [ledger.row(job) for job in others]
    assert ledger.do(replay, [*others, failed, failed, UUID(int=9)]) == {failed}
    assert [ledger.row(job) for job in others] == before
    assert ledger.do(replay, [failed]) == set()


def test_of_two_that_replay_a_job_one_does(ledger: Ledger) -> None:
    job = ledger.failed()
    assert sorted(map(len, at_once(lambda: ledger.do(replay, [job])))) == [0, 1]
    assert ledger.row(job).tries_before == 1


def test_a_job_that_never_gives_up_is_replayed(ledger: Ledger) -> None:
    job = ledger.failed(max_tries=ENDLESS)
    assert ledger.do(replay, [job]) == {job}
    assert ledger.claim(job) == {job: 2}


# A parked row and its message


def test_a_parked_row_takes_the_message_that_it_waited_for(ledger: Ledger) -> None:
    job = ledger.running(user_id="someone", idempotency_key="key")
    queued = ledger.row(job).queued
    ledger.record(job, 1, JobState.PENDING, parked=True)
    again = new_job(id=job, payload=b"other", queue="high", priority=20)
    assert ledger.do(unpark, again)
    row = ledger.row(job)
    assert (row.payload, row.queue, row.priority, row.dispatch_count) == (b"other", "high", 20, 2)
    assert (row.user_id, row.idempotency_key, row.queued) == ("someone", "key", queued)
    assert ledger.claim(job) == {job: 1}


def test_what_is_not_parked_takes_no_message(ledger: Ledger) -> None:
    waiting, running, done = ledger.enqueued(), ledger.running(), ledger.failed()
    for job in (waiting, running, done):
        before = ledger.row(job)
        assert not ledger.do(unpark, new_job(id=job, payload=b"other"))
        assert ledger.row(job) == before
    assert not ledger.do(unpark, new_job())


def test_a_parked_row_takes_one_message(ledger: Ledger) -> None:
    job = ledger.running()
    ledger.record(job, 1, JobState.PENDING, parked=True)
    told = at_once(
        *(lambda text=text: ledger.do(unpark, new_job(id=job, payload=text)) for text in (b"a", b"b"))
    )
    assert sorted(told) == [False, True]
    assert ledger.row(job).payload == (b"a" if told[0] else b"b")


# Dispatch


def test_the_levels_are_those_with_unsent_messages_most_important_first(ledger: Ledger) -> None:
    assert ledger.do(dispatch.levels) == []
    ledger.enqueued(priority=50)  # sent
    for priority, delay in ((0, 0.0), (0, HOUR), (99, HOUR), (20, 2 * HOUR), (20, HOUR)):
        ledger.enqueued(priority=priority, delay=delay, send=False)
    levels = ledger.do(dispatch.levels)
    assert [level.priority for level in levels] == [99, 20, 0]
    for level, seconds in zip(levels, (HOUR, HOUR, 0.0), strict=True):
        assert seconds - 5 < level.due_in <= seconds


def test_what_is_due_is_marked_and_taken_the_earliest_first(ledger: Ledger) -> None:
    jobs = [ledger.enqueued(send=False) for _ in range(3)]
    for job, seconds in zip(jobs, (-1.0, -3.0, -2.0), strict=True):
        ledger.set(job, next_attempt_after=after(seconds))
    ledger.enqueued(send=False, priority=20)
    ledger.enqueued(delay=HOUR)
    ledger.enqueued()
    first = ledger.do(dispatch.take_due, 10, limit=2)
    assert [message.id for message in first] == [jobs[1], jobs[2]]
    assert [message.dispatch_count for message in first] == [1, 1]
    assert ledger.row(jobs[1]).dispatched is not None
    assert [message.id for message in ledger.do(dispatch.take_due, 10, limit=2)] == [jobs[0]]
    assert ledger.do(dispatch.take_due, 10, limit=2) == []


def test_a_message_that_is_taken_is_the_rows(ledger: Ledger) -> None:
    job = new_job(send=False, payload=b"\x00\xff")
    ledger.do(enqueue, [job])
    (message,) = ledger.do(dispatch.take_due, 10, limit=2)
    assert message == ledger.do(claims.messages, [job.id])[job.id]
    assert (message.payload, message.headers) == (b"\x00\xff", job.headers)


def test_two_dispatchers_never_take_the_same_message(ledger: Ledger) -> None:
    jobs = [ledger.enqueued(send=False) for _ in range(40)]

    def all_of_them() -> list[UUID]:
        return [m.id for _ in range(10) for m in ledger.do(dispatch.take_due, 10, limit=4)]

    mine, theirs = at_once(all_of_them)
    assert sorted(mine + theirs) == sorted(jobs)
    assert {ledger.row(job).dispatch_count for job in jobs} == {1}


@pytest.mark.parametrize(
    ("sent", "tries", "factor"),
    [(1, 0, 1), (2, 0, 1), (3, 0, 2), (4, 0, 4), (4, 3, 1), (5, 4, 1), (7, 4, 2), (50, 0, 64)],
)
def test_only_re_sends_make_strand_detection_wait(ledger: Ledger, sent: int, tries: int, factor: int) -> None:
    """An attempt has a message of its own: a fifth try that is lost is found as soon as a first."""
    job = ledger.enqueued(max_tries=9)
    with ledger.database.transaction() as connection:
        connection.execute(update(_table).values(dispatched=after(-9), dispatch_count=sent, try_count=tries))
    assert ledger.do(lost_messages.clear_dispatch_marks, {"normal": None}, grace=10.0 / factor) == 0
    assert ledger.do(lost_messages.clear_dispatch_marks, {"normal": None}, grace=8.0 / factor) == 1
    assert ledger.row(job).dispatched is None


def test_a_mark_is_taken_back_from_what_still_waits(ledger: Ledger) -> None:
    waiting, running, done = ledger.enqueued(), ledger.running(), ledger.failed()
    before = [ledger.row(job) for job in (running, done)]
    ledger.do(dispatch.unmark, [waiting, running, done, UUID(int=9)])
    row = ledger.row(waiting)
    assert (row.dispatched, row.dispatch_count) == (None, 1)
    assert [ledger.row(job) for job in (running, done)] == before
    assert [message.dispatch_count for message in ledger.do(dispatch.take_due, 10, limit=9)] == [2]


# What cannot be understood, what nobody knows, what came too late


def letter(job: UUID) -> Unreadable:
    return Unreadable(job, "high", "(unreadable)", b"\xff\x00", "application/x", "not a message")


def test_what_cannot_be_read_is_a_dead_letter_with_its_bytes(ledger: Ledger) -> None:
    one, two = UUID(new_id()), UUID(new_id())
    ledger.do(quarantine.write_dead_letters, [letter(one), letter(two)])
    row = ledger.row(one)
    assert (row.state, row.payload, row.queue, row.job_type) == (
        "failed",
        b"\xff\x00",
        "high",
        "(unreadable)",
    )
    assert (row.try_count, row.failure_info) == (0, "invalid: not a message")
    assert row.finished is not None
    (attempt, _) = ledger.attempts(one, two)
    assert (attempt.attempt, attempt.kind, attempt.exception) == (0, "invalid", "not a message")


def test_what_cannot_be_read_never_touches_the_row_that_it_names(ledger: Ledger) -> None:
    waiting, running = ledger.enqueued(), ledger.running()
    before = [ledger.row(job) for job in (waiting, running)]
    ledger.do(quarantine.write_dead_letters, [letter(waiting), letter(running)])
    assert [ledger.row(job) for job in (waiting, running)] == before
    assert ledger.attempts(waiting, running) == []
    twice = UUID(new_id())
    for _ in range(2):
        ledger.do(quarantine.write_dead_letters, [letter(twice)])
    assert len(ledger.attempts(twice)) == 1


def test_the_message_of_a_dead_letter_that_is_replayed_names_its_job(ledger: Ledger) -> None:
    job = UUID(new_id())
    ledger.do(quarantine.write_dead_letters, [letter(job)])
    assert ledger.do(replay, [job]) == {job}
    (message,) = ledger.do(dispatch.take_due, 0, limit=1)
    assert message.headers.get("id") == str(job)  # or every worker would bury it anew, under another id


def test_a_job_of_an_unknown_task_is_put_back(ledger: Ledger) -> None:
    job = ledger.enqueued()
    ledger.do(quarantine.postpone, [job], delay=HOUR, limit=HOUR)
    row = ledger.row(job)
    assert (row.state, row.dispatched, row.finished) == ("pending", None, None)
    assert HOUR - 5 < ledger.seconds_until(row.next_attempt_after) <= HOUR
    assert -5 < ledger.seconds_until(row.unknown_since) <= 0
    assert ledger.attempts(job) == []


def test_a_job_whose_task_stays_unknown_is_failed(ledger: Ledger) -> None:
    late, not_yet = ledger.enqueued(), ledger.enqueued()
    ledger.set(late, unknown_since=after(-HOUR - 1))
    ledger.set(not_yet, unknown_since=after(-HOUR + 60))
    since = ledger.row(not_yet).unknown_since
    ledger.do(quarantine.postpone, [late, not_yet], delay=1.0, limit=HOUR)
    assert (ledger.row(late).state, ledger.row(late).try_count) == ("failed", 0)
    assert ledger.row(late).finished is not None
    assert [(each.attempt, each.kind) for each in ledger.attempts(late, not_yet)] == [(0, "invalid")]
    assert (ledger.row(not_yet).state, ledger.row(not_yet).unknown_since) == ("pending", since)


def test_a_claim_forgets_that_a_task_was_unknown(ledger: Ledger) -> None:
    job = ledger.enqueued()
    ledger.do(quarantine.postpone, [job], delay=0.0, limit=HOUR)
    ledger.claim(job)
    assert ledger.row(job).unknown_since is None


def test_what_runs_or_was_put_back_already_is_not_postponed(ledger: Ledger) -> None:
    running, done, unsent = ledger.running(), ledger.failed(), ledger.enqueued(send=False)
    before = [ledger.row(job) for job in (running, done, unsent)]
    ledger.do(quarantine.postpone, [running, done, unsent, UUID(int=9)], delay=HOUR, limit=0.0)
    assert [ledger.row(job) for job in (running, done, unsent)] == before


@pytest.mark.parametrize("first", ["unknown", "unreadable"])
def test_a_job_may_be_failed_for_an_unknown_task_again_after_a_replay(ledger: Ledger, first: str) -> None:
    def fail_as_unknown() -> None:
        ledger.set(job, dispatched=now(), unknown_since=after(-HOUR - 1))
        ledger.do(quarantine.postpone, [job], delay=1.0, limit=HOUR)
        assert ledger.row(job).state == "failed"

    if first == "unknown":
        job = ledger.enqueued()
        fail_as_unknown()
    else:
        job = UUID(new_id())
        ledger.do(quarantine.write_dead_letters, [letter(job)])
    ledger.do(replay, [job])
    fail_as_unknown()


def test_what_waits_beyond_its_expiry_is_cancelled(ledger: Ledger) -> None:
    waiting, error = ledger.enqueued(send=False), ledger.running()
    ledger.record(error, 1, JobState.ERROR)
    for job in (waiting, error):
        ledger.set(job, expires=after(-1.0))
    ledger.do(claims.expire, [waiting, error])
    for job in (waiting, error):
        row = ledger.row(job)
        assert (row.state, row.failure_info) == ("cancelled", "cancelled: expired")
        assert row.finished is not None


def test_what_has_not_expired_or_does_not_wait_is_not_cancelled(ledger: Ledger) -> None:
    never, later = ledger.enqueued(), ledger.enqueued(expires_in=HOUR)
    running, done = ledger.running(), ledger.failed()
    for job in (running, done):
        ledger.set(job, expires=after(-1.0))
    jobs = (never, later, running, done)
    before = [ledger.row(job) for job in jobs]
    ledger.do(claims.expire, [*jobs, UUID(int=9)])
    assert [ledger.row(job) for job in jobs] == before


# Reading


def pages(ledger: Ledger, limit: int) -> list[UUID]:
    """The ids of all jobs, page by page."""
    found: list[UUID] = []
    key = None
    while rows := ledger.do(job_pages.page, Filter(), limit=limit, after=key):
        assert len(rows) <= limit
        found += [row.id for row in rows]
        key = (rows[-1].queued, rows[-1].id)
    return found


def test_pages_show_every_job_once_the_newest_first(ledger: Ledger) -> None:
    jobs = [ledger.enqueued() for _ in range(7)]
    assert pages(ledger, 3) == jobs[::-1]


def test_pages_show_every_job_once_when_all_are_of_one_moment(ledger: Ledger) -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    jobs = [ledger.enqueued() for _ in range(7)]
    for job in jobs:
        ledger.set(job, queued=moment)
    assert pages(ledger, 3) == sorted(jobs, reverse=True)


def test_a_page_goes_on_where_the_last_ended_whatever_came_since(ledger: Ledger) -> None:
    jobs = [ledger.enqueued() for _ in range(4)]
    first = ledger.do(job_pages.page, Filter(), limit=2)
    ledger.enqueued()
    second = ledger.do(job_pages.page, Filter(), limit=2, after=(first[-1].queued, first[-1].id))
    assert [row.id for row in (*first, *second)] == jobs[::-1]


def test_a_filter_narrows_by_all_that_it_says(ledger: Ledger) -> None:
    plain = ledger.enqueued()
    other = ledger.running(job_type="mail.recall", queue="high", user_id="someone", schedule="nightly")
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    ledger.set(other, queued=moment)
    wanted = [
        Filter(state=JobState.RUNNING),
        Filter(task="mail.recall"),
        Filter(queue="high"),
        Filter(user_id="someone"),
        Filter(schedule="nightly"),
        Filter(since=moment),
        Filter(task="mail.recall", queue="high", state=JobState.RUNNING, until=moment + timedelta(seconds=1)),
    ]
    for each in wanted:
        assert [row.id for row in ledger.do(job_pages.page, each, limit=9)] == [other]
    assert [row.id for row in ledger.do(job_pages.page, Filter(until=moment), limit=9)] == [plain]
    assert ledger.do(job_pages.page, Filter(task="mail.recall", queue="normal"), limit=9) == []


def test_jobs_are_counted_by_queue_and_state(ledger: Ledger) -> None:
    for changes in ({}, {}, {"queue": "high"}):
        ledger.enqueued(**changes)
    ledger.running()
    counted = ledger.do(job_rows.counts, Filter())
    assert sorted(counted) == [("high", "pending", 1), ("normal", "pending", 2), ("normal", "running", 1)]
    assert ledger.do(job_rows.counts, Filter(queue="high")) == [("high", JobState.PENDING, 1)]


def test_an_ending_says_how_far_a_job_is(ledger: Ledger) -> None:
    done, failed, running = ledger.running(), ledger.failed(), ledger.running()
    ledger.record(done, 1, JobState.COMPLETED, result="7")
    found = ledger.do(job_rows.endings, [done, failed, running, UUID(int=9)])
    assert {job: ending.state for job, ending in found.items()} == {
        done: JobState.COMPLETED,
        failed: JobState.FAILED,
        running: JobState.RUNNING,
    }
    assert (found[done].result, found[failed].failure_info) == ("7", "error: ValueError: wrong")
    assert (found[running].worker_id, found[running].finished) == (WORKER, None)


def test_a_job_that_is_not_there_is_none(ledger: Ledger) -> None:
    assert ledger.do(job_rows.find, UUID(int=9)) is None


def test_a_jobs_attempts_go_with_it(ledger: Ledger) -> None:
    job = ledger.failed()

    def delete(connection: Connection) -> None:
        connection.execute(_table.delete().where(_table.c.id == job))

    ledger.do(delete)
    assert ledger.attempts(job) == []
    with pytest.raises(IntegrityError):
        ledger.do(lambda connection: connection.execute(_orphan(job)))


def _orphan(job: UUID) -> Any:
    return insert(FailedAttempt).values(job_id=job, attempt=1, finished=now(), kind="error")


@pytest.fixture
def app(database_url: str) -> Iterator[Celeriac]:
    made = build(
        Settings(broker_url="redis://127.0.0.1:1/0", database_url=database_url), set_as_current=False
    )
    yield made
    made.database.close()


def test_an_id_is_the_same_in_the_row_and_in_the_message_however_it_is_spelled(
    ledger: Ledger, app: Celeriac
) -> None:
    def work() -> None:
        """Never run."""

    job = UUID(new_id())
    app.task(name="tests.work", shared=False)(work).apply_async(task_id=str(job).upper())
    assert ledger.row(job).headers["id"] == str(job)


def test_one_result_that_cannot_be_rebuilt_hides_no_other_job(ledger: Ledger, app: Celeriac) -> None:
    odd, plain = ledger.running(), ledger.running()
    ledger.record(odd, 1, JobState.COMPLETED, result='{"__type__": "odd", "__value__": 1}')
    ledger.record(plain, 1, JobState.COMPLETED, result="7")
    assert {job.id for job in listed(app=app)} == {str(odd), str(plain)}


def test_a_payload_that_cannot_be_read_hides_no_job(ledger: Ledger, app: Celeriac) -> None:
    ledger.enqueued(payload=b"\xff", content_type="application/x-python-serialize")
    ledger.do(quarantine.write_dead_letters, [letter(UUID(new_id()))])
    ledger.enqueued(payload=b'[["x"], {"to": 1}, {}]')
    assert [(job.args, job.kwargs) for job in listed(app=app)] == [
        (["x"], {"to": 1}),
        (None, None),
        (None, None),
    ]


# Whatever arrives at a worker


@pytest.mark.parametrize("name", ["foreign", "unreadable"])
def test_whatever_a_worker_reads_can_be_written(ledger: Ledger, name: str) -> None:
    items = FOREIGN if name == "foreign" else {key: item for key, (item, _) in UNREADABLE.items()}
    refused = {key: told for key, item in items.items() if (told := refusal(ledger, item))}
    assert refused == {}


def refusal(ledger: Ledger, item: Any) -> str | None:
    """What was raised when the item was read and written, and its row read again."""
    try:
        found = deliveries.read(arrived(item), TASKS, max_tries=5)
        if isinstance(found, Unreadable):
            job = found.id
            ledger.do(quarantine.write_dead_letters, [found])
        else:
            assert found.adopted
            job = found.job
            ledger.do(enqueue, [found.adopted])
        ledger.row(job)
        ledger.do(lambda connection: connection.execute(_table.delete().where(_table.c.id == job)))
    except Exception as exc:  # collected, to be shown together
        return f"{type(exc).__name__}: {exc}".splitlines()[0]
    return None
