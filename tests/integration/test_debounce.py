"""Debounced and throttled tasks: which call runs, and when; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from celery import chord, group
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from celeriac import Debounce, Limit, Throttle, Unique, enqueue_in, enqueue_many, enqueue_together
from celeriac.broker_state import BrokerState
from celeriac.display import stamp
from celeriac.enqueue.capture import capture_jobs
from celeriac.errors import BadArgument
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.limit_tables import UNIQUE_KEYS
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep.dispatch import take_due
from celeriac.ledger.writes import bulk_insert, claims
from celeriac.operate.explain import Reason, explain
from celeriac.worker.followers import Followers
from tests.unique_desk import ME, Desk, app_of, disposing

WAIT, MOST = 5.0, 60.0


class TimedDesk(Desk):
    def __init__(self, app: Any) -> None:
        super().__init__(app)
        by_order: dict[str, Any] = {"args": ("order",)}

        def add(name: str, **options: Any) -> Any:
            @app.task(name=name, shared=False, **{"max_tries": 1, **options})
            def run(order: int = 0, note: str = "") -> list[Any]:
                self.calls.append((name, (order, note)))
                return [order, note]

            return run

        self.settling = add("settling", debounce=Debounce(WAIT, at_most=MOST, **by_order))
        self.limited = add("limited", debounce=Debounce(WAIT, **by_order), limit=Limit("one", concurrency=1))
        self.paced = add("paced", throttle=Throttle(60, **by_order))

    def moments(self, id: str) -> tuple[float, float]:
        """Seconds from now until it is due, and since it was accepted; on the database's clock."""
        c = JOBS.c
        with self.database.reading() as connection:
            row = connection.execute(
                select(c.next_attempt_after, c.queued, after(0.0).label("clock")).where(c.id == UUID(id))
            ).one()
        return (row.next_attempt_after - row.clock).total_seconds(), (row.clock - row.queued).total_seconds()

    def undecided(self, order: int, note: str, **options: Any) -> str:
        """A call of a writer that must not wait for its key."""
        with self.database.transaction() as connection:
            with capture_jobs() as calls:
                made = self.settling.apply_async((order, note), **options)
            bulk_insert.enqueue_all(connection, calls)
        return str(made.id)

    def set(self, id: str, **values: Any) -> None:
        """As if time had passed."""
        with self.database.transaction() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(**values))

    def row(self, id: str) -> Any:
        with self.database.reading() as connection:
            return connection.execute(select(JOBS).where(JOBS.c.id == UUID(id))).one()

    def send_what_is_due(self) -> list[UUID]:
        with self.database.transaction() as connection:
            return [message.id for message in take_due(connection, 10, limit=9)]


@pytest.fixture
def desk(redis_url: str, database_url: str) -> Iterator[TimedDesk]:
    with closing(app_of(redis_url, database_url)) as made:
        yield TimedDesk(made)


@pytest.fixture
def pg_desk(redis_url: str, postgres_url: str) -> Iterator[TimedDesk]:
    with closing(app_of(redis_url, postgres_url)) as made:
        yield TimedDesk(made)


# ---- when a debounced job runs, and what


def test_the_last_calls_arguments_run_so_long_after_the_last_call(desk: TimedDesk) -> None:
    first = desk.settling.delay(7, "one")
    desk.set(first.id, next_attempt_after=after(1.0), queued=after(-4.0))  # four seconds later
    assert desk.settling.delay(order=7, note="two").id == first.id
    due, age = desk.moments(first.id)
    assert WAIT - 2 < due <= WAIT, "it waits anew"
    assert age >= 4, "the first call's time stays"
    assert desk.drain() == set(), "it is not due"
    desk.set(first.id, next_attempt_after=after(-1.0))
    assert desk.drain() == {first.id}
    assert desk.calls == [("settling", (7, "two"))]


def test_it_is_due_so_long_after_the_first_call_whatever_follows(desk: TimedDesk) -> None:
    first = desk.settling.delay(7, "one")
    desk.set(first.id, queued=after(2.0 - MOST))
    assert desk.settling.delay(7, "two").id == first.id
    due, _ = desk.moments(first.id)
    assert due <= 2, "and not five seconds from now"
    desk.set(first.id, queued=after(-MOST - 1))
    assert desk.settling.delay(7, "three").id == first.id
    assert desk.drain() == {first.id}
    assert desk.calls == [("settling", (7, "three"))]


