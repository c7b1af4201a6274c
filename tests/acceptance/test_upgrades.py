"""A worker of an older version beside a newer ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from sqlalchemy import make_url, text

from celeriac.ledger.connection.database import Database
from celeriac.ledger.revisions import OURS
from tests.producers import producing
from tests.workers import Worker


def test_an_older_worker_beside_a_newer_ledger_goes_on_and_says_so(
    redis_url: str, sqlite_url: str, start_worker: Callable[..., Worker]
) -> None:
    with closing(Database(make_url(sqlite_url))) as database, database.transaction() as connection:
        connection.execute(text("ALTER TABLE background_jobs ADD COLUMN mood VARCHAR(8)"))
        connection.execute(
            text("UPDATE background_version SET version_num = '9001', works_with = :known"),
            {"known": OURS.wanted},
        )
    worker = start_worker(redis_url, sqlite_url, pool="solo").ready()
    assert f"this version wants revision {OURS.wanted} and works with the newer 9001" in worker.log
    with producing(redis_url, sqlite_url) as app:
        assert app.tasks["tests.add"].delay(1, 2).get(timeout=60) == 3
