"""Unique jobs: one for each key, whoever enqueues, and whatever becomes of it; on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord, group
from sqlalchemy import Engine, create_engine, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from celeriac import (
    Call,
    Limit,
    Unique,
    dead_letters,
    enqueue_in,
    enqueue_many,
    enqueue_together,
    prune,
    register,
)
from celeriac.broker_state import BrokerState
from celeriac.enqueue.template import ChunkMaker
from celeriac.errors import BadArgument, DuplicateJob, KeyBusy
from celeriac.ids import new_uuid
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.limit_tables import UNIQUE_KEYS
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import bulk_insert, claims, new_jobs, outcomes
from celeriac.ledger.writes.cancel import cancel
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.purge import purge
from celeriac.operate.actions import list_actions
from celeriac.operate.explain import Reason, explain
from celeriac.schedules import run_now
from celeriac.worker.followers import Followers
from tests.commands import call
from tests.unique_desk import ME, Desk, app_of, disposing

COMPLETED = JobState.COMPLETED


@pytest.fixture
def desk(redis_url: str, database_url: str) -> Iterator[Desk]:
    made = app_of(redis_url, database_url)
    with closing(made):
        yield Desk(made)


@pytest.fixture
def pg_desk(redis_url: str, postgres_url: str) -> Iterator[Desk]:
    """On PostgreSQL: SQLite has no transactions at the same time."""
    with closing(app_of(redis_url, postgres_url)) as made:
        yield Desk(made)


@pytest.fixture
def engine(desk: Desk) -> Iterator[Engine]:
    """The caller's own."""
    made = create_engine(desk.app.settings.database)
    yield made
    made.dispose()


# ---- which calls are the same


def test_the_second_call_is_answered_with_the_first_job(desk: Desk) -> None:
    first = desk.active.delay(7)
    assert desk.active.delay(order=7, note="other").id == first.id
    assert desk.active.delay(8).id != first.id
    assert desk.count() == 2
    assert desk.job(first.id).args == [7]


def test_a_key_is_of_one_task(desk: Desk) -> None:
    assert desk.active.delay(7).id != desk.waiting.delay(7).id


def test_a_call_says_another_rule_or_none(desk: Desk) -> None:
    first = desk.active.delay(7)
    assert desk.active.apply_async((7,), unique=False).id != first.id
    assert (
        desk.plain.apply_async((7,), unique=Unique()).id == desk.plain.apply_async((7,), unique=Unique()).id
    )
    assert desk.plain.delay(7).id != desk.plain.delay(7).id
    with pytest.raises(BadArgument, match="wanted a Unique"):
        desk.plain.apply_async((7,), unique=("order",))


# ---- how long a key is held


def test_an_active_key_is_held_until_the_end(desk: Desk) -> None:
    first = desk.active.apply_async((7,), max_tries=2)
    desk.claim(first.id)
    assert desk.active.delay(7).id == first.id
    desk.end(first.id, JobState.ERROR)
    assert desk.active.delay(7).id == first.id, "it waits for its next attempt"
    desk.claim(first.id)
    desk.end(first.id, JobState.COMPLETED, attempt=2)
    assert desk.active.delay(7).id != first.id


@pytest.mark.parametrize("way", ["completed", "failed", "cancelled waiting", "cancelled running", "purged"])
def test_every_end_gives_an_active_key_back(desk: Desk, way: str) -> None:
    first = desk.active.delay(7)
    with desk.database.transaction() as connection:
        if way == "cancelled waiting":
            cancel(connection, [UUID(first.id)])
        elif way == "purged":
            assert purge(connection, "normal", before=datetime.now(UTC) + timedelta(hours=1), limit=9) == 1
    if way not in ("cancelled waiting", "purged"):
        desk.claim(first.id)
        desk.end(first.id, JobState(way.split()[0]))
    assert desk.active.delay(7).id != first.id


