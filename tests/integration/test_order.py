"""Orders in the ledger: one job of a key at a time, as they were accepted; on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from uuid import UUID

import pytest
from sqlalchemy import NullPool, create_engine, select, update
from sqlalchemy.orm import Session

from celeriac import Limit, OrderedBy, enqueue_in, enqueue_many
from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ledger.limits import lines
from celeriac.ledger.schema.columns import PARKED, after
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import replay
from celeriac.operate import job as operate_job
from celeriac.operate.doctor import Level, pauses_check
from celeriac.operate.limits import reason_to_wait
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call, told
from tests.limits_by_hand import ByHand


class Bank(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="book", ordered_by="account", shared=False)
        def book(account: int, amount: int = 0) -> None: ...

        aside = OrderedBy("account", on_failure="step aside")

        @app.task(name="notify", ordered_by=aside, shared=False)
        def notify(account: int) -> None: ...

        within = OrderedBy(lambda account: account, within="ledger")

        @app.task(name="open", ordered_by=within, shared=False)
        def open_(account: int) -> None: ...

        @app.task(name="close", ordered_by=within, limit=Limit("few", concurrency=1), shared=False)
        def close(account: int) -> None: ...

        self.book, self.notify, self.open, self.close = book, notify, open_, close
        self.names = ("book", "notify", "open", "close")

    def make_due(self, id: str) -> None:
        with self.database.transaction() as connection:
            changed = update(JOBS).where(JOBS.c.id == UUID(id))
            connection.execute(changed.values(next_attempt_after=after(-1)))
            connection.execute(
                update(lines.LINES).where(lines.LINES.c.due.is_not(None)).values(due=after(-1))
            )

    def why(self, id: str) -> tuple[str, str | None]:
        with self.database.reading() as connection:
            row = connection.execute(select(JOBS).where(JOBS.c.id == UUID(id))).one()
            return reason_to_wait(connection, row)


@pytest.fixture
def bank(redis_url: str, database_url: str) -> Iterator[Bank]:
    made = build(Settings(database_url=database_url, broker_url=redis_url), set_as_current=False)
    with closing(made):
        bank = Bank(made)
        bank.declare()
        yield bank


def test_jobs_of_a_key_go_one_by_one_as_accepted_whatever_their_priority(bank: Bank) -> None:
    given = [bank.book.apply_async((7,), priority=level).id for level in ("low", "critical", "normal")]
    other = bank.book.delay(8).id
    bank.look()
    assert sorted(bank.admit_all()) == sorted([given[0], other]), "another key goes beside"
    for before, after_it in pairwise(given):
        assert bank.claim(before) == {before: 1}
        assert bank.admit_all() == []
        bank.end(before)
        assert bank.admit_all() == [after_it]


def test_many_jobs_at_a_time_go_in_the_order_of_the_calls(bank: Bank) -> None:
    enqueue_many(bank.book, [(7, amount) for amount in range(30)])
    bank.look()
    amounts = []
    while ids := bank.admit_all():
        (id,) = ids
        amounts.append(operate_job.job(id, app=bank.app).args)
        bank.claim(id)
        bank.end(id)
    assert amounts == [[7, amount] for amount in range(30)]


def test_a_failed_job_holds_its_key_until_it_is_through(bank: Bank) -> None:
    first, second = (bank.book.delay(7).id for _ in range(2))
    bank.look()
    bank.claim(*bank.admit_all())
    bank.end(first, JobState.ERROR, delay=3600)
    bank.look()
    assert bank.admit_all() == []
    sentence, remedy = bank.why(second)
    assert sentence.startswith(
        f"it waits for its turn in book:7: 1 before it, the first is {first}, which is"
    )
    assert remedy == f"celery -A app jobs show {first}"
    bank.make_due(first)
    assert bank.admit_all() == [first]
    assert bank.claim(first) == {first: 2}
    bank.end(first, JobState.FAILED, attempt=2)
    assert bank.admit_all() == [second]


def test_a_failed_job_steps_aside_where_that_is_said(bank: Bank) -> None:
    first, second, third = (bank.notify.delay(7).id for _ in range(3))
    bank.look()
    bank.claim(*bank.admit_all())
    bank.end(first, JobState.ERROR, delay=3600)
    assert bank.admit_all() == [second], "and still one at a time"
    bank.claim(second)
    bank.make_due(first)
    bank.end(second)
    assert bank.admit_all() == [first], "it is the first again"
    assert third not in bank.admit_all()


def test_a_delayed_job_keeps_its_place(bank: Bank) -> None:
    later = bank.book.apply_async((7,), countdown=3600).id
    now = bank.book.delay(7).id
    bank.look()
    assert bank.admit_all() == []
    bank.make_due(later)
    assert bank.admit_all() == [later]
    assert now not in bank.admit_all()


def test_a_parked_body_does_not_hold_up_what_it_waits_for(bank: Bank) -> None:
    body, member = (bank.book.delay(7).id for _ in range(2))
    with bank.database.transaction() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == UUID(body)).values(next_attempt_after=PARKED))
    bank.look()
    assert bank.admit_all() == [member]


def test_tasks_may_share_an_order_and_have_limits_besides(bank: Bank) -> None:
    busy = bank.close.delay(1).id
    opened, closed, again = bank.open.delay(7).id, bank.close.delay(7).id, bank.open.delay(7).id
    bank.look()
    assert sorted(bank.admit_all()) == sorted([busy, opened])
    bank.claim(busy, opened)
    bank.end(opened)
    assert bank.admit_all() == [], "the limit is full, and nothing passes"
    assert bank.why(closed)[0] == "it waits for the limit few: 1 of 1 in use; 1. in line"
    bank.end(busy)
    assert bank.admit_all() == [closed]
    bank.claim(closed)
    bank.end(closed)
    assert bank.admit_all() == [again]


def test_a_cancelled_job_lets_the_next_one_go(bank: Bank) -> None:
    first, second = (bank.book.delay(7).id for _ in range(2))
    bank.look()
    bank.claim(*bank.admit_all())
    bank.end(first, JobState.ERROR, delay=3600)
    bank.look()
    assert bank.admit_all() == []
    operate_job.cancel(first, app=bank.app)
    bank.look()
    assert bank.admit_all() == [second]


def test_a_replayed_job_does_not_run_beside_the_present_one(bank: Bank) -> None:
    first, second = (bank.book.delay(7).id for _ in range(2))
    bank.look()
    bank.claim(*bank.admit_all())
    bank.end(first, JobState.FAILED)
    assert bank.admit_all() == [second]
    with bank.database.transaction() as connection:
        replay.replay(connection, [UUID(first)])
    bank.look()
    assert bank.admit_all() == []
    bank.claim(second)
    bank.end(second)
    assert bank.admit_all() == [first]


def test_a_job_that_was_written_earlier_and_committed_later_is_next(
    redis_url: str, postgres_url: str
) -> None:
    """Order is promised between jobs of which one was committed before the other was enqueued."""
    settings = Settings(database_url=postgres_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        bank = Bank(app)
        bank.declare()
        with Session(create_engine(postgres_url, poolclass=NullPool)) as session, session.begin():
            with enqueue_in(session, app=app):
                early = bank.book.delay(7).id
            seen, after_it = (bank.book.delay(7).id for _ in range(2))
            bank.look()
            assert bank.admit_all() == [seen]
        bank.claim(seen)
        bank.end(seen)
        assert bank.admit_all() == [early]
        bank.claim(early)
        bank.end(early)
        assert bank.admit_all() == [after_it]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_one_of_a_key_goes_and_as_accepted(bank: Bank, seed: int) -> None:
    chance = random.Random(seed)
    accepted: dict[int, list[str]] = {1: [], 2: []}
    attempts: dict[str, int] = {}
    begun: dict[int, list[str]] = {1: [], 2: []}
    goes: dict[str, int] = {}  # admitted, and not ended

    def accept() -> None:
        account = chance.choice([1, 2])
        accepted[account].append(bank.book.delay(account).id)

    def admit() -> None:
        bank.look()
        for id in bank.admit_all():
            account = next(key for key, ids in accepted.items() if id in ids)
            assert account not in goes.values(), "one at a time"
            goes[id] = account
            if id not in begun[account]:
                begun[account].append(id)

    def finish() -> None:
        for id in chance.sample(sorted(goes), min(1, len(goes))):
            del goes[id]
            attempts.update(bank.claim(id))
            how = chance.choice([JobState.COMPLETED, JobState.ERROR, JobState.FAILED])
            bank.end(id, how, attempt=attempts[id])

    def lose() -> None:
        for id in chance.sample(sorted(goes), min(1, len(goes))):
            del goes[id]
            with bank.database.transaction() as connection:
                connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(dispatched=None))
            bank.wake(id)

    for _ in range(60):
        chance.choice([accept, admit, admit, finish, finish, lose])()
    while admit() or goes:
        finish()
    assert begun == accepted


def test_the_commands_name_an_order_and_refuse_to_set_it(bank: Bank) -> None:
    bank.book.delay(7)
    (shown,) = [each for each in told(bank.app, "limits")["limits"] if each["name"] == "ordered/book"]
    assert (shown["on_failure"], shown["concurrency"]) == ("hold", 1)
    assert "one at a time of each key" in call(bank.app, "limits", "show", "ordered/book").stdout
    refused = call(bank.app, "limits", "set", "ordered/book", "--concurrency", 2)
    assert (refused.exit_code, "one at a time" in refused.stderr) == (2, True)
    assert told(bank.app, "limits", "pause", "ordered/book")["changed"] is True


def test_the_doctor_names_a_job_that_failed_and_holds_up_others(bank: Bank) -> None:
    first, _ = (bank.book.delay(7).id for _ in range(2))
    bank.look()
    bank.claim(*bank.admit_all())
    bank.end(first, JobState.ERROR, delay=3600)
    bank.look()
    bank.admit_all()
    (found,) = pauses_check.judge(pauses_check.read(bank.app))
    assert found.level is Level.WARN
    assert f"1 job waits in the order book:7 behind {first}" in found.sentence


def test_two_tasks_of_an_order_must_agree_and_three_limits_leave_no_room(bank: Bank) -> None:
    three = [Limit(name, concurrency=1) for name in "abc"]
    with pytest.raises(BadArgument, match="one of the 3 limits"):

        @bank.app.task(name="too.many", ordered_by="x", limit=three, shared=False)
        def too_many(x: int) -> None: ...

        too_many.delay(1)
