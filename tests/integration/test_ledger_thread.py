"""The ledger thread of a worker that ends: what was told to it is written, whatever waits beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from kombu.message import Message
from sqlalchemy import make_url, select

from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.ledger_thread import LedgerThread
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.watermarks import Watermarks
from tests.new_jobs import new_job
from tests.support import wait_until

WORKER = UUID(new_id())
ME = WorkerStart(
    id=WORKER, hostname="celery@here", pid=1, pool="threads", concurrency=9, queues=[], tasks="", version="0"
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url), pool=2)) as database:
        yield database


def delivery(job: UUID) -> Any:
    headers = {"id": str(job), "task": "tests.noop", STAMP: {"dispatch": 1}}
    message = Message(body="[[], {}, {}]", headers=headers, delivery_info={"routing_key": "normal"})
    message._raw = {}
    return message


def worker(
    database: Database, *, dropped: list[Any] | None = None, handed: list[Any] | None = None
) -> tuple[LedgerThread, ClaimBook]:
    book = ClaimBook()
    drop = (lambda _: None) if dropped is None else dropped.extend
    hand_over = (lambda _: None) if handed is None else handed.extend
    turn = Turn(
        database,
        worker=WORKER,
        book=book,
        tasks={"tests.noop"},
        max_tries=1,
        watermarks=Watermarks(10.0),
        callbacks=TurnCallbacks(
            hand_over=hand_over, drop=drop, fetch_results=lambda _: {}, on_change=lambda: None
        ),
        meter=Meter(),
    )
    return LedgerThread(turn, book=book, concurrency=lambda: 100, pool_queues=lambda: True), book


@pytest.mark.parametrize(
    ("ended_by", "states", "tries"),
    [(None, [JobState.PENDING] * 2, [0, 0]), ("TypeError: odd", [JobState.ERROR, JobState.FAILED], [1, 1])],
    ids=["by an operator", "by an exception"],
)
def test_what_a_worker_held_when_an_exception_ended_it_is_lost_and_counted(
    database: Database, ended_by: str | None, states: list[JobState], tries: list[int]
) -> None:
    """Or a job that ends its worker each time would do so without end."""
    jobs = [new_job(id=UUID(new_id()), max_tries=most) for most in (2, 1)]
    with database.transaction() as connection:
        worker_rows.sign_on(connection, ME)
        enqueue(connection, jobs)
        claims.claim(connection, [job.id for job in jobs], worker=WORKER)
    thread, book = worker(database)
    for job in jobs:
        book.enter(job.id)
        book.won(job.id, 1)
    thread.start()
    assert thread.close(within=30, ended_by=ended_by)
    with database.reading() as connection:
        found = [job_rows.find(connection, job.id) for job in jobs]
    assert [row.state for row in found if row] == states
    assert [row.try_count for row in found if row] == tries
    assert {row.failure_info for row in found if row} == {
        ended_by and f"lost: WorkerLost: its worker was ended by {ended_by}"
    }


def test_every_outcome_is_written_at_the_end_however_many_messages_wait(database: Database) -> None:
    ran, waiting = [[new_job(id=UUID(new_id())) for _ in range(count)] for count in (3, 700)]
    with database.transaction() as connection:
        worker_rows.sign_on(connection, ME)
        enqueue(connection, ran + waiting)
        claims.claim(connection, [job.id for job in ran], worker=WORKER)
    thread, _ = worker(database)
    thread.stop_claiming()
    for job in waiting:
        thread.receive(delivery(job.id))
    for job in ran:
        thread.report(Outcome(id=job.id, attempt=1, state=JobState.COMPLETED))
    thread.start()
    assert thread.close(within=30)
    with database.reading() as connection:
        states = [job_rows.find(connection, job.id).state for job in ran]  # type: ignore[union-attr]
    assert states == [JobState.COMPLETED] * 3


def test_a_job_whose_row_a_call_has_locked_is_claimed_when_it_is_free(postgres_url: str) -> None:
    """A claim waits for no lock; its message is not dropped for that, and the others do not wait."""
    locked, free = new_job(job_type="tests.noop"), new_job(job_type="tests.noop")
    dropped: list[Any] = []
    handed: list[Any] = []
    with closing(Database(make_url(postgres_url), pool=3)) as database:
        with database.transaction() as connection:
            worker_rows.sign_on(connection, ME)
            enqueue(connection, [locked, free])
        thread, book = worker(database, dropped=dropped, handed=handed)
        thread.start()
        with database.transaction() as caller:
            caller.execute(select(JOBS.c.id).where(JOBS.c.id == locked.id).with_for_update())
            for job in (locked, free):
                thread.receive(delivery(job.id))
            wait_until(lambda: len(handed) == 1, within=30, saying="the other job is claimed")
            assert book.attempt_of(locked.id) is None
        wait_until(lambda: len(handed) == 2, within=5, saying="it is claimed, with the same message")
        assert not dropped
        assert [book.attempt_of(job.id) for job in (locked, free)] == [1, 1]
        assert thread.close(within=30)


def test_a_job_whose_row_stays_locked_does_not_keep_its_message_for_ever(postgres_url: str) -> None:
    """It is found, and sent again, by the search for lost messages."""
    job = new_job(job_type="tests.noop")
    dropped: list[Any] = []
    with closing(Database(make_url(postgres_url), pool=3)) as database:
        with database.transaction() as connection:
            worker_rows.sign_on(connection, ME)
            enqueue(connection, [job])
        thread, _ = worker(database, dropped=dropped)
        thread.start()
        with database.transaction() as caller:
            caller.execute(select(JOBS.c.id).where(JOBS.c.id == job.id).with_for_update())
            thread.receive(delivery(job.id))
            wait_until(lambda: bool(dropped), within=60, saying="its message is dropped")
            assert thread.close(within=30), "it ends, though the row is locked"
