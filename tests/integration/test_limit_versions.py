"""What two versions of the code say of one limit, while both have workers; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest
from sqlalchemy import make_url

from celeriac import Limit
from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import Database
from celeriac.ledger.limits import limit_rows
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url))) as database:
        yield database


def starts(database: Database, version: str | None, concurrency: int) -> UUID:
    """A worker of a version starts, and says what its code says."""
    start = WorkerStart(
        id=new_uuid(),
        hostname="w",
        pid=1,
        pool="solo",
        concurrency=1,
        queues=["normal"],
        tasks="",
        version="",
        code_version=version,
    )
    with database.transaction() as connection:
        worker_rows.sign_on(connection, start)
    says(database, version, concurrency)
    return start.id


def says(database: Database, version: str | None, concurrency: int) -> None:
    with database.transaction() as connection:
        limit_rows.declare(connection, [Limit("stripe", concurrency=concurrency)], version=version)


def holds(database: Database) -> int | None:
    with database.reading() as connection:
        return limit_rows.read(connection)["stripe"].concurrency


def test_an_older_version_that_starts_again_changes_nothing(database: Database) -> None:
    starts(database, "a", 10)
    starts(database, "b", 20)
    assert holds(database) == 20
    starts(database, "a", 10)
    assert holds(database) == 20


def test_after_a_rollback_the_older_version_has_its_say(database: Database) -> None:
    starts(database, "a", 10)
    newer = starts(database, "b", 20)
    starts(database, "a", 10)
    with database.transaction() as connection:
        worker_rows.sign_off(connection, newer)
    says(database, "a", 10)
    assert holds(database) == 10


def test_without_versions_the_last_one_that_starts_has_its_say(database: Database) -> None:
    starts(database, None, 10)
    starts(database, None, 20)
    starts(database, None, 10)
    assert holds(database) == 10
