"""Permits of jobs that do not arrive are taken back while others wait for them; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import update

from celeriac import Limit
from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.ledger.limits import lines, taken_back
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.operate.doctor import Level, pauses_check
from celeriac.settings.platform import Settings
from celeriac.worker.duties.admitter import Admitter
from tests.apps import build
from tests.limits_by_hand import ByHand


class Shop(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="pay", limit=Limit("stripe", concurrency=1), shared=False)
        def pay() -> None: ...

        @app.task(name="plain", shared=False)
        def plain() -> None: ...

        self.pay, self.plain = pay, plain
        self.names = ("pay",)

    def sent(self, id: str, *, ago: float) -> None:
        with self.database.transaction() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == UUID(id)).values(dispatched=after(-ago)))

    def take_back(self, *drawn: str) -> list[str]:
        with self.database.transaction() as connection:
            freed = taken_back.take_back(connection, ["stripe:"], drawn=drawn)
            lines.wake(connection, dict.fromkeys(freed, 50))
        return freed


@pytest.fixture
def shop(redis_url: str, database_url: str) -> Iterator[Shop]:
    made = build(Settings(database_url=database_url, broker_url=redis_url), set_as_current=False)
    with closing(made):
        shop = Shop(made)
        shop.declare()
        yield shop


def two(shop: Shop, queue: str) -> tuple[str, str]:
    """One that is on its way into ``queue``, and one that waits for its permit."""
    stuck = shop.pay.apply_async(queue=queue).id
    shop.look()
    assert shop.admit_all() == [stuck]
    waits = shop.pay.delay().id
    shop.look()
    assert shop.admit_all() == []
    return stuck, waits


def test_a_job_whose_list_nobody_draws_from_lets_others_go(shop: Shop) -> None:
    stuck, waits = two(shop, "nobody")
    assert shop.take_back("normal") == [], "it may have been sent a moment ago"
    shop.sent(stuck, ago=11)
    assert shop.take_back("normal") == ["stripe:"]
    assert shop.admit_all() == [waits], "and it waits for a while, or it would be the first again"
    assert shop.claim(stuck) == {}, "the late message loses its claim"


def test_a_job_behind_a_long_one_is_sent_anew(shop: Shop) -> None:
    stuck, _ = two(shop, "normal")
    shop.sent(stuck, ago=11)
    later = shop.plain.delay().id
    assert shop.take_back("normal.normal", "normal") == [], "nothing shows that its list has moved on"
    assert shop.claim(later) == {later: 1}
    assert shop.take_back("normal") == ["stripe:"]
    assert shop.claim(stuck) == {}
    assert shop.admit_all() == [stuck], "it is the first of its line"


def test_a_job_in_a_backlog_keeps_its_permit(shop: Shop) -> None:
    earlier = shop.plain.delay().id
    stuck, _ = two(shop, "normal")
    shop.sent(stuck, ago=100)
    shop.sent(earlier, ago=200)
    assert shop.claim(earlier) == {earlier: 1}
    assert shop.take_back("normal") == []


def test_a_job_that_runs_keeps_its_permit(shop: Shop) -> None:
    runs, _ = two(shop, "nobody")
    assert shop.claim(runs) == {runs: 1}
    shop.sent(runs, ago=100)
    assert shop.take_back("normal") == []


def test_the_doctor_names_permits_on_their_way_to_a_queue_that_nobody_draws_from(shop: Shop) -> None:
    stuck, _ = two(shop, "nobody")
    assert pauses_check.judge(pauses_check.read(shop.app))[0].level is Level.OK, "it was sent a moment ago"
    shop.sent(stuck, ago=61)
    (found,) = pauses_check.judge(pauses_check.read(shop.app))
    assert found.level is Level.WARN
    assert "1 job of the limit 'stripe' on the way into the queue 'nobody.normal'" in found.sentence
    assert found.remedy == "celery -A app worker -Q nobody.normal"


def test_the_worker_that_looks_for_all_takes_them_back(shop: Shop) -> None:
    stuck, waits = two(shop, "nobody")
    shop.sent(stuck, ago=11)
    me = WorkerStart(
        id=new_uuid(),
        hostname="me",
        pid=1,
        pool="solo",
        concurrency=1,
        queues=["normal"],
        tasks="",
        version="",
    )
    with shop.database.transaction() as connection:
        worker_rows.sign_on(connection, me)
    Admitter(shop.app, shop.database, worker=me.id, limits=()).run()
    assert shop.claim(stuck, waits) == {waits: 1}
