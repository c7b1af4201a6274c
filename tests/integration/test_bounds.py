"""Every statement has a bound: nobody waits without end for a silent connection, a locked row, a deadlock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from celeriac.ledger.connection.database import UNREACHABLE, Database
from celeriac.ledger.reads.job_filter import Filter
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep import dispatch
from celeriac.ledger.writes import cancel, claims, outcomes, quarantine, replay
from celeriac.ledger.writes.cancel import cancel_fitting
from celeriac.ledger.writes.new_jobs import NewJob, enqueue
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.turn.complete_and_claim import complete_and_claim
from tests.new_jobs import new_job
from tests.proxy import Proxy
from tests.support import wait_until

WORKER = UUID(int=1)
LOST = Failure(AttemptKind.LOST, "Lost", "gone")


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(postgres_url), pool=4)) as database:
        yield database


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    port = make_url(postgres_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


def through(proxy: Proxy, url: str) -> Database:
    return Database(make_url(url).set(port=proxy.port), pool=3, longest=1.0)


USES: dict[str, Callable[[Database], object]] = {
    "a transaction": lambda d: d.again(lambda c: c.execute(text("SELECT 1"))),
    "a statement": lambda d: _read(d),
    "complete and claim": lambda d: complete_and_claim(d, [], [UUID(int=5)], worker=WORKER),
}


def _read(database: Database) -> None:
    with database.reading() as connection:
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("use", USES)
def test_a_connection_that_only_acknowledges_is_given_up(proxy: Proxy, postgres_url: str, use: str) -> None:
    with closing(through(proxy, postgres_url)) as database:
        with database.reading(), database.reading(), database.reading():
            pass  # three that are idle in the pool now
        proxy.hang()
        began = time.monotonic()
        with pytest.raises(UNREACHABLE):
            USES[use](database)
        assert time.monotonic() - began < 15, "a bound of a second"
        proxy.mend()
        USES[use](database)  # the two others, which are as dead, are not tried one after another


def new_rows(database: Database, count: int, **changes: object) -> list[UUID]:
    jobs: list[NewJob] = [new_job(**changes) for _ in range(count)]
    with database.transaction() as connection:
        enqueue(connection, jobs)
    return [job.id for job in jobs]


def running(database: Database, count: int) -> list[UUID]:
    ids = new_rows(database, count)
    with database.transaction() as connection:
        claims.claim(connection, ids, worker=WORKER)
    return ids


def test_a_lock_is_not_waited_for_without_end(postgres_url: str) -> None:
    with closing(Database(make_url(postgres_url), pool=2, longest=0.3)) as database:
        ids = new_rows(database, 1)
        with database.transaction(within=60) as stranger:
            stranger.execute(text("SELECT 1 FROM background_jobs FOR UPDATE"))
            with (
                pytest.raises(DBAPIError, match="lock timeout"),
                database.transaction(within=60) as connection,
            ):
                cancel.cancel(connection, ids)


#: Statements of many rows, each in a transaction of its own.
WRITES: dict[str, Callable[[Connection, list[UUID]], object]] = {
    "complete": lambda c, ids: outcomes.record(
        c, [Outcome(id=job, attempt=1, state=JobState.COMPLETED) for job in ids], worker=WORKER
    ),
    "fail": lambda c, ids: outcomes.record(
        c,
        [Outcome(id=job, attempt=1, state=JobState.ERROR, failure=LOST) for job in ids],
        worker=WORKER,
    ),
    "release": lambda c, ids: claims.release(c, [(job, 1) for job in ids], worker=WORKER),
    "expire": lambda c, ids: claims.expire(c, ids),
    "postpone": lambda c, ids: quarantine.postpone(c, ids, delay=1, limit=9),
    "unmark": lambda c, ids: dispatch.unmark(c, ids),
    "cancel": lambda c, ids: cancel.cancel(c, ids),
    "cancel of a filter": lambda c, ids: cancel_fitting(c, ids, Filter(task="mail.send")),
    "replay": lambda c, ids: replay.replay(c, ids),
}
#: Those that leave locked rows out.
SKIP = {"complete", "fail", "release", "expire", "postpone"}
STATE = {
    "complete": "running",
    "fail": "running",
    "release": "running",
    "replay": "cancelled",
}


@pytest.mark.parametrize("name", WRITES)
def test_many_rows_are_locked_in_the_order_of_their_ids(database: Database, name: str) -> None:
    """The statement, which names them backwards, meets the last one locked: has it the first one by then?"""
    state = STATE.get(name, "pending")
    ids = sorted(running(database, 3) if state == "running" else new_rows(database, 3, expires_in=-1.0))
    if state == "cancelled":
        with database.transaction() as connection:
            cancel.cancel(connection, ids)
    with database.transaction() as stranger, database.statement() as beside:
        stranger.execute(text("SELECT 1 FROM background_jobs WHERE id = :id FOR UPDATE"), {"id": ids[1]})
        if name in SKIP:
            with database.transaction() as connection:
                WRITES[name](connection, ids[::-1])  # returns: it waits for nobody
            return
        waiting = threading.Thread(target=database.again, args=(lambda c: WRITES[name](c, ids[::-1]),))
        waiting.start()
        wait_until(
            lambda: _free(beside, ids) == {ids[2]}, within=15, saying="the first is locked, not the last"
        )
    waiting.join(15)
    assert not waiting.is_alive()


def _free(connection: Connection, ids: list[UUID]) -> set[UUID]:
    """Which of them nobody has locked."""
    found = connection.execute(
        text("SELECT id FROM background_jobs WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED"), {"ids": ids}
    )
    return set(found.scalars())


def test_a_deadlock_is_tried_again(database: Database) -> None:
    """Two that lock two rows crosswise: PostgreSQL ends one of them, which has done its work all the same."""
    one, other = new_rows(database, 2)
    met = threading.Barrier(2)
    tries: list[UUID] = []

    def crosswise(first: UUID, second: UUID) -> None:
        def work(connection: Connection) -> None:
            tries.append(first)
            _touch(connection, first)
            if len(tries) <= 2:
                met.wait(15)
            _touch(connection, second)

        database.again(work)

    threads = [threading.Thread(target=crosswise, args=pair) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(tries) == 3
    with database.reading() as connection:
        counted = connection.execute(text("SELECT sum(dispatch_count) FROM background_jobs")).scalar()
    assert counted == 2 + 4  # that they were enqueued with, and two each


def _touch(connection: Connection, job: UUID) -> None:
    statement = "UPDATE background_jobs SET dispatch_count = dispatch_count + 1 WHERE id = :id"
    connection.execute(text(statement), {"id": job})


def test_a_cancel_of_a_filter_touches_only_what_fits_still(database: Database) -> None:
    waiting, begun = new_rows(database, 2)
    wanted = Filter(state=JobState.PENDING)
    with database.transaction() as connection:
        claims.claim(connection, [begun], worker=WORKER)  # since it was counted
        assert cancel_fitting(connection, [waiting, begun], wanted) == 1
    with database.reading() as connection:
        rows = connection.execute(text("SELECT id, state, cancel_requested FROM background_jobs")).all()
    assert {(row.id, row.state, row.cancel_requested) for row in rows} == {
        (waiting, "cancelled", None),
        (begun, "running", None),
    }
