"""A worker that starts knows without Alembic that its ledger is as it should be; any doubt is for Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from celeriac.ledger import migrate, revision_check
from celeriac.ledger.connection.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(database_url))) as found:
        yield found


def moved(database: Database, revision: str) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE background_version SET version_num = :it"), {"it": revision})


def test_the_newest_revision_is_known(database: Database) -> None:
    assert revision_check.is_current(database)
    assert migrate.current(database) == migrate.head()


@pytest.mark.parametrize("revision", ["0011", "9999"])
def test_any_other_revision_is_for_alembic(database: Database, revision: str) -> None:
    moved(database, revision)
    assert not revision_check.is_current(database)


def test_a_ledger_without_tables_is_for_alembic(bare_database_url: str) -> None:
    with closing(Database(make_url(bare_database_url))) as bare:
        assert not revision_check.is_current(bare)


def test_post_steps_may_be_left(database: Database, tmp_path: Path) -> None:
    for name, script in (
        ("0001_a", ""),
        ("0002_b", ""),
        ("0003_c", "post = True\n"),
        ("0004_d", "post = True"),
    ):
        (tmp_path / f"{name}.py").write_text(script)
    for revision, fits in (("0001", False), ("0002", True), ("0003", True), ("0004", True)):
        moved(database, revision)
        assert revision_check.is_current(database, tmp_path) == fits