def test_other_keys_are_other_jobs_and_a_begun_one_is_over(desk: TimedDesk) -> None:
    first = desk.settling.delay(7)
    assert desk.settling.delay(8).id != first.id
    desk.set(first.id, next_attempt_after=after(-1.0))
    desk.claim(first.id)
    second = desk.settling.delay(7)
    assert second.id != first.id
    due, _ = desk.moments(second.id)
    assert WAIT - 2 < due <= WAIT


def test_a_message_in_the_broker_neither_runs_too_early_nor_what_an_earlier_call_said(
    desk: TimedDesk,
) -> None:
    desk.app.broker_state = BrokerState()
    first = desk.settling.delay(7, "one")
    assert desk.messages() == [], "no message leaves before it is due"
    desk.set(first.id, next_attempt_after=after(-0.01))
    assert desk.send_what_is_due() == [UUID(first.id)]
    sent = desk.row(first.id)
    desk.settling.delay(7, "two")
    row = desk.row(first.id)
    assert (row.dispatched, sent.dispatched is None) == (None, False), "the mark is cleared"
    with desk.database.transaction() as connection:
        assert claims.claim(connection, [UUID(first.id)], worker=ME) == {}, "the copy draws a blank"
    desk.set(first.id, next_attempt_after=after(-0.01))
    assert desk.send_what_is_due() == [UUID(first.id)]
    assert desk.row(first.id).dispatch_count == sent.dispatch_count + 1, "by which the old copy is told"
    assert desk.row(first.id).message_tag != sent.message_tag
    desk.set(first.id, dispatched=None)  # which drain looks for
    assert desk.drain() == {first.id}
    assert desk.calls == [("settling", (7, "two"))]


def test_a_copy_that_is_drawn_when_the_job_is_due_runs_the_last_calls_arguments(desk: TimedDesk) -> None:
    desk.app.broker_state = BrokerState()
    first = desk.settling.apply_async((7, "one"), debounce=False)  # sent at once
    (message,) = desk.messages()
    rule = {"unique_key": desk.row(desk.settling.delay(7).id).unique_key, "unique_while": "waiting"}
    desk.set(desk.jobs("settling")[0].id, unique_key=None)
    desk.set(first.id, queued=after(-MOST - 1), **rule)
    assert desk.settling.delay(7, "two").id == first.id, "due at once, with its message on the way"
    assert desk.row(first.id).dispatched is not None
    desk.deliver(message)
    assert desk.calls == [("settling", (7, "two"))]


def test_a_job_with_a_limit_gives_its_permit_back_while_it_waits_anew(desk: TimedDesk) -> None:
    first = desk.limited.delay(7, "one")
    desk.set(first.id, next_attempt_after=after(-1.0), dispatched=after(0.0))  # admitted
    assert desk.limited.delay(7, "two").id == first.id
    row = desk.row(first.id)
    assert (row.dispatched, row.permit_1) == (None, "one:")


def test_a_retry_waits_for_its_backoff_and_not_for_calls(desk: TimedDesk) -> None:
    first = desk.settling.apply_async((7, "one"), max_tries=2)
    desk.set(first.id, next_attempt_after=after(-1.0))
    desk.claim(first.id)
    desk.end(first.id, JobState.ERROR)
    assert desk.settling.delay(7, "two").id != first.id
    assert desk.job(first.id).args == [7, "one"]


def test_explain_says_how_long_further_calls_let_it_wait(desk: TimedDesk) -> None:
    first = desk.settling.delay(7)
    found = explain(first.id, app=desk.app)
    latest = stamp(desk.row(first.id).queued + timedelta(seconds=MOST))
    assert found.reason is Reason.NOT_DUE
    assert (found.answers or "").endswith(
        f"until its first attempt begins, which then waits 5.0 s anew, until {latest} at the latest"
    )


# ---- every way to enqueue


def test_a_call_says_how_long_it_waits(desk: TimedDesk) -> None:
    first = desk.plain.apply_async((7,), debounce=Debounce(2, at_most=9))
    assert desk.plain.apply_async((7,), debounce=Debounce(4)).id == first.id
    due, _ = desk.moments(first.id)
    assert 2 < due <= 4
    assert desk.settling.apply_async((7,), debounce=False).id in desk.drain()


@pytest.mark.parametrize("said", [{"countdown": 3}, {"eta": datetime(2100, 1, 1, tzinfo=UTC)}])
def test_a_call_that_says_when_it_is_due_is_refused(desk: TimedDesk, said: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match="no countdown, no eta, or say debounce=False"):
        desk.settling.apply_async((7,), **said)
    assert desk.count() == 0
    assert desk.settling.apply_async((7,), debounce=False, **said).id