def test_a_waiting_key_is_held_until_the_first_claim_and_never_again(desk: Desk) -> None:
    first = desk.waiting.apply_async((7,), max_tries=3)
    assert desk.waiting.delay(7).id == first.id
    desk.claim(first.id)
    second = desk.waiting.delay(7)
    assert second.id != first.id
    with desk.database.transaction() as connection:
        claims.release(connection, [(UUID(first.id), 1)], worker=ME)
    assert desk.waiting.delay(7).id == second.id, "the released one does not take it back"
    desk.claim(first.id)
    desk.end(first.id, JobState.ERROR)
    assert desk.waiting.delay(7).id == second.id, "nor does one that is tried again"


def test_a_key_with_a_time_is_held_for_that_time_whatever_becomes_of_the_job(desk: Desk) -> None:
    first = desk.hourly.delay(7)
    desk.claim(first.id)
    desk.end(first.id, JobState.FAILED)
    assert desk.hourly.delay(7).id == first.id
    assert desk.hourly.delay(8).id != first.id
    with desk.database.transaction() as connection:
        connection.execute(update(UNIQUE_KEYS).values(until=after(-1)))
    second = desk.hourly.delay(7)
    assert second.id != first.id
    assert desk.hourly.delay(7).id == second.id


def test_a_key_with_a_time_is_free_when_its_job_was_discarded(desk: Desk) -> None:
    first = desk.hourly.delay(7)
    desk.claim(first.id)
    desk.end(first.id, JobState.FAILED)
    assert dead_letters.discard_one(first.id, app=desk.app)
    assert desk.hourly.delay(7).id != first.id


def test_keys_whose_time_is_over_are_pruned(desk: Desk) -> None:
    desk.hourly.delay(7), desk.hourly.delay(8)
    assert prune(app=desk.app)["unique_keys"] == 0
    with desk.database.transaction() as connection:
        connection.execute(update(UNIQUE_KEYS).values(until=after(-1)))
    assert prune(app=desk.app)["unique_keys"] == 2


def test_a_time_that_is_longer_than_rows_are_kept_is_refused(desk: Desk) -> None:
    with pytest.raises(BadArgument, match="longer than jobs are kept: 7 days"):
        desk.plain.apply_async((7,), unique=Unique(while_=timedelta(days=8)))


# ---- what becomes of a call whose key is taken


def test_a_call_is_rejected_with_a_sentence_that_names_key_and_job(desk: Desk) -> None:
    first = desk.strict.delay(7)
    with pytest.raises(DuplicateJob) as refused:
        desk.strict.delay(7)
    assert refused.value.job_id == first.id
    assert str(refused.value).startswith(f"job {first.id} has the unique key strict:")
    assert desk.count() == 1


def test_a_waiting_job_takes_over_what_the_call_says(desk: Desk) -> None:
    first = desk.latest.apply_async((7, "old"), link=desk.plain.s())
    again = desk.latest.apply_async((7, "new"), priority="high", user_id="ada", timeout=9, max_tries=4)
    assert again.id == first.id
    found = desk.job(first.id)
    assert (found.args, found.queue, found.user_id, found.timeout) == ([7, "new"], "high", "ada", 9)
    assert (found.max_tries, found.try_count, found.dispatched) == (4, 0, None), "it is sent to its new list"
    assert desk.drain() >= {first.id}
    assert desk.calls == [("latest", (7, "new"))], "also from the message that was sent before"
    assert desk.job(first.id).result == [7, "new"]
    assert [each.args for each in desk.jobs("plain")] == [[[7, "new"]]], "what followed the job still does"


def test_a_message_that_is_on_its_way_runs_what_the_later_call_said(desk: Desk) -> None:
    desk.app.broker_state = BrokerState()
    first = desk.latest.delay(7, "old")
    (message,) = desk.messages()
    assert desk.latest.delay(7, "new").id == first.id
    desk.deliver(message)
    assert desk.calls == [("latest", (7, "new"))]
    assert desk.job(first.id).try_count == 1


