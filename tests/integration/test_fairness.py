"""Fair queues in the ledger: tenants take turns, however many jobs one of them has; on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import NullPool, create_engine, select, update
from sqlalchemy.orm import Session

from celeriac import Limit, enqueue_in, enqueue_many
from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.ledger.limits import admission, limit_rows
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import dispatch
from celeriac.limits.fairness import Windows
from celeriac.operate.limits import reason_to_wait
from celeriac.settings.platform import Settings
from celeriac.testing import Kit, new_ledger
from celeriac.worker.duties.admitter import Admitter
from tests.apps import build
from tests.limits_by_hand import ByHand


class Shop(ByHand):
    def __init__(self, app: Celeriac, *, room: int = 1) -> None:
        super().__init__(app)
        self.windows = Windows(otherwise=room)

        @app.task(name="mail", shared=False)
        def mail(number: int = 0) -> int:
            return number

        @app.task(name="import", shared=False)
        def import_(customer: str, number: int = 0) -> None: ...

        @app.task(name="pay", limit=Limit("stripe", concurrency=1), shared=False)
        def pay() -> None: ...

        self.mail, self.import_, self.pay = mail, import_, pay
        self.names = ("pay",)

    def admit(self) -> list[str]:
        with self.database.transaction() as connection:
            found = admission.admit(
                connection,
                limit_rows.read(connection),
                windows=self.windows,
                fairness=self.app.settings.fairness,
            )
        return [str(message.id) for message in found]

    def in_turn(self) -> list[str]:
        """All that waits, as it goes; each ends before the next are admitted."""
        found: list[str] = []
        self.look()
        while ids := self.admit_all():
            found += ids
            for id in ids:
                self.claim(id)
                self.end(id)
        return found


@pytest.fixture
def make(redis_url: str, database_url: str) -> Iterator[Callable[..., Shop]]:
    made: list[Celeriac] = []

    def make(*by: str, weights: tuple[str, ...] = (), room: int = 1) -> Shop:
        settings = Settings(database_url=database_url, broker_url=redis_url, fair_by=by, fair_weights=weights)
        made.append(build(settings, set_as_current=False))
        return Shop(made[-1], room=room)

    yield make
    for app in made:
        app.close()


def mails(shop: Shop, user: str, count: int) -> list[str]:
    return [shop.mail.apply_async((number,), user_id=user).id for number in range(count)]


def test_a_job_of_a_fair_queue_waits_in_the_ledger_until_it_is_its_turn(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    (id,) = mails(shop, "ann", 1)
    with shop.database.transaction() as connection:
        assert dispatch.levels(connection) == []
    assert shop.claim(id) == {}
    assert shop.in_turn() == [id]


def test_one_job_goes_before_the_many_of_another(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    many = mails(shop, "ann", 20)
    one = mails(shop, "bob", 1)
    assert shop.in_turn() == [many[0], *one, *many[1:]]


def test_a_bulk_of_one_does_not_hold_up_another(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    assert enqueue_many(shop.mail, ([number] for number in range(300)), user_id="ann", chunk=100) == 300
    one = mails(shop, "bob", 2)
    order = shop.in_turn()
    assert max(order.index(id) for id in one) <= 3
    assert len(order) == 302


def test_the_calls_of_a_bulk_may_be_of_different_tenants(make: Callable[..., Shop]) -> None:
    shop = make("imports=customer")
    calls = [["a", number] for number in range(20)] + [["b", 0], ["b", 1]]
    enqueue_many(shop.import_, calls, queue="imports")
    with shop.database.reading() as connection:
        found = connection.execute(select(JOBS.c.id, JOBS.c.fair_key)).all()
    whose = {str(row.id): row.fair_key for row in found}
    assert [whose[id] for id in shop.in_turn()][:4].count("b") == 2


def test_jobs_that_a_transaction_enqueues_take_turns_as_well(redis_url: str, postgres_url: str) -> None:
    settings = Settings(database_url=postgres_url, broker_url=redis_url, fair_by=("user_id",))
    with closing(build(settings, set_as_current=False)) as app:
        shop = Shop(app)
        engine = create_engine(postgres_url, poolclass=NullPool)
        with Session(engine) as session, session.begin(), enqueue_in(session, app=app):
            many = mails(shop, "ann", 5)
        one = mails(shop, "bob", 1)
        assert shop.in_turn()[:2] == [many[0], *one]


def test_a_tenant_of_weight_two_has_two_turns_of_three(make: Callable[..., Shop]) -> None:
    shop = make("user_id", weights=("ann=2",))
    ann, bob = mails(shop, "ann", 12), mails(shop, "bob", 12)
    first = shop.in_turn()[:12]
    assert 7 <= len([id for id in first if id in ann]) <= 9
    assert bob


def test_the_important_go_first_whoever_has_them(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    ordinary = mails(shop, "ann", 2)
    important = shop.mail.apply_async((), user_id="ann", priority=60, queue="normal").id
    assert shop.in_turn() == [important, *ordinary]


def test_only_a_window_of_it_is_on_its_way(make: Callable[..., Shop]) -> None:
    shop = make("user_id", room=3)
    given = mails(shop, "ann", 40)
    shop.look()
    first = shop.admit()
    assert first == given[:6], "as many as run at once, and as many ahead"
    assert shop.admit_all() == []
    shop.claim(*first)
    for id in first[:2]:
        shop.end(id)
    assert len(shop.admit_all()) == 2


def test_a_job_with_a_limit_waits_in_the_line_of_its_limit(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    shop.declare()
    id = shop.pay.apply_async(user_id="ann").id
    shop.look()
    assert shop.admit_all() == [id]
    assert shop.used("stripe:") == 1


def test_a_delayed_job_gets_its_turn_when_it_is_due(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    later = [shop.mail.apply_async((), user_id="ann", countdown=3600).id for _ in range(3)]
    one = mails(shop, "bob", 1)
    assert shop.in_turn() == one
    with shop.database.transaction() as connection:
        due = update(JOBS).where(JOBS.c.id.in_([UUID(id) for id in later]))
        connection.execute(due.values(next_attempt_after=after(-1)))
    two = mails(shop, "bob", 2)
    order = shop.in_turn()
    assert sorted(order) == sorted([*later, *two])
    assert len({order[0], order[1]} & set(two)) == 1, "they take turns"


def test_a_retry_keeps_its_place(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    given = mails(shop, "ann", 5)
    shop.look()
    first = shop.admit()
    assert first == given[:2]
    shop.claim(*first)
    shop.end(given[0], JobState.ERROR)
    shop.look()
    assert shop.admit_all()[0] == given[0]


def test_queues_that_are_not_named_go_by_arrival(make: Callable[..., Shop]) -> None:
    shop = make("imports=customer")
    (id,) = mails(shop, "ann", 1)
    assert shop.claim(id) == {id: 1}


def test_what_waits_is_explained(make: Callable[..., Shop]) -> None:
    shop = make("user_id")
    *_, last = mails(shop, "ann", 5)
    with shop.database.reading() as connection:
        row = connection.execute(select(JOBS).where(JOBS.c.id == UUID(last))).one()
        sentence, _ = reason_to_wait(connection, row)
    expected = "it waits for its turn in the fair queue 'normal', among those of 'ann'; 4 go before it"
    assert sentence == expected


def test_a_worker_that_is_not_fair_lets_what_waits_go(make: Callable[..., Shop]) -> None:
    fair, plain = make("user_id"), make()
    given = mails(fair, "ann", 3)
    admitter = Admitter(plain.app, plain.database, worker=new_uuid(), limits=())
    admitter._windows.otherwise = 5
    admitter.run()
    assert sorted(plain.claim(*given)) == sorted(given)


def test_tenants_take_turns_while_a_test_drains(make: Callable[..., Shop], tmp_path: Path) -> None:
    shop = make("user_id")
    with Kit(shop.app, new_ledger(tmp_path / "ledger.db")) as kit:
        given = mails(shop, "ann", 3)
        assert sorted(each.id for each in kit.drain()) == sorted(given)