def test_a_body_of_a_chord_cannot_be_debounced(desk: TimedDesk) -> None:
    with pytest.raises(BadArgument, match=r"say .set\(debounce=False\)"):
        chord([desk.plain.s(1)], desk.settling.s())()
    with pytest.raises(BadArgument, match=r"say .set\(throttle=False\)"):
        chord([desk.plain.s(1)], desk.paced.s())()


def test_in_bulk_the_last_call_of_each_key_runs(desk: TimedDesk) -> None:
    first = desk.settling.delay(1, "before")
    assert enqueue_many(desk.settling, [(1, "a"), (2, "b"), (1, "c"), (2, "d")]) == 1
    assert {tuple(each.args or ()) for each in desk.jobs("settling")} == {(1, "c"), (2, "d")}
    for each in desk.jobs("settling"):
        assert WAIT - 2 < desk.moments(each.id)[0] <= WAIT
        desk.set(each.id, next_attempt_after=after(-1.0))
    assert first.id in desk.drain()
    assert sorted(desk.calls) == [("settling", (1, "c")), ("settling", (2, "d"))]


def test_in_a_transaction_a_call_that_is_rolled_back_was_never_made(desk: TimedDesk) -> None:
    first = desk.settling.delay(7, "one")
    with disposing(create_engine(desk.app.settings.database)) as engine, Session(engine) as session:
        with enqueue_in(session, app=desk.app):
            assert desk.settling.delay(7, "two").id == first.id
        session.rollback()
        assert desk.job(first.id).args == [7, "one"]
        desk.set(first.id, next_attempt_after=after(1.0))
        with enqueue_in(session, app=desk.app):
            assert desk.settling.delay(7, "three").id == first.id
        session.commit()
    assert desk.job(first.id).args == [7, "three"]
    assert desk.moments(first.id)[0] > 2


def test_calls_in_a_block_and_in_a_canvas_follow_the_one_that_runs(desk: TimedDesk) -> None:
    with enqueue_together(app=desk.app):
        blocked = [desk.settling.delay(7, note) for note in ("one", "two")]
    members = group(desk.settling.s(7, note) for note in ("three", "four")).apply_async()
    holder = blocked[0].id
    assert [desk.follows(each.id) for each in (*blocked[1:], *members)] == [holder] * 3
    assert desk.job(holder).args == [7, "four"]
    desk.set(holder, next_attempt_after=after(-1.0))
    assert desk.drain() == {each.id for each in (*blocked, *members)}
    assert desk.calls == [("settling", (7, "four"))]
    assert {repr(each.result) for each in desk.jobs("settling")} == {"[7, 'four']"}


def test_a_foreign_message_of_a_debounced_task_waits_as_well(desk: TimedDesk) -> None:
    id = desk.deliver_foreign("settling", 7, "one")
    assert desk.calls == []
    assert WAIT - 3 < desk.moments(id)[0] <= WAIT
    assert desk.settling.delay(7, "two").id == id
    desk.set(id, next_attempt_after=after(-1.0))
    assert desk.drain() == {id}
    assert desk.calls == [("settling", (7, "two"))]


def test_a_call_that_is_decided_late_does_not_undo_a_later_one(desk: TimedDesk) -> None:
    late = desk.undecided(7, "first call")
    desk.set(late, queued=after(-3.0))
    holder = desk.settling.delay(7, "second call")
    assert Followers(desk.database).sweep() == 1
    assert desk.follows(late) == holder.id
    assert desk.job(holder.id).args == [7, "second call"]


def test_nor_one_that_is_due_earlier_because_the_first_was_long_ago(desk: TimedDesk) -> None:
    holder = desk.settling.delay(7, "first call")
    late = desk.undecided(7, "second call")
    desk.set(late, queued=after(-1.0))  # it would be due after the holder, which is so at the latest
    desk.set(holder.id, queued=after(1.0 - MOST))
    assert desk.settling.delay(7, "third call").id == holder.id
    assert desk.moments(holder.id)[0] <= 1
    assert Followers(desk.database).sweep() == 1
    assert desk.job(holder.id).args == [7, "third call"]


def test_one_that_is_decided_late_and_was_the_last_is_run(desk: TimedDesk) -> None:
    holder = desk.settling.delay(7, "first call")
    desk.set(holder.id, queued=after(-9.0))
    late = desk.undecided(7, "second call")
    assert Followers(desk.database).sweep() == 1
    assert desk.follows(late) == holder.id
    assert desk.job(holder.id).args == [7, "second call"]
    earlier = desk.undecided(7, "before the second")
    desk.set(earlier, queued=after(-8.0))
    assert Followers(desk.database).sweep() == 1
    assert desk.job(holder.id).args == [7, "second call"]