def test_a_running_job_is_not_replaced(desk: Desk) -> None:
    first = desk.latest.delay(7, "old")
    desk.claim(first.id)
    assert desk.latest.delay(7, "new").id == first.id
    assert desk.job(first.id).args == [7, "old"]
    assert desk.count() == 1


# ---- every way to enqueue


def test_in_bulk_each_key_makes_one_job(desk: Desk) -> None:
    first = desk.active.delay(3)
    assert enqueue_many(desk.active, ([n % 5] for n in range(50))) == 4
    assert enqueue_many(desk.active, [{"order": n} for n in range(5)]) == 0
    assert desk.count() == 5
    assert desk.job(first.id).args == [3]
    calls = [Call((9, "one"), options={"priority": "low"}), Call((9, "two")), (9, "three")]
    assert enqueue_many(desk.latest, calls) == 1
    assert [each.args for each in desk.jobs("latest")] == [[9, "three"]]


def test_in_bulk_a_rejected_call_leaves_its_chunk_unwritten(desk: Desk) -> None:
    with pytest.raises(DuplicateJob):
        enqueue_many(desk.strict, [(1,), (2,), (1,)])
    assert desk.count() == 0


def test_no_chunk_of_unique_jobs_goes_by_copy(desk: Desk) -> None:
    maker = ChunkMaker(desk.active, {})
    (chunk,) = maker.chunks(([n] for n in range(9)), 1000)
    assert chunk.similar is None
    assert len({one.unique.key for one in chunk.jobs() if one.unique}) == 9
    (plain,) = ChunkMaker(desk.plain, {}).chunks(([n] for n in range(9)), 1000)
    assert plain.similar is not None


def test_in_a_transaction_the_key_is_taken_at_once_and_given_back_by_a_rollback(
    desk: Desk, engine: Engine
) -> None:
    with Session(engine) as session:
        with enqueue_in(session, app=desk.app):
            first = desk.active.delay(7)
            assert desk.active.delay(7).id == first.id
        session.rollback()
    second = desk.active.delay(7)
    assert second.id != first.id
    with Session(engine) as session:
        assert desk.active.apply_async((7,), session=session).id == second.id
        savepoint = session.begin_nested()
        other = desk.hourly.apply_async((8,), session=session)
        savepoint.rollback()
        third = desk.hourly.apply_async((8,), session=session)
        assert third.id != other.id
        session.commit()
    assert {each.id for each in desk.jobs()} == {second.id, third.id}


def test_a_call_whose_id_is_known_before_has_a_row_that_follows(desk: Desk) -> None:
    first = desk.active.delay(7)
    own = desk.active.apply_async((7,), task_id=str(new_uuid()))
    assert own.id != first.id
    assert desk.follows(own.id) == first.id
    with enqueue_together(app=desk.app):
        later = [desk.active.delay(7), desk.active.delay(8), desk.active.delay(8)]
    assert [desk.follows(one.id) for one in later] == [first.id, None, later[1].id]
    assert desk.drain() == {each.id for each in (first, own, *later)}
    assert sorted(desk.calls) == [("active", (7, "")), ("active", (8, ""))]
    assert {desk.job(one.id).result[0] for one in (first, own, later[0])} == {7}


def test_what_follows_a_call_is_not_dropped(desk: Desk) -> None:
    first = desk.active.delay(7)
    own = desk.active.apply_async((7,), link=desk.plain.s())
    assert desk.follows(own.id) == first.id
    desk.drain()
    assert [each.args for each in desk.jobs("plain")] == [[[7, ""]]]


def test_duplicate_members_of_a_chord_take_the_result_of_the_job_they_follow(desk: Desk) -> None:
    desk.active.delay(7)
    found = chord(group(desk.active.s(n) for n in (7, 7, 8, 8, 1)), desk.total.s())()
    desk.drain()
    assert len(desk.calls) == 3
    assert desk.job(found.id).result == 7 + 7 + 8 + 8 + 1
    assert found.get(timeout=10) == 31


