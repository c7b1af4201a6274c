"""Outcomes and deliveries that the database refuses, or whose rows others have locked: the rest goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from kombu.message import Message
from sqlalchemy import make_url, select, text

from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.new_jobs import NewJob, enqueue
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.watermarks import Watermarks
from tests.new_jobs import new_job
from tests.support import wait_until

WORKER = UUID(new_id())
ME = WorkerStart(
    id=WORKER, hostname="celery@here", pid=1, pool="threads", concurrency=9, queues=[], tasks="", version="0"
)


class Desk:
    """A turn with everything that it needs, and what it handed over and dropped."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.book = ClaimBook()
        self.handed: list[Any] = []
        self.dropped: list[Any] = []
        self.turn = Turn(
            database,
            worker=WORKER,
            book=self.book,
            tasks={"tests.noop"},
            max_tries=1,
            watermarks=Watermarks(10.0),
            callbacks=TurnCallbacks(
                hand_over=self.handed.extend,
                drop=self.dropped.extend,
                fetch_results=lambda _: {},
                on_change=lambda: None,
            ),
            meter=Meter(),
        )
        with database.transaction() as connection:
            worker_rows.sign_on(connection, ME)

    def running(self, count: int) -> list[NewJob]:
        """Jobs that this worker holds."""
        jobs = [new_job() for _ in range(count)]
        with self.database.transaction() as connection:
            enqueue(connection, jobs)
            claims.claim(connection, [job.id for job in jobs], worker=WORKER)
        for job in jobs:
            self.book.enter(job.id)
            self.book.won(job.id, 1)
        return jobs

    def waiting(self) -> NewJob:
        job = new_job()
        with self.database.transaction() as connection:
            enqueue(connection, [job])
        return job

    def row(self, job: UUID) -> Any:
        with self.database.reading() as connection:
            return job_rows.find(connection, job)

    def state(self, job: NewJob) -> str:
        return str(self.row(job.id).state)

    def failure(self, job: NewJob) -> Any:
        with self.database.reading() as connection:
            return connection.execute(select(FAILURES).where(FAILURES.c.job_id == job.id)).one()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url), pool=3)) as database:
        yield database


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


@pytest.fixture
def postgres_desk(postgres_url: str) -> Iterator[Desk]:
    with closing(Database(make_url(postgres_url), pool=3)) as database:
        yield Desk(database)


def delivery(job: NewJob) -> Any:
    stamp = {"dispatch": 1, "tag": job.message_tag}
    headers = {"id": str(job.id), "task": "tests.noop", STAMP: stamp}
    message: Any = Message(body="[[], {}, {}]", headers=headers)
    message._raw = {}
    return message


def foreign(job: UUID, task: str) -> Any:
    message: Any = Message(
        body="[[], {}, {}]",
        headers={"id": str(job), "task": task},
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"routing_key": "normal"},
        properties={},
    )
    message._raw = {}
    return message


def done(job: NewJob) -> AttemptReport:
    return AttemptReport(outcome=Outcome(id=job.id, attempt=1, state=JobState.COMPLETED))


def bad_retry(job: NewJob) -> AttemptReport:
    """Its next message has a header that is no JSON."""
    again = new_job(id=job.id, headers={"when": datetime(2026, 1, 1, tzinfo=UTC)})
    failure = Failure(AttemptKind.ERROR, "ValueError", "no")
    return AttemptReport(
        outcome=Outcome(id=job.id, attempt=1, state=JobState.ERROR, failure=failure, message=again)
    )


def bad_replacement(job: NewJob) -> AttemptReport:
    successor = new_job(headers={"when": datetime(2026, 1, 1, tzinfo=UTC)})
    return AttemptReport(
        outcome=Outcome(id=job.id, attempt=1, state=JobState.PENDING, parked=True, successors=(successor,))
    )


@pytest.mark.parametrize("bad", [bad_retry, bad_replacement])
def test_an_outcome_that_is_refused_is_a_dead_letter_and_the_others_are_recorded(
    desk: Desk, bad: Any
) -> None:
    jobs, next_one = desk.running(4), desk.waiting()
    reports = [done(jobs[0]), bad(jobs[1]), done(jobs[2]), done(jobs[3])]
    work = TurnInput(reports=reports, arrived=[delivery(next_one)])
    left = desk.turn.take(work, claim_limit=1)
    assert (left.reports, left.arrived, left.deferred) == ([], [], [])
    assert [desk.state(job) for job in jobs] == ["completed", "failed", "completed", "completed"]
    failure = desk.failure(jobs[1])
    assert (failure.kind, "not JSON serializable" in failure.exception) == ("invalid", True)
    assert "refused its outcome" in desk.row(jobs[1].id).failure_info
    assert [message.headers["id"] for message in desk.handed] == [str(next_one.id)]
    assert desk.book.jobs() == [next_one.id]


