"""Upgrades while jobs go on, and programs of two versions beside one ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import Engine

from celeriac.errors import LedgerTooNew, MigrationBlocked, MigrationNeeded
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.revisions import OURS, Revisions, RevisionState
from celeriac.ledger.writes import new_jobs
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call
from tests.new_jobs import new_job
from tests.support import wait_until

_LATER = '''
"""A step of a version to come."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = {revision!r}, {before!r}, None, None
post = {post}
def upgrade():
    op.{up}
def downgrade():
    op.{down}
'''

_TABLE = "background_jobs"


@pytest.fixture
def later(tmp_path: Path) -> Revisions:
    """A version to come: it adds a column, and takes one away when the old version has gone."""
    add = f"add_column({_TABLE!r}, sa.Column('mood', sa.String(8), nullable=True))"
    drop = f"drop_column({_TABLE!r}, 'mood')"
    folder = tmp_path / "later"
    folder.mkdir()
    for revision, before, post, up, down in (
        ("9001", OURS.head, False, add, drop),
        ("9002", "9001", True, drop, add),
    ):
        step = _LATER.format(revision=revision, before=before, post=post, up=up, down=down)
        (folder / f"{revision}.py").write_text(step)
    return Revisions((*OURS.folders, folder))


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    made = create_engine(postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def started() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit


def columns(connection: Connection) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(_TABLE)}


def one_revision_back(url: str) -> None:
    """To the revision before the indexes of 0010."""
    while migrate.downgrade(url) != "0009":
        pass


def test_a_producer_goes_on_while_indexes_are_made_behind_an_open_transaction(
    postgres_url: str, engine: Engine, started: Callable[..., Future[Any]]
) -> None:
    one_revision_back(postgres_url)
    with engine.connect() as other, closing(Database(make_url(postgres_url))) as database:
        new_jobs.enqueue(other, [new_job()])  # and does not commit
        upgrading = started(migrate.upgrade, postgres_url)
        making = text(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND state = 'active'"
        )
        with database.reading() as connection:
            wait_until(lambda: connection.execute(making).all(), within=30, saying="an index is being made")
        for _ in range(3):
            with database.transaction(within=20) as connection:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
                new_jobs.enqueue(connection, [new_job()])
        assert not upgrading.done()
        other.commit()
        assert upgrading.result(60) == OURS.wanted
        assert migrate.check(database) == []


def test_a_change_of_a_table_lets_others_pass_while_it_cannot_have_its_lock(
    postgres_url: str, engine: Engine, later: Revisions, started: Callable[..., Future[Any]]
) -> None:
    told: list[str] = []
    with engine.connect() as other, closing(Database(make_url(postgres_url))) as database:
        new_jobs.enqueue(other, [new_job()])
        with pytest.raises(MigrationBlocked, match=r"held by pid \d+ .*idle in transaction"):
            migrate.upgrade(postgres_url, revisions=later, patience=0)
        upgrading = started(migrate.upgrade, postgres_url, revisions=later, notify=told.append)
        wait_until(lambda: len(told) >= 2, within=30, saying="it tries again")
        with database.transaction(within=20) as connection:
            new_jobs.enqueue(connection, [new_job()])
        other.commit()
        assert upgrading.result(60) == "9001"
        assert "waits for a lock that is held by pid" in told[0]


def test_an_index_that_was_left_invalid_is_made_again(postgres_url: str, engine: Engine) -> None:
    name = "background_jobs_in_order"
    known = text("SELECT indisvalid, indexrelid::int id FROM pg_index WHERE indexrelid = to_regclass(:name)")
    with engine.begin() as connection:
        before = connection.execute(known, {"name": name}).one()
        left = text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)")
        connection.execute(left, {"name": name})
        connection.execute(text("UPDATE background_version SET version_num = '0016'"))
    until_there = Revisions()
    until_there.__dict__["wanted"] = "0017"
    assert migrate.upgrade(postgres_url, revisions=until_there) == "0017"
    with engine.connect() as connection:
        valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        assert connection.execute(valid, {"name": name}).scalar_one()
        assert (
            connection.execute(text("SELECT to_regclass(:name)::oid"), {"name": name}).scalar_one() != before
        )


#: What makes others wait for as long as the table is large, or breaks the program of before.
_OFFLINE = re.compile(
    r"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)|DROP INDEX (?!CONCURRENTLY)|\bDROP (TABLE|COLUMN|CONSTRAINT)"
    r"|\bTYPE\b|SET NOT NULL|RENAME|ADD (CONSTRAINT|CHECK)(?!.*NOT VALID)|ADD COLUMN .*NOT NULL(?!.*DEFAULT)",
    re.IGNORECASE | re.DOTALL,
)


def test_every_migration_can_be_made_while_jobs_go_on(bare_postgres_url: str) -> None:
    """But for those that make tables, which nobody uses yet, and for post steps, which may take away."""
    ran: list[tuple[str, str]] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        ran.append((revision, statement))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        for revision in OURS.known:
            until_there = Revisions()
            until_there.__dict__["wanted"] = revision
            assert migrate.upgrade(bare_postgres_url, revisions=until_there) == revision
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    offline = {
        (revision, statement)
        for revision, statement in ran
        if revision not in ("0001", "0002", "0012", "0014") and not OURS.is_post(revision)
        if _OFFLINE.search(statement) and statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP"))
    }
    assert offline == set(), "see celeriac.ledger.online, or declare it a post step: post = True"


def test_a_program_works_with_a_newer_ledger_that_works_with_it(database_url: str, later: Revisions) -> None:
    with closing(Database(make_url(database_url))) as database:
        assert migrate.require(database) is None
        assert migrate.upgrade(database_url, revisions=later) == "9001"
        assert migrate.require(database) == "9001"
        with pytest.raises(LedgerTooNew, match="revision 9001, which this version does not know"):
            migrate.check(database)
        with pytest.raises(LedgerTooNew, match="run the version that made it"):
            migrate.upgrade(database_url)
        with database.transaction() as connection:
            new_jobs.enqueue(connection, [new_job()])


def test_a_post_step_waits_until_it_is_asked_for(database_url: str, later: Revisions) -> None:
    with closing(Database(make_url(database_url))) as database:
        for _ in range(2):
            assert migrate.upgrade(database_url, revisions=later) == "9001"
        with database.reading() as connection:
            assert "mood" in columns(connection)
        assert migrate.require(database, revisions=later) is None
        assert migrate.upgrade(database_url, revisions=later, post=True) == "9002"
        assert migrate.upgrade(database_url, revisions=later) == "9002"
        assert migrate.require(database, revisions=later) is None
        with database.reading() as connection:
            assert "mood" not in columns(connection)
        with pytest.raises(LedgerTooNew):
            migrate.require(database)


def test_a_downgrade_takes_back_one_step(database_url: str, later: Revisions) -> None:
    with closing(Database(make_url(database_url))) as database:
        migrate.upgrade(database_url, revisions=later)
        assert migrate.downgrade(database_url, revisions=later) == OURS.head
        assert migrate.require(database) is None
        assert migrate.check(database) == []


def test_what_does_not_fit_is_told_apart() -> None:
    with pytest.raises(MigrationNeeded, match="run `celery -A app db upgrade`"):
        OURS.require(RevisionState("0002", None))
    with pytest.raises(LedgerTooNew):
        OURS.require(RevisionState("9001", None))  # made before anybody recorded whose program works with it
    assert OURS.require(RevisionState("9001", "0002")) == "9001"


def test_the_commands_say_where_the_ledger_stands(sqlite_url: str, later: Revisions, tmp_path: Path) -> None:
    app = build(Settings(database_url=sqlite_url, data_dir=tmp_path), set_as_current=False)
    said = call(app, "db", "upgrade")
    assert (said.exit_code, said.stdout) == (0, f"the ledger is at revision {OURS.head}\n")
    assert call(app, "db", "check").stdout == "the tables are as the models say\n"
    migrate.upgrade(sqlite_url, revisions=later)
    said = call(app, "db", "current")
    assert (said.exit_code, "9001" in said.stdout, "works with it" in said.stdout) == (0, True, True)
    for command in ("upgrade", "check", "downgrade"):
        said = call(app, "db", command, *(["--yes"] if command == "downgrade" else []))
        assert (said.exit_code, "run the version that made it" in said.stderr) == (1, True), command
    migrate.downgrade(sqlite_url, revisions=later)
    said = call(app, "db", "downgrade", answer="y\n")
    assert (said.exit_code, "take back revision" in said.stderr) == (0, True)
    said = call(app, "db", "current")
    assert (said.exit_code, "run `celery -A app db upgrade`" in said.stderr) == (1, True)
    app.close()
