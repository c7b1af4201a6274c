"""Jobs that have waited for long move to the next level; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import update

from celeriac import Limit
from celeriac.application import Celeriac
from celeriac.errors import BadArgument, SettingsError
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import dispatch
from celeriac.limits.ageing import Ageing
from celeriac.operate.job import job
from celeriac.settings.platform import Settings, read_settings
from celeriac.worker.ageing import AgeingDuty
from celeriac.worker.counters import Meter
from tests.apps import build
from tests.limits_by_hand import ByHand

ALL = ["critical", "high", "normal", "low"]


class Shop(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="mail", shared=False)
        def mail() -> None: ...

        @app.task(name="pay", limit=Limit("stripe", concurrency=1), shared=False)
        def pay() -> None: ...

        self.mail, self.pay = mail, pay
        self.names = ("pay",)
        self.meter = Meter()

    def age(self, *rules: str, queues: list[str] | None = None) -> int:
        """A round of the duty; how often it said that there is something to send."""
        told: list[int] = []
        AgeingDuty(
            self.database,
            Ageing.parse(rules),
            queues=lambda: queues or ALL,
            on_change=lambda: told.append(1),
            meter=self.meter,
        ).run()
        return len(told)

    def sent(self, id: str, *, ago: float) -> None:
        with self.database.transaction() as connection:
            mine = update(JOBS).where(JOBS.c.id == UUID(id))
            connection.execute(mine.values(dispatched=after(-ago), next_attempt_after=after(-ago)))

    def place(self, id: str) -> tuple[str, int]:
        found = job(id, app=self.app)
        return found.queue, found.priority


@pytest.fixture
def shop(redis_url: str, database_url: str) -> Iterator[Shop]:
    made = build(Settings(database_url=database_url, broker_url=redis_url), set_as_current=False)
    with closing(made):
        shop = Shop(made)
        shop.declare()
        yield shop


def test_a_job_that_waited_for_long_moves_up_a_level_and_is_sent_again(shop: Shop) -> None:
    old, young = (shop.mail.apply_async(priority="low").id for _ in range(2))
    shop.sent(old, ago=700)
    assert shop.age("600") == 1
    assert (shop.place(old), shop.place(young)) == (("normal", 10), ("low", 0))
    with shop.database.transaction() as connection:
        assert [level.priority for level in dispatch.levels(connection)] == [10]
        (message,) = dispatch.take_due(connection, 10, limit=9)
    assert (str(message.id), message.queue) == (old, "normal")
    assert shop.claim(old) == {old: 1}


def test_it_moves_on_after_twice_the_time_and_never_to_critical(shop: Shop) -> None:
    id = shop.mail.delay().id
    shop.sent(id, ago=700)
    assert shop.age("600") == 0
    shop.sent(id, ago=1300)
    assert shop.age("600") == 1
    assert shop.place(id) == ("high", 20)
    shop.sent(id, ago=100_000)
    assert shop.age("600") == 0


def test_nothing_moves_where_its_lane_does_not_ask_for_it(shop: Shop) -> None:
    id = shop.mail.apply_async(priority="low").id
    shop.sent(id, ago=700)
    assert shop.age() == 0
    assert shop.age("imports=600") == 0
    assert shop.age("600", queues=["low"]) == 0, "this worker draws from no higher list"
    assert shop.age("default=600") == 1


def test_what_runs_or_is_not_due_stays(shop: Shop) -> None:
    runs, later = (shop.mail.apply_async(priority="low").id for _ in range(2))
    for id in (runs, later):
        shop.sent(id, ago=700)
    shop.claim(runs)
    with shop.database.transaction() as connection:
        mine = update(JOBS).where(JOBS.c.id == UUID(later))
        connection.execute(mine.values(next_attempt_after=after(3600)))
    assert shop.age("600") == 0


def test_a_job_of_a_limit_gives_its_permit_back_and_is_admitted_anew(shop: Shop) -> None:
    id = shop.pay.apply_async(priority="low").id
    shop.look()
    assert shop.admit_all() == [id]
    shop.sent(id, ago=700)
    assert shop.age("600") == 1
    assert shop.used("stripe:") == 0
    shop.look()
    assert shop.admit_all() == [id]
    assert shop.place(id) == ("normal", 10)


@pytest.mark.parametrize("rule", ["0", "x", "imports=", "=600", "-5", "nan", "inf"])
def test_a_time_that_can_mean_nothing_is_refused(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadArgument, match="seconds from 1 on"):
        Ageing.parse([rule])
    monkeypatch.setenv("CELERIAC_AGEING", rule)
    with pytest.raises(SettingsError, match="CELERIAC_AGEING: wanted seconds from 1 on"):
        read_settings()
