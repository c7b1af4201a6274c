"""A ledger of before revision 0011 gets the names of now, and back; tables of others are left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Table, inspect, make_url, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from celeriac.errors import LedgerTooNew, MigrationBlocked, MigrationNeeded, MigrationRefused
from celeriac.ids import new_id
from celeriac.ledger import former_names, migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.former_names import FORMER
from celeriac.ledger.reads import job_rows
from celeriac.ledger.revisions import OURS, Revisions, RevisionState
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.schema.metadata import METADATA
from celeriac.ledger.schema.models import FAILURES, JOBS, SCHEDULES, WORKER_TASKS, WORKERS
from celeriac.ledger.upkeep import prune, rescue
from celeriac.ledger.writes import new_jobs, outcomes, schedule_rows
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.schedule_rows import Advance
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call
from tests.former import former_ledger, speaking_as_before
from tests.new_jobs import new_job
from tests.support import wait_until
from tests.test_migrations import described

TABLES = (JOBS, FAILURES, WORKERS, WORKER_TASKS, SCHEDULES)

#: A program of before: it knows the revisions up to 0010.
BEFORE = Revisions()
BEFORE.__dict__["known"] = tuple(revision for revision in OURS.known if revision < "0011")


@pytest.fixture
def database(bare_database_url: str) -> Iterator[Database]:
    with closing(Database(make_url(bare_database_url), pool=3)) as made:
        yield made


@pytest.fixture
def former(bare_postgres_url: str) -> Iterator[Database]:
    with closing(Database(make_url(former_ledger(bare_postgres_url)), pool=3)) as made:
        yield made


@pytest.fixture
def started() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit


def address(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def fill(database: Database, *, schedule: str = "nightly") -> UUID:
    """A row in each table; the id of a job whose first attempt failed."""
    worker, job = UUID(new_id()), new_job()
    start = {
        "id": worker, "hostname": "celery@here", "pid": 1, "pool": "solo", "concurrency": 1,
        "queues": ["low"], "tasks": "hash", "version": "1", "started": now(), "heartbeat": now(),
    }  # fmt: skip
    failure = Failure(AttemptKind.ERROR, "ValueError", "wrong", "mail.py:send", "Traceback …")
    with database.transaction() as connection:
        # Not by a worker and a claim of now, which know columns of later revisions.
        into = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        for _ in range(2):  # the second time as a worker that finds itself declared dead
            alive = {"heartbeat": now(), "stopped": None}
            signed_on = into(WORKERS).values(**start)
            connection.execute(signed_on.on_conflict_do_update(index_elements=["id"], set_=alive))
        known = into(WORKER_TASKS).values(tasks="hash", name="mail.send")
        connection.execute(known.on_conflict_do_nothing())
        new_jobs.enqueue(connection, [job])
        runs = {"state": JobState.RUNNING, "worker_id": worker, "started": now(), "try_count": 1}
        connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(runs))
        failed = Outcome(id=job.id, attempt=1, state=JobState.ERROR, failure=failure)
        assert outcomes.record(connection, [failed], worker=worker) == {job.id: JobState.ERROR}
        due = schedule_rows.clock(connection)
        for _ in range(2):  # made, and changed
            schedule_rows.put(connection, schedule, _DEFINITION | {"anchor": due, "next_run": due})
        (row,) = schedule_rows.due(connection, due + timedelta(seconds=1), limit=9, only=schedule)
        later = due + timedelta(days=1)
        schedule_rows.advance(
            connection, [Advance(name=schedule, due=row.next_run, next_run=later, last_run=due, fired=1)]
        )
    return job.id


_DEFINITION = {
    "task": "mail.send", "args": [], "kwargs": {}, "options": {}, "kind": "interval", "expression": "86400",
    "timezone": "UTC", "starts": None, "ends": None, "catch_up": "once", "catch_up_limit": 1,
    "overlap": "allow", "jitter": 0.0, "static": False, "enabled": True,
}  # fmt: skip


def rows(database: Database) -> dict[str, list[Any]]:
    """All rows of all tables, under their names of now, without what later revisions have added."""
    with database.reading() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(_former_columns(table)).all()), key=str)
            for table in TABLES
        }


def _former_columns(table: Table) -> Any:
    return select(*(column for column in table.c if column.name not in _LATER))


_LIMITS = [f"{what}_{number}" for what in ("permit", "weight") for number in (1, 2, 3)]
_UNIQUE = ["unique_key", "unique_while", "follows"]
_LATER = {"code_version", "held", "line", "ordered", "fair_key", "turn", *_LIMITS, *_UNIQUE}


def objects(connection: Connection) -> set[str]:
    """The names of all tables, views, indexes and constraints."""
    if connection.dialect.name == "sqlite":
        return set(connection.execute(text("SELECT name FROM sqlite_master")).scalars())
    found = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """
    return set(connection.execute(text(found)).scalars())