def test_a_step_of_a_chain_that_is_a_duplicate_goes_on_with_the_others_result(desk: Desk) -> None:
    first = desk.active.apply_async((7,), priority="low")
    found = chain(desk.plain.si(7), desk.active.s(), desk.plain.s())()
    desk.drain()
    assert desk.calls == [("active", (7, ""))]
    assert desk.job(found.id).result == [7, ""] == desk.job(first.id).result


def test_a_job_of_its_own_key_in_a_chain_takes_the_result_of_the_step_before(desk: Desk) -> None:
    found = chain(desk.active.si(7), desk.active.si(7))()
    desk.drain()
    assert desk.calls == [("active", (7, ""))]
    assert desk.job(found.id).result == [7, ""]


def test_a_follower_of_a_job_that_failed_fails_with_its_exception(desk: Desk) -> None:
    first = desk.active.delay(7, "fail")
    found = group(desk.active.s(7), desk.plain.s(1))()
    desk.drain()
    follower = desk.job(found.results[0].id)
    assert (desk.job(first.id).state, follower.state) == (JobState.FAILED, JobState.FAILED)
    assert follower.attempts[0].exception_type == "ValueError"
    assert (follower.try_count, len(desk.calls)) == (1, 1)
    with pytest.raises(ValueError, match="on purpose"):
        found.results[0].get(timeout=10)


def test_a_follower_of_a_job_that_was_cancelled_is_cancelled(desk: Desk) -> None:
    first = desk.active.delay(7)
    own = desk.active.apply_async((7,), task_id=str(new_uuid()))
    with desk.database.transaction() as connection:
        cancel(connection, [UUID(first.id)])
    assert Followers(desk.database).sweep() == 1
    found = desk.job(own.id)
    assert (found.state, found.failure_info) == (
        JobState.CANCELLED,
        "cancelled: so was the job that it follows",
    )


def test_a_follower_takes_no_permit_and_no_turn(desk: Desk) -> None:
    limited = Limit("one", concurrency=1)

    @desk.app.task(name="both", unique=Unique(), limit=limited, shared=False)
    def both(value: int) -> int:
        return value

    first = both.delay(7)
    own = both.apply_async((7,), task_id=str(new_uuid()))
    assert desk.drain() == {first.id, own.id}
    assert desk.job(own.id).result == 7


def test_the_body_of_a_chord_cannot_be_unique(desk: Desk) -> None:
    with pytest.raises(BadArgument, match="is the body of a chord"):
        chord([desk.plain.s(1), desk.plain.s(2)], desk.active.s())()
    body = desk.active.s().set(unique=False)
    found = chord([desk.plain.s(1), desk.plain.s(2)], body)()
    desk.drain()
    assert desk.job(found.id).state is JobState.COMPLETED


def test_a_rejected_step_of_a_chain_is_cancelled_and_says_why(desk: Desk) -> None:
    first = desk.strict.apply_async((7,), countdown=3600)
    found = chain(desk.plain.si(7), desk.strict.s())()
    desk.drain()
    step = desk.job(found.id)
    assert step.state is JobState.CANCELLED
    assert step.failure_info == f"cancelled: rejected, job {first.id} has its unique key"


def test_a_rejected_member_refuses_its_group(desk: Desk) -> None:
    desk.strict.delay(7)
    with pytest.raises(DuplicateJob):
        group(desk.strict.s(7), desk.strict.s(8))()
    assert desk.count() == 1


def test_the_same_idempotency_key_and_unique_key_together(desk: Desk) -> None:
    first = desk.active.apply_async((7,), idempotency_key="a")
    assert desk.active.apply_async((7,), idempotency_key="a").id == first.id
    other = desk.active.apply_async((7,), idempotency_key="b")
    assert desk.follows(other.id) == first.id
    assert desk.active.delay(7).id == first.id
    with desk.database.transaction() as connection:
        cancel(connection, [UUID(first.id)])
    second = desk.active.delay(7)
    renewed = desk.active.apply_async((7,), idempotency_key="a")
    assert renewed.id == first.id
    assert desk.job(renewed.id).state is JobState.PENDING
    Followers(desk.database).sweep()
    assert desk.follows(renewed.id) == second.id, "its key is another's by now"


