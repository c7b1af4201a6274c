"""The beat's own turns: who leads, who fires, and what it outlives. With real servers, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import update

import tests.jobs  # noqa: F401
from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.ledger.migrate import upgrade
from celeriac.ledger.schema.models import SCHEDULES
from celeriac.ledger.writes import schedule_rows as ledger
from celeriac.schedules.scheduler import Scheduler
from celeriac.settings.platform import Settings
from tests.apps import build

STATIC = {"nightly": {"task": "tests.noop", "schedule": "0 3 * * *"}}


@pytest.fixture
def make(redis_url: str) -> Iterator[Callable[[str], Celeriac]]:
    with ExitStack() as stack:

        def made(database: str) -> Celeriac:
            known: dict[str, Any] = {"broker_url": redis_url, "database_url": database}
            app = build(
                Settings(**known, task_modules=("tests.jobs",), schedule_module="tests.none"),
                set_as_current=False,
            )
            app.conf.beat_schedule = STATIC
            stack.enter_context(closing(app))
            stack.enter_context(closing(app.database))
            return app

        yield made


@pytest.fixture
def app(make: Callable[[str], Celeriac], database_url: str) -> Celeriac:
    return make(database_url)


def overdue(app: Celeriac, name: str, seconds: float) -> None:
    """Let a schedule be due since so many seconds ago."""
    schedules.register(name, "tests.noop", every=3600, app=app)
    with app.database.transaction() as connection:
        due = ledger.clock(connection) - timedelta(seconds=seconds)
        values = {"anchor": due, "next_run": due}
        connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == name).values(**values))


def runs(app: Celeriac, name: str) -> int:
    return schedules.get(name, app=app).run_count


def test_one_beat_leads(app: Celeriac) -> None:
    first, second = Scheduler(app), Scheduler(app)
    overdue(app, "tick", 0.5)
    first.tick()
    assert (first.lock is not None, second.lock) == (True, None)
    assert runs(app, "tick") == 1
    overdue(app, "tock", 0.5)
    assert second.tick() == second.max_interval
    assert runs(app, "tock") == 0
    first.close()
    second.tick()
    assert second.lock is not None
    assert runs(app, "tock") == 1
    second.close()


def test_another_beat_fires_what_the_leader_is_late_with(app: Celeriac) -> None:
    leader, other = Scheduler(app), Scheduler(app)
    leader.tick()
    overdue(app, "tick", 4)
    other.tick()
    assert (other.lock, runs(app, "tick")) == (None, 1)
    for beat in (leader, other):
        beat.close()


def test_a_lock_that_is_lost_is_taken_again(app: Celeriac, redis_url: str) -> None:
    beat = Scheduler(app)
    beat.tick()
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushdb()
        beat.tick()
        assert beat.lock is not None
        assert client.pttl("celeriac:redbeat::lock") > 0
    beat.close()


def test_a_beat_that_was_robbed_of_its_lock_stands_by(app: Celeriac, redis_url: str) -> None:
    beat = Scheduler(app)
    beat.tick()
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.set("celeriac:redbeat::lock", "another")
    overdue(app, "tick", 0.5)
    assert beat.tick() == beat.max_interval
    assert (beat.lock, runs(app, "tick")) == (None, 0)
    beat.close()


def test_a_beat_that_was_told_to_end_takes_no_other_turn(app: Celeriac) -> None:
    """Even if the exception that should have ended it was raised where Python drops it."""
    beat = Scheduler(app)
    beat.tick()
    overdue(app, "tick", 0.5)
    beat.close()
    with pytest.raises(SystemExit):
        beat.tick()
    assert runs(app, "tick") == 0


def test_a_beat_starts_before_its_database(make: Callable[[str], Celeriac], bare_database_url: str) -> None:
    """It has no tables yet, which looks like any other trouble."""
    app = make(bare_database_url)
    beat = Scheduler(app)
    assert 0 < beat.tick() <= 5
    upgrade(bare_database_url)
    beat.tick()
    assert schedules.get("nightly", app=app).static
    beat.close()


def test_a_row_that_the_database_refuses_does_not_stop_others(
    make: Callable[[str], Celeriac], sqlite_url: str
) -> None:
    app = make(sqlite_url)
    beat = Scheduler(app)
    overdue(app, "refused", 2)
    overdue(app, "well", 1)
    refuse = (
        "BEFORE INSERT ON background_jobs WHEN NEW.schedule = 'refused' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with app.database.statement() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER refuse {refuse}")
        beat.tick()
    assert (runs(app, "refused"), runs(app, "well")) == (0, 1)
    found = schedules.get("refused", app=app)
    assert "cannot be fired" in str(found.skip_reason)
    assert found.next_run is not None  # it is not lost
    assert beat.tick() > 0, "it is left alone for a while"
    beat.close()


def test_a_damaged_row_is_left_alone_for_a_while(app: Celeriac) -> None:
    beat = Scheduler(app)
    overdue(app, "damaged", 1)
    with app.database.transaction() as connection:
        connection.execute(update(SCHEDULES).where(SCHEDULES.c.name == "damaged").values(expression="often"))
    assert [beat.tick() > 0 for _ in range(3)] == [False, True, True]
    beat.close()


def test_a_row_that_another_holds_is_waited_for_without_haste(
    make: Callable[[str], Celeriac], postgres_url: str
) -> None:
    app = make(postgres_url)
    beat = Scheduler(app)
    overdue(app, "held", 1)
    with app.database.transaction() as connection:
        ledger.find(connection, "held", lock=True)
        assert beat.tick() > 0
    assert (beat.tick(), runs(app, "held")) == (0, 1)
    beat.close()


def test_a_beat_never_sleeps_longer_than_its_lock_lives(
    make: Callable[[str], Celeriac], sqlite_url: str
) -> None:
    beat = Scheduler(make(sqlite_url), max_interval=300)
    assert beat.tick() <= beat.lock_timeout / 3
    beat.close()