def sign_off_all(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE workers SET stopped = heartbeat"))


@pytest.mark.parametrize("revision", ["0001", "0006", "0010"])
def test_a_former_ledger_gets_the_names_of_a_new_one(
    bare_database_url: str, database: Database, revision: str
) -> None:
    former_ledger(bare_database_url, revision=revision)
    assert migrate.current(database) == revision
    with pytest.raises(MigrationNeeded, match=f"at revision {revision}, this version wants"):
        migrate.require(database)
    assert migrate.upgrade(bare_database_url, post=True) == OURS.head
    assert migrate.check(database) == []
    with database.reading() as connection:
        upgraded, names = described(connection), objects(connection)
    while migrate.downgrade(bare_database_url) is not None:
        pass
    migrate.upgrade(bare_database_url)
    with database.reading() as connection:
        assert (upgraded, names) == (described(connection), objects(connection))
    assert all(name.startswith("background_") for name in upgraded)


def test_a_former_ledger_keeps_its_rows_up_and_down(bare_database_url: str, database: Database) -> None:
    former_ledger(bare_database_url)
    with speaking_as_before(database):
        fill(database)
        sign_off_all(database)
        known = rows(database)
    assert all(known.values())
    assert migrate.upgrade(bare_database_url) == OURS.head
    assert rows(database) == known
    while migrate.downgrade(bare_database_url) != "0010":
        pass
    with speaking_as_before(database):
        assert rows(database) == known
        fill(database)
    with database.reading() as connection:
        assert {*FORMER.values(), "alembic_version"} <= set(inspect(connection).get_table_names())
        assert former_names.is_former(connection)


def test_programs_of_before_go_on_beside_a_renamed_ledger_on_postgresql(former: Database) -> None:
    with speaking_as_before(former):
        fill(former)
    migrate.upgrade(address(former))
    job = fill(former, schedule="of the new")
    with speaking_as_before(former):
        fill(former, schedule="of the old")
        known = rows(former)
        assert len(known["background_schedules"]) == 3
        with former.transaction() as connection:
            (sighting, *_) = rescue.sightings(connection)
            assert [attempt.attempt for attempt in job_rows.attempts(connection, [job])] == [1]
            assert schedule_rows.remove(connection, "of the new")
            schedule_rows.retire(connection, [])
            prune.prune_workers(connection, age=0.0)
            assert rescue.declare_dead(connection, sighting)
        with former.transaction() as one, former.transaction() as other:
            assert schedule_rows.find(one, "nightly", lock=True) is not None
            moment = schedule_rows.clock(other) + timedelta(days=2)
            assert {row.name for row in schedule_rows.due(other, moment, limit=9)} == {"of the old"}
        known = rows(former)
    assert rows(former) == known


def test_a_program_of_before_may_be_restarted_on_postgresql(former: Database) -> None:
    migrate.upgrade(address(former))
    assert BEFORE.require(read_as_before(former)) == OURS.head
    migrate.upgrade(address(former), post=True)
    with former.reading() as connection:
        assert inspect(connection).get_view_names() == []


def test_a_program_of_before_learns_that_it_must_end_on_sqlite(bare_sqlite_url: str) -> None:
    former_ledger(bare_sqlite_url)
    with closing(Database(make_url(bare_sqlite_url))) as database:
        migrate.upgrade(bare_sqlite_url)
        with pytest.raises(LedgerTooNew, match="which this version does not know"):
            BEFORE.require(read_as_before(database))
        migrate.upgrade(bare_sqlite_url, post=True)
        with database.reading() as connection:
            assert inspect(connection).get_view_names() == []


def read_as_before(database: Database) -> RevisionState:
    """As programs of 0009 and 0010 read it."""
    with database.reading() as connection:
        assert inspect(connection).has_table("alembic_version")
        row = connection.execute(text("SELECT * FROM alembic_version")).mappings().one()
    return RevisionState(row["version_num"], row["works_with"])


def test_who_may_use_a_table_may_use_it_under_its_former_name(former: Database) -> None:
    with former.transaction() as connection:
        connection.execute(text("CREATE ROLE clerk_of_old"))
        connection.execute(text("GRANT SELECT, UPDATE ON workers TO clerk_of_old"))
    try:
        migrate.upgrade(address(former))
        with former.reading() as connection:
            asked = "SELECT has_table_privilege('clerk_of_old', 'workers', :right)"
            may = {
                right: connection.execute(text(asked), {"right": right}).scalar_one()
                for right in ("SELECT", "UPDATE", "DELETE")
            }
        assert may == {"SELECT": True, "UPDATE": True, "DELETE": False}
    finally:
        with former.transaction() as connection:
            connection.execute(text("DROP OWNED BY clerk_of_old"))
            connection.execute(text("DROP ROLE clerk_of_old"))


def test_an_older_worker_that_lives_is_not_cut_off(bare_database_url: str, database: Database) -> None:
    """On SQLite, which has no views to write through; and nowhere by ``--post``."""
    former_ledger(bare_database_url)
    with speaking_as_before(database):
        fill(database)
    post = database.dialect == "postgresql"
    with pytest.raises(MigrationRefused, match=r"1 workers of an older version live \(celery@here\)"):
        migrate.upgrade(bare_database_url, post=post)
    assert migrate.current(database) == "0010"
    with speaking_as_before(database):
        fill(database)  # nothing was renamed
        sign_off_all(database)
    assert migrate.upgrade(bare_database_url, post=post) == OURS.head
    assert not post or not migrate.serves_older(database)


def test_a_rename_lets_others_pass_while_it_cannot_have_its_lock(
    former: Database, started: Callable[..., Future[Any]]
) -> None:
    told: list[str] = []
    url = address(former)
    with speaking_as_before(former):
        fill(former)
        with former.transaction() as other:
            other.execute(text("UPDATE schedules SET run_count = run_count"))
            with pytest.raises(MigrationBlocked, match=r"the ledger is at revision 0010"):
                migrate.upgrade(url, patience=0)
            upgrading = started(migrate.upgrade, url, notify=told.append)
            wait_until(lambda: len(told) >= 2, within=30, saying="it tries again")
            with former.transaction() as connection:
                connection.execute(text("UPDATE workers SET heartbeat = heartbeat"))
        assert upgrading.result(60) == OURS.head
        fill(former)


def test_tables_of_the_application_are_left_alone(bare_database_url: str, database: Database) -> None:
    """They have our former names, and a history of their own."""
    theirs = {name: f"CREATE TABLE {name} (id INTEGER, mine TEXT)" for name in FORMER.values()}
    theirs["alembic_version"] = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
    with database.transaction() as connection:
        for made in theirs.values():
            connection.execute(text(made))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0005')"))
        connection.execute(text("INSERT INTO workers VALUES (1, 'theirs')"))
        connection.execute(text("CREATE INDEX schedules_due ON schedules (id)"))
        before = {name: found for name, found in described(connection).items() if name in theirs}
    assert migrate.current(database) is None
    assert migrate.upgrade(bare_database_url, post=True) == OURS.head
    assert migrate.check(database) == []
    fill(database)
    with pytest.raises(MigrationRefused, match="cannot be called as before revision 0011"):
        while migrate.downgrade(bare_database_url) != "0010":
            pass
    assert migrate.current(database) == "0011"
    fill(database, schedule="another")
    with database.reading() as connection:
        assert {name: found for name, found in described(connection).items() if name in theirs} == before
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "0005"
        assert connection.execute(text("SELECT mine FROM workers")).scalar_one() == "theirs"


@pytest.mark.parametrize("revision", ["0010", "f00d", None])
def test_a_table_of_our_name_that_is_not_ours_is_refused(
    bare_database_url: str, database: Database, revision: str | None
) -> None:
    with database.transaction() as connection:
        for name in ("background_jobs", "failed_attempts", "schedules", "workers"):
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))
        if revision:
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
            connection.execute(text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
    assert migrate.current(database) is None
    with pytest.raises(MigrationRefused, match="has a table background_jobs that is not the ledger's"):
        migrate.upgrade(bare_database_url)
    with database.reading() as connection:
        assert set(METADATA.tables) & set(inspect(connection).get_table_names()) == {"background_jobs"}


def test_the_commands_say_what_is_left_to_do(
    bare_database_url: str, database: Database, tmp_path: Path
) -> None:
    former_ledger(bare_database_url)
    app = build(Settings(database_url=bare_database_url, data_dir=tmp_path), set_as_current=False)
    said = call(app, "db", "current")
    assert (said.exit_code, "0010" in said.stdout, "db upgrade" in said.stderr) == (1, True, True)
    said = call(app, "db", "upgrade")
    assert (said.exit_code, "`celery -A app db upgrade --post`" in said.stdout) == (0, True)
    assert call(app, "db", "check").exit_code == 0
    said = call(app, "db", "upgrade", "--post")
    assert (said.exit_code, said.stdout) == (0, f"the ledger is at revision {OURS.head}\n")
    with database.reading() as connection:
        assert former_names.views(connection) == []
    app.close()