def test_what_the_database_cannot_spell_is_told_in_ascii(postgres_desk: Desk) -> None:
    desk = postgres_desk
    with desk.database.statement() as connection:
        connection.execute(text("ALTER TABLE background_jobs ADD CHECK (job_type <> 'täsk.€')"))
    bad, good = desk.running(2)
    failure = Failure(AttemptKind.ERROR, "ValueError", "price in \x00 €")
    reports = AttemptReport(outcome=Outcome(id=bad.id, attempt=1, state=JobState.FAILED, failure=failure))
    strange = foreign(UUID(new_id()), "täsk.€")
    desk.turn.take(TurnInput(reports=[reports, done(good)], arrived=[strange]), claim_limit=1)
    assert [desk.state(bad), desk.state(good)] == ["failed", "completed"]
    assert desk.failure(bad).exception.isascii()
    buried = desk.row(UUID(strange.headers["id"]))
    assert (buried.state, buried.job_type) == ("failed", r"t\xe4sk.\u20ac")
    assert desk.dropped == [strange]


def test_an_endless_delay_is_as_long_as_the_ledger_counts(desk: Desk) -> None:
    jobs = desk.running(3)
    failure = Failure(AttemptKind.ERROR, "ValueError", "no")
    reports = [
        AttemptReport(
            outcome=Outcome(id=job.id, attempt=1, state=JobState.ERROR, failure=failure, delay=delay)
        )
        for job, delay in zip(jobs, (1e13, float("nan"), -1e300), strict=True)
    ]
    desk.turn.take(TurnInput(reports=reports), claim_limit=0)
    assert {desk.state(job) for job in jobs} == {"error"}
    assert 8000 < desk.row(jobs[0].id).next_attempt_after.year < 9000


def test_a_server_that_takes_nothing_is_no_reason_for_dead_letters(postgres_desk: Desk) -> None:
    (job,) = postgres_desk.running(1)
    with postgres_desk.database.statement() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
    work = TurnInput(reports=[done(job)])
    with pytest.raises(ConnectionError, match="read-only"):
        postgres_desk.turn.take(work, claim_limit=0)
    assert [item.outcome.id for item in work.reports] == [job.id]
    with postgres_desk.database.statement() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
    postgres_desk.turn.take(work, claim_limit=0)
    assert postgres_desk.state(job) == "completed"


def test_a_locked_row_is_left_for_a_later_turn_and_the_rest_goes_on(postgres_desk: Desk) -> None:
    desk = postgres_desk
    locked, other, failing = desk.running(3)
    failure = Failure(AttemptKind.ERROR, "ValueError", "no")
    bad = AttemptReport(outcome=Outcome(id=failing.id, attempt=1, state=JobState.ERROR, failure=failure))
    next_one = desk.waiting()
    with desk.database.transaction() as stranger:
        stranger.execute(text("SELECT 1 FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": locked.id})
        work = TurnInput(reports=[done(locked), done(other)], arrived=[delivery(next_one)])
        left = desk.turn.take(work, claim_limit=1)  # in one statement
        left.reports = [bad]
        left = desk.turn.take(left, claim_limit=0)  # a transaction
        assert [one.report.outcome.id for one in left.deferred] == [locked.id]
        assert [desk.state(job) for job in (locked, other, failing)] == ["running", "completed", "error"]
        assert len(desk.handed) == 1
        assert locked.id in desk.book
    wait_until(lambda: not left.deferred or _again(desk, left), within=10, saying="it is written")
    assert desk.state(locked) == "completed"
    assert locked.id not in desk.book


def _again(desk: Desk, left: TurnInput) -> bool:
    left.deferred = desk.turn.take(left, claim_limit=0).deferred
    return not left.deferred


def test_an_outcome_that_came_too_late_is_not_waited_for(desk: Desk) -> None:
    (job,) = desk.running(1)
    with desk.database.transaction() as connection:
        claims.release(connection, [(job.id, 1)], worker=WORKER)
    left = desk.turn.take(TurnInput(reports=[done(job)]), claim_limit=0)
    assert (left.deferred, desk.state(job), job.id in desk.book) == ([], "pending", False)


def test_a_worker_whose_turns_fail_says_so(postgres_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.worker.gate.ledger_thread._TROUBLE", 0.2)
    desk = postgres_desk
    jobs = desk.running(2)
    thread = LedgerThread(desk.turn, book=desk.book, concurrency=lambda: 9, pool_queues=lambda: True)
    thread.start()
    thread.report(done(jobs[0]).outcome)
    wait_until(lambda: desk.state(jobs[0]) == "completed", within=10, saying="a turn")
    assert thread.trouble() is None
    with desk.database.statement() as connection:
        connection.execute(text("ALTER TABLE background_jobs RENAME COLUMN result TO outcome"))
    thread.report(done(jobs[1]).outcome)
    trouble = wait_until(thread.trouble, within=10, saying="trouble")
    assert "outcomes cannot be written" in trouble
    with desk.database.statement() as connection:
        worker_rows.write_trouble(connection, WORKER, trouble)
        assert worker_rows.troubled(connection, within=timedelta(hours=1)) == [("celery@here", trouble)]
        connection.execute(text("ALTER TABLE background_jobs RENAME COLUMN outcome TO result"))
    wait_until(lambda: desk.state(jobs[1]) == "completed", within=10, saying="the next turn")
    wait_until(lambda: thread.trouble() is None, within=10, saying="no trouble any more")
    assert thread.close(within=10)
