"""Lines that are due: which of them one look takes, and what it reads for that; on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url, select, text, update

from celeriac import Limit, enqueue_many
from celeriac.application import Celeriac
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.connection.database import Database
from celeriac.ledger.limits import admission, due_lines, limit_rows
from celeriac.ledger.migrate import upgrade
from celeriac.ledger.schema.columns import after
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.models import JOBS
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.limits_by_hand import ByHand
from tests.servers import create_database, drop_database

_LINES = 5_000
_FILL = """
    INSERT INTO background_lines (id, permit_1, due, turn, touched)
    SELECT gen_random_uuid(), 'tenant:' || n, now() + {} * interval '1 s' + n * interval '1 us', 0, now()
    FROM generate_series(1, {}) n
"""


class Tenants(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="export", limit=Limit("tenant", concurrency=9, key="tenant"), shared=False)
        def export(tenant: int) -> None: ...

        self.export = export
        self.names = ("export",)
        self.declare()

    def some(self, most: int, front: admission.Front | None = None) -> list[UUID]:
        with self.database.transaction() as connection:
            found = admission.admit(connection, limit_rows.read(connection), most=most, front=front)
        return [message.id for message in found]

    def due(self) -> datetime:
        with self.database.reading() as connection:
            found = connection.execute(select(LINES.c.due)).scalar_one()
            assert isinstance(found, datetime)
            return found


@pytest.fixture
def tenants(redis_url: str, database_url: str) -> Iterator[Tenants]:
    settings = Settings(database_url=database_url, broker_url=redis_url)
    with closing(build(settings, set_as_current=False)) as app:
        yield Tenants(app)


def test_each_of_many_lines_has_a_turn_before_any_has_its_second(tenants: Tenants) -> None:
    lines = admission.MOST_LINES + 50
    assert enqueue_many(tenants.export, ([tenant] for tenant in range(lines) for _ in range(2))) == 2 * lines
    tenants.look()
    admitted = [job for _ in range(lines // 10) for job in tenants.some(10)]
    with tenants.database.reading() as connection:
        rows = {row.id: row.permit_1 for row in connection.execute(select(JOBS.c.id, JOBS.c.permit_1))}
    assert len({rows[job] for job in admitted}) == len(admitted) == lines


def test_a_job_that_waited_for_long_makes_its_line_due_now(tenants: Tenants) -> None:
    """Or those who look from the front on would not see it."""
    job = tenants.export.delay(1).id
    with tenants.database.transaction() as connection:
        mine = update(JOBS).where(JOBS.c.id == UUID(job))
        connection.execute(mine.values(next_attempt_after=after(-3600)))
        before = clock(connection)
    tenants.look()
    assert tenants.due() >= before


def test_a_line_that_is_behind_the_front_is_found_from_the_start(tenants: Tenants) -> None:
    front = admission.Front()
    tenants.export.delay(1)
    tenants.look()
    assert len(tenants.some(100, front)) == 1
    late = tenants.export.delay(1).id
    tenants.look()
    with tenants.database.transaction() as connection:
        connection.execute(update(LINES).values(due=after(-3600)))  # its transaction was open for an hour
    assert tenants.some(100, front) == [], "what lies behind is not read"
    assert tenants.some(100, admission.Front()) == [UUID(late)], "every few seconds it is"


def test_a_look_reads_no_more_lines_than_it_takes(postgres: str) -> None:
    """However many are due, and are to be: statistics are of the empty table."""
    url = create_database(postgres, "celeriac_many_lines")
    upgrade(url)
    with closing(Database(make_url(url)).with_generic_plans()) as database:
        with database.statement() as connection:
            connection.execute(text("ALTER TABLE background_lines SET (autovacuum_enabled = false)"))
            connection.execute(text("ANALYZE background_lines"))
            connection.execute(text(_FILL.format(-60, _LINES)))
            connection.execute(text(_FILL.format(3600, _LINES)))
        read = _most_rows(database)
    drop_database(postgres, "celeriac_many_lines")
    assert read <= admission.MOST_LINES


def _most_rows(database: Database) -> int:
    """The rows that any step of the plan has returned, at most."""
    with database.statement() as connection:
        told: list[str] = []
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: told.append(notice.message_primary))
        connection.execute(text("LOAD 'auto_explain'"))
        logged = {
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_format": "json",
            "client_min_messages": "log",
        }
        for setting, value in logged.items():
            connection.execute(text(f"SET {setting} = '{value}'"))
        due = due_lines.take(connection, None)
        assert len(due) == admission.MOST_LINES
    plan = next(json.loads(one[one.index("{") :])["Plan"] for one in told if "LockRows" in one)
    return max(int(step["Actual Rows"]) for step in _steps(plan))


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for step in plan.get("Plans", []):
        yield from _steps(step)