def test_fires_of_a_schedule_have_jobs_of_their_own_that_follow(desk: Desk) -> None:
    first = desk.active.delay(7)
    register("often", "active", args=(7,), every=60, app=desk.app)
    fired = run_now("often", app=desk.app)
    assert desk.follows(fired) == first.id
    desk.drain()
    assert desk.job(fired).result == [7, ""]


def test_a_foreign_message_of_a_unique_task_follows_as_well(desk: Desk) -> None:
    first = desk.active.delay(7)
    id = desk.deliver_foreign("active", 7)
    assert desk.follows(id) == first.id
    other = desk.deliver_foreign("active", 8)
    assert (desk.follows(other), desk.job(other).state) == (None, JobState.COMPLETED)


# ---- what may not wait, and is decided later


def test_a_job_that_is_written_undecided_takes_its_key_when_it_is_free(desk: Desk) -> None:
    (wanted,) = ChunkMaker(desk.active, {"countdown": 60}).chunks([(7,)], 9)
    (new,) = wanted.jobs()
    with desk.database.transaction() as connection:
        assert enqueue(connection, [new]) == 1
    id = str(new.id)
    assert desk.follows(id) == id
    assert Followers(desk.database).sweep() == 1
    found = desk.job(id)
    assert (desk.follows(id), found.state) == (None, JobState.PENDING)
    assert 0 < (found.next_attempt_after - found.queued).total_seconds() - 59 < 2
    assert desk.active.delay(7).id == id
    assert Followers(desk.database).sweep() == 0


@pytest.mark.parametrize("task", ["active", "hourly", "latest", "strict"])
def test_an_undecided_job_stands_back_where_its_key_is_taken(desk: Desk, task: str) -> None:
    first = getattr(desk, task).delay(7, "first")
    (wanted,) = ChunkMaker(getattr(desk, task), {}).chunks([(7, "second")], 9)
    (new,) = wanted.jobs()
    with desk.database.transaction() as connection:
        assert enqueue(connection, [new]) == 1
    assert Followers(desk.database).sweep() == 1
    if task == "strict":
        assert desk.job(str(new.id)).failure_info == f"cancelled: rejected, job {first.id} has its unique key"
    else:
        assert desk.follows(str(new.id)) == first.id
    assert desk.job(first.id).args == [7, "second" if task == "latest" else "first"]


def test_a_job_that_replaces_itself_by_others_gives_its_key_to_them(desk: Desk) -> None:
    @desk.app.task(name="pages", bind=True, unique=Unique(args=("order",)), shared=False)
    def pages(self: Any, order: int, page: int = 0) -> Any:
        desk.calls.append(("pages", page))
        if page == 0:
            raise self.replace(chain(pages.si(order, 1), desk.plain.s()))
        return page

    found = pages.delay(7)
    desk.drain()
    assert desk.calls == [("pages", 0), ("pages", 1)]
    assert desk.job(found.id).result == 1


# ---- races


@pytest.mark.parametrize("producers", [2, 16])
@pytest.mark.parametrize("task", ["active", "waiting", "hourly", "latest"])
def test_of_producers_at_the_same_moment_one_makes_the_job(desk: Desk, task: str, producers: int) -> None:
    wanted = getattr(desk, task)
    together = Barrier(producers, timeout=60)

    def call(number: int) -> str:
        together.wait()
        return str(wanted.delay(7, str(number)).id)

    with ThreadPoolExecutor(producers) as threads:
        ids = set(threads.map(call, range(producers)))
    assert len(ids) == 1
    assert desk.count() == 1


