"""The ledger is pruned, whatever the settings say of task modules and schedules; doctor says where not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.errors import ScheduleNotFound
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.doctor import Level, examine
from celeriac.operate.job import jobs
from celeriac.schedules import static_schedules
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build

DAY = timedelta(days=1)
NAME = "prune the ledger"


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    known: dict[str, Any] = {"broker_url": redis_url, "database_url": database_url}
    settings = Settings(**known, task_modules=("tests.jobs",), schedule_module="tests.none")
    made = build(settings, set_as_current=False)
    yield made
    made.database.close()


def write(app: Celeriac, **values: Any) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.job(**values)])


def level(app: Celeriac) -> Level:
    return next(one.level for one in examine(app) if one.check == "retention" and one.area == "ledger")


def test_every_app_has_the_task_that_prunes(app: Celeriac) -> None:
    assert "maintenance.prune" in app.tasks
    assert app.send_task("maintenance.prune").id == jobs(app=app)[0].id


@pytest.mark.parametrize("entries", [None, {}, {"x": {"task": "tests.noop", "schedule": 60}}])
def test_every_app_has_the_schedule_that_prunes(app: Celeriac, entries: Any) -> None:
    app.conf.beat_schedule = entries
    static_schedules.sync(app)
    found = schedules.get(NAME, app=app)
    assert (found.task, found.expression, found.enabled) == ("maintenance.prune", "86400", True)


def test_a_schedule_of_the_teams_own_takes_its_place(app: Celeriac) -> None:
    app.conf.beat_schedule = {"weekly": {"task": "maintenance.prune", "schedule": "0 3 * * sun"}}
    static_schedules.sync(app)
    assert schedules.get("weekly", app=app).expression == "0 3 * * sun"
    with pytest.raises(ScheduleNotFound):
        schedules.get(NAME, app=app)


def test_it_may_be_disabled(app: Celeriac) -> None:
    static_schedules.sync(app)
    schedules.disable(NAME, app=app)
    static_schedules.sync(app)
    assert not schedules.get(NAME, app=app).enabled


def test_doctor_says_when_nobody_prunes(app: Celeriac) -> None:
    write(app, queued=stock.before(8 * DAY.total_seconds()))
    assert level(app) is Level.OK
    write(app, queued=stock.before(10 * DAY.total_seconds()))
    assert level(app) is Level.WARN


def test_a_tasks_own_retention_is_not_taken_for_neglect(app: Celeriac) -> None:
    @app.task(name="mail.kept", keep_days=100, shared=False)
    def kept() -> None: ...

    write(app, queued=stock.before(20 * DAY.total_seconds()), job_type="mail.kept")
    assert level(app) is Level.OK