def test_a_call_without_a_wait_that_is_decided_late_does_not_undo_a_later_one(desk: TimedDesk) -> None:
    rule: dict[str, Any] = {"debounce": False, "unique": Unique(args=("order",), on_conflict="replace")}
    holder = desk.settling.apply_async((7, "first call"), countdown=60, **rule)
    late = desk.undecided(7, "second call", **rule)
    desk.set(late, queued=after(-1.0))
    desk.set(holder.id, queued=after(-9.0))
    desk.settling.apply_async((7, "third call"), countdown=60, **rule)
    assert Followers(desk.database).sweep() == 1
    assert desk.job(holder.id).args == [7, "third call"]


# ---- races


@pytest.mark.parametrize("producers", [2, 16])
def test_of_calls_at_the_same_moment_one_makes_the_job_and_one_is_the_last(
    desk: TimedDesk, producers: int
) -> None:
    barrier = Barrier(producers)

    def run(number: int) -> str:
        barrier.wait()
        return str(desk.settling.delay(7, str(number)).id)

    with ThreadPoolExecutor(producers) as pool:
        ids = set(pool.map(run, range(producers)))
    assert len(ids) == 1
    assert desk.count() == 1
    desk.set(ids.pop(), next_attempt_after=after(-1.0))
    desk.drain()
    assert len(desk.calls) == 1


def test_a_call_against_a_claim_in_flight_makes_the_next_job(pg_desk: TimedDesk) -> None:
    first = pg_desk.settling.delay(7, "one")
    pg_desk.set(first.id, next_attempt_after=after(-1.0))
    with ThreadPoolExecutor(1) as pool:
        with pg_desk.database.transaction() as connection:
            assert claims.claim(connection, [UUID(first.id)], worker=ME)
            call = pool.submit(pg_desk.settling.delay, 7, "two")
            pg_desk.wait_for_a_lock()
        second = call.result()
    assert second.id != first.id
    assert pg_desk.job(first.id).args == [7, "one"]
    assert pg_desk.job(second.id).args == [7, "two"]


# ---- throttle


def test_within_a_period_one_job_is_made_and_is_the_answer(desk: TimedDesk) -> None:
    first = desk.paced.delay(7, "one")
    assert desk.paced.delay(7, "two").id == first.id
    assert desk.drain() == {first.id}
    third = desk.paced.delay(7, "three")
    assert (third.id, desk.job(third.id).state) == (first.id, JobState.COMPLETED)
    assert desk.paced.delay(8).id != first.id
    with desk.database.transaction() as connection:
        connection.execute(update(UNIQUE_KEYS).values(until=after(-1)))
    second = desk.paced.delay(7, "four")
    assert second.id != first.id
    desk.drain()
    assert [each for each in desk.calls if each[1][0] == 7] == [("paced", (7, "one")), ("paced", (7, "four"))]


def test_a_call_says_its_period(desk: TimedDesk) -> None:
    first = desk.plain.apply_async((7,), throttle=timedelta(minutes=1))
    assert desk.plain.apply_async((7,), throttle=60).id == first.id
    assert desk.paced.apply_async((7,), throttle=False).id != desk.paced.apply_async((7,), throttle=False).id
    with pytest.raises(BadArgument, match="longer than jobs are kept"):
        desk.plain.apply_async((7,), throttle=timedelta(days=300))


def test_of_throttled_calls_at_the_same_moment_one_makes_the_job(desk: TimedDesk) -> None:
    barrier = Barrier(16)

    def run(number: int) -> str:
        barrier.wait()
        return str(desk.paced.delay(7, str(number)).id)

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(run, range(16)))) == 1
    assert desk.count() == 1


# ---- where it is declared


def test_what_can_mean_nothing_is_refused_where_the_task_is_defined(desk: TimedDesk) -> None:
    def run() -> None: ...

    with pytest.raises(BadArgument, match="debounce"):
        desk.app._task_from_fun(run, name="bad", debounce=-1)
    with pytest.raises(BadArgument, match="there is debounce beside it"):
        desk.app._task_from_fun(run, name="both", debounce=5, throttle=5)


def test_a_rule_that_is_set_later_holds_from_the_next_call(desk: TimedDesk) -> None:
    assert desk.plain.delay(7).id != desk.plain.delay(7).id
    desk.plain.throttle = 60
    assert desk.plain.delay(7).id == desk.plain.delay(7).id