def test_bulks_of_the_same_keys_in_other_orders_do_not_wait_in_a_circle(desk: Desk) -> None:
    together = Barrier(8, timeout=60)

    def call(number: int) -> int:
        keys = random.Random(number).sample(range(200), 200)
        together.wait()
        return enqueue_many(desk.active, [(key,) for key in keys], chunk=50)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(call, range(8))) == 200
    assert desk.count() == 200


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_call_waits_for_the_end_of_a_transaction_that_has_its_key(pg_desk: Desk, ending: str) -> None:
    desk = pg_desk
    with disposing(create_engine(desk.app.settings.database)) as engine:
        session = Session(engine)
        first = desk.active.apply_async((7,), session=session)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: desk.active.delay(7).id)
            desk.wait_for_a_lock()
            getattr(session, ending)()
            second = waiting.result(60)
        session.close()
    assert (second == first.id) is (ending == "commit")
    assert desk.count() == 1


@pytest.mark.parametrize("task", ["active", "hourly"])
def test_a_call_that_waits_too_long_is_refused_by_the_name_of_its_key(
    redis_url: str, postgres_url: str, task: str
) -> None:
    with closing(app_of(redis_url, postgres_url, patience=4)) as app:
        desk = Desk(app)
        wanted = getattr(desk, task)
        with disposing(create_engine(app.settings.database)) as engine, Session(engine) as session:
            first = wanted.apply_async((7,), session=session)
            with pytest.raises(KeyBusy, match=f"the unique key {task}:.* did not end within 3.2 s"):
                wanted.delay(7)
            with pytest.raises(KeyBusy, match="or one of 1 others"):
                enqueue_many(wanted, [(7,), (8,)])
            session.commit()
        assert [each.id for each in desk.jobs()] == [first.id], "nothing of what was refused"


def test_a_caller_that_waits_in_its_own_transaction_has_its_own_bound_again(pg_desk: Desk) -> None:
    with disposing(create_engine(pg_desk.app.settings.database)) as engine, Session(engine) as session:
        session.execute(text("SET LOCAL lock_timeout = '7s'"))
        pg_desk.active.apply_async((7,), session=session)
        pg_desk.active.apply_async((7,), session=session)
        assert session.execute(text("SHOW lock_timeout")).scalar_one() == "7s"


def test_a_waiting_key_is_free_for_who_waits_for_the_claim_of_its_job(pg_desk: Desk) -> None:
    desk = pg_desk
    first = desk.waiting.delay(7)
    with ThreadPoolExecutor(1) as thread:
        with desk.database.transaction() as connection:
            assert claims.claim(connection, [UUID(first.id)], worker=ME)
            waiting = thread.submit(lambda: desk.waiting.delay(7).id)
            desk.wait_for_a_lock()
        second = waiting.result(60)
    assert second != first.id


def test_an_active_key_is_free_for_who_waits_for_the_end_of_its_job(pg_desk: Desk) -> None:
    desk = pg_desk
    first = desk.active.delay(7)
    desk.claim(first.id)
    with ThreadPoolExecutor(1) as thread:
        with desk.database.transaction() as connection:
            outcomes.record(connection, [Outcome(id=UUID(first.id), attempt=1, state=COMPLETED)], worker=ME)
            waiting = thread.submit(lambda: desk.active.delay(7).id)
            desk.wait_for_a_lock()
        second = waiting.result(60)
    assert second != first.id


def test_who_replaces_a_job_waits_for_its_claim_and_makes_another(pg_desk: Desk) -> None:
    desk = pg_desk
    rule = Unique(args=("order",), while_="waiting", on_conflict="replace")
    first = desk.waiting.apply_async((7, "old"), unique=rule)
    with ThreadPoolExecutor(1) as thread:
        with desk.database.transaction() as connection:
            assert claims.claim(connection, [UUID(first.id)], worker=ME)
            waiting = thread.submit(lambda: desk.waiting.apply_async((7, "new"), unique=rule).id)
            desk.wait_for_a_lock()
        second = waiting.result(60)
    assert second != first.id
    assert (desk.job(first.id).args, desk.job(second).args) == ([7, "old"], [7, "new"])


