"""Two installations behind one PgBouncer and on one Redis: nothing is lost, nothing mixed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from sqlalchemy import func, select

from celeriac.application import Celeriac
from celeriac.ledger import migrate
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKERS
from tests.producers import producing
from tests.servers import PgBouncerServer, PostgresServer
from tests.support import wait_until
from tests.workers import Worker

JOBS_OF = {"shop": 120, "blog": 40}


def states(app: Celeriac) -> dict[str, int]:
    with app.database.reading() as connection:
        counted = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        return {row.state: row[1] for row in connection.execute(counted)}


def all_ended(app: Celeriac) -> bool:
    return states(app).keys() <= {"completed", "failed"}


def test_two_installations_share_servers_and_no_job(
    redis_url: str, private_postgres: PostgresServer, start_worker: Callable[..., Worker]
) -> None:
    private_postgres.create_database("shared")
    with ExitStack() as stack:
        url = stack.enter_context(PgBouncerServer(private_postgres, connections=6)).url("shared")
        apps = {}
        for name in JOBS_OF:
            own: dict[str, Any] = {"prefix": f"{name}:", "retry_base": 0.05, "prepared_statements": False}
            migrate.upgrade(url, schema=name)
            start_worker(redis_url, url, settings=own | {"schema": name}, concurrency=1)
            apps[name] = stack.enter_context(producing(redis_url, url, database_schema=name, **own))
        for name, app in apps.items():
            for number in range(JOBS_OF[name]):
                app.tasks["tests.add"].delay(number, 1)
            app.tasks["tests.fail"].apply_async(max_tries=2)
        for name, app in apps.items():
            wait_until(partial(all_ended, app), within=60, saying=f"the jobs of {name} end")
            assert states(app) == {"completed": JOBS_OF[name], "failed": 1}
            with app.database.reading() as connection:
                rows = {
                    table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                    for table in (FAILURES, WORKERS)
                }
            assert rows == {"background_attempts": 2, "background_workers": 1}