def test_a_transaction_that_sees_old_data_is_told_to_run_again(pg_desk: Desk) -> None:
    url = pg_desk.app.settings.database
    made = create_engine(url, isolation_level="REPEATABLE READ")
    with disposing(made) as engine, Session(engine) as session:
        session.execute(text("SELECT 1"))
        first = pg_desk.active.delay(7)
        with pytest.raises(OperationalError) as refused:
            pg_desk.active.apply_async((7,), session=session)
        assert "run this one again" in refused.value.__notes__[0]
        session.rollback()
        assert pg_desk.active.apply_async((7,), session=session).id == first.id


def test_who_must_not_wait_writes_undecided_rows(pg_desk: Desk) -> None:
    register("often", "active", args=(7,), every=60, app=pg_desk.app)
    with disposing(create_engine(pg_desk.app.settings.database)) as engine, Session(engine) as session:
        first = pg_desk.active.apply_async((7,), session=session)
        fired = run_now("often", app=pg_desk.app)
        assert pg_desk.follows(fired) == fired
        keeper = Followers(pg_desk.database)
        assert keeper.sweep() == 0, "it does not wait for the transaction either"
        session.commit()
    assert keeper.sweep() == 1
    assert pg_desk.follows(fired) == first.id


def test_a_replay_meets_a_producer_at_the_same_moment(desk: Desk) -> None:
    for order in range(10):
        dead = desk.dead_letter(order)
        together = Barrier(2, timeout=60)

        def call(order: int = order, together: Barrier = together) -> str:
            together.wait()
            return str(desk.active.delay(order).id)

        with ThreadPoolExecutor(1) as thread:
            made = thread.submit(call)
            together.wait()
            done, kept_back = desk.replay(dead)
            id = made.result(60)
        assert (done == {dead}) is (id == dead)
        assert done or kept_back[dead] in (id, None)
        desk.claim(id), desk.end(id, COMPLETED, attempt=desk.job(id).try_count)


# ---- replays


def test_a_replay_takes_the_key_only_if_it_is_free(desk: Desk) -> None:
    one, two, other = desk.dead_letter(7), desk.dead_letter(7), desk.dead_letter(8)
    assert desk.replay(one, two, other) == ({one, other}, {two: one}), "two of one key: the first takes it"
    assert desk.active.delay(7).id == one
    assert desk.replay(two) == (set(), {two: one})
    with desk.database.transaction() as connection:
        cancel(connection, [UUID(one)])
    assert desk.replay(two) == ({two}, {})


def test_a_replayed_job_whose_waiting_key_is_gone_holds_none(desk: Desk) -> None:
    first = desk.waiting.delay(7)
    desk.claim(first.id)
    desk.end(first.id, JobState.FAILED)
    second = desk.waiting.delay(7)
    assert desk.replay(first.id) == ({first.id}, {})
    assert desk.waiting.delay(7).id == second.id


def test_a_replayed_follower_waits_for_its_job_again(desk: Desk) -> None:
    first = desk.active.delay(7, "fail")
    own = desk.active.apply_async((7,), task_id=str(new_uuid()))
    desk.drain()
    assert desk.job(own.id).state is JobState.FAILED
    with desk.database.transaction() as connection:
        connection.execute(
            update(JOBS).where(JOBS.c.id == UUID(first.id)).values(payload=b'[[7, ""], {}, {}]')
        )
    assert desk.replay(first.id, own.id) == ({first.id, own.id}, {})
    desk.drain()
    assert (desk.job(own.id).state, desk.job(own.id).result) == (JobState.COMPLETED, [7, ""])
    assert len(desk.calls) == 2


def test_a_dead_letter_with_other_arguments_has_the_key_of_these(desk: Desk) -> None:
    dead, other = desk.dead_letter(7), desk.active.delay(8)
    with pytest.raises(
        DuplicateJob, match=f"job {other.id} has the unique key active:.*: it is not replayed"
    ):
        dead_letters.replay_one(dead, args=(8,), app=desk.app)
    assert desk.job(dead).args == [7], "nothing of it was done"
    assert dead_letters.replay_one(dead, args=(9,), app=desk.app)
    assert desk.active.delay(9).id == dead


def test_a_follower_that_is_given_other_arguments_runs_itself(desk: Desk) -> None:
    desk.active.delay(7, "fail")
    own = desk.active.apply_async((7,), task_id=str(new_uuid()))
    desk.drain()
    assert dead_letters.replay_one(own.id, args=(8,), app=desk.app)
    desk.drain()
    assert (desk.follows(own.id), desk.job(own.id).result) == (None, [8, ""])


def test_operators_are_told_of_each_job_that_is_not_replayed(desk: Desk) -> None:
    one, two, other = desk.dead_letter(7), desk.dead_letter(7), desk.dead_letter(8)
    single = call(desk.app, "jobs", "replay", one)
    assert single.exit_code == 0
    refused = call(desk.app, "jobs", "replay", two)
    assert refused.exit_code == 1
    assert f"job {one} has the unique key active:" in refused.stderr
    many = call(desk.app, "dead-letters", "replay", "--task", "active", "--yes")
    assert "replayed 1" in many.stdout
    assert "1 were not" in many.stderr
    assert desk.job(other).state is JobState.PENDING
    (line,) = list_actions(action="not replayed", app=desk.app).actions
    assert (line.job_id, line.done) == (two, 0)
    assert (line.reason or "").startswith(f"job {one} has its unique key active:")
    assert desk.replayed_by_cause("active") == 0


def test_explain_says_who_is_answered_with_a_job_and_who_follows_it(desk: Desk) -> None:
    first = desk.active.delay(7)
    said = explain(first.id, app=desk.app).answers or ""
    assert said.startswith("a call with the unique key active:")
    assert said.endswith("is answered with this job until it has ended")
    own = desk.active.apply_async((7,), task_id=str(new_uuid()))
    found = explain(own.id, app=desk.app)
    assert (found.reason, found.answers) == (Reason.FOLLOWS, None)
    assert found.sentence == f"it takes the result of job {first.id}, which had its unique key and is pending"
    assert found.remedy == f"celery -A app jobs explain {first.id}"
    assert "waits for other jobs" in call(desk.app, "jobs", "show", own.id).stdout
    waiting = desk.waiting.delay(7)
    assert (explain(waiting.id, app=desk.app).answers or "").endswith("until its first attempt begins")
    desk.claim(waiting.id)
    assert explain(waiting.id, app=desk.app).answers is None
    hourly = desk.hourly.delay(7)
    assert "is answered with this job until 20" in (explain(hourly.id, app=desk.app).answers or "")
    assert explain(desk.plain.delay().id, app=desk.app).answers is None


def test_a_job_that_is_not_unique_pays_nothing_for_those_that_are() -> None:
    """Its statements are what they were: no column, no condition, no other conflict."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's dialects are not typed
    for statement in (
        new_jobs.insert("postgresql", True, (), False),
        bulk_insert._insert_all((), False),
        claims.claim_statement("postgresql"),
        outcomes.complete_statement("postgresql"),
    ):
        text = str(statement.compile(dialect=dialect))
        assert "unique_" not in text
        assert "follows" not in text
    assert "ON CONFLICT (id) DO NOTHING" in str(
        new_jobs.insert("postgresql", True, (), False).compile(dialect=dialect)
    )


def test_the_answer_of_a_canvas_is_its_own(desk: Desk) -> None:
    desk.active.delay(7)
    found = group(desk.active.s(7), desk.active.s(7))()
    desk.drain()
    assert found.get(timeout=10) == [[7, ""], [7, ""]]
