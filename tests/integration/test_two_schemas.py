"""Two ledgers in one PostgreSQL database, each in a schema of its own: neither sees or touches the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.orm import Session

from celeriac import Retention, dead_letters, enqueue_in, enqueue_many, job, prune, register
from celeriac.application import Celeriac
from celeriac.errors import AnotherDatabase, JobNotFound, MigrationRefused, SettingsError
from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.revisions import OURS
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.doctor import examine
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call
from tests.former import former_ledger
from tests.integration.test_ledger import Ledger
from tests.integration.test_table_names import TABLES, fill, rows
from tests.new_jobs import new_job
from tests.servers import PgBouncerServer, PostgresServer

ONE, TWO = "shop", "blog"


@contextmanager
def opened(url: str, schema: str | None, **options: Any) -> Iterator[Database]:
    with closing(Database(make_url(url), schema, **options)) as database:
        yield database


@pytest.fixture
def one(bare_postgres_url: str) -> Iterator[Database]:
    migrate.upgrade(bare_postgres_url, schema=ONE)
    with opened(bare_postgres_url, ONE) as database:
        yield database


@pytest.fixture
def two(bare_postgres_url: str) -> Iterator[Database]:
    migrate.upgrade(bare_postgres_url, schema=TWO)
    with opened(bare_postgres_url, TWO) as database:
        yield database


def counts(*ledgers: Database) -> list[dict[str, int]]:
    """How many rows each ledger has, by table."""
    return [{name: len(found) for name, found in rows(each).items()} for each in ledgers]


EMPTY = dict.fromkeys((table.name for table in TABLES), 0)
FULL = dict.fromkeys((table.name for table in TABLES), 1)


def test_each_ledger_has_its_own_rows(one: Database, two: Database) -> None:
    id = fill(one)
    assert counts(one, two) == [FULL, EMPTY]
    fill(two)
    assert Ledger(two).do(lambda it: it.execute(select(func.count()).where(JOBS.c.id == id))).scalar() == 0
    with two.transaction() as connection:
        connection.execute(JOBS.delete())
    assert counts(one, two)[0] == FULL


def test_no_statement_leaves_the_schema_out(one: Database) -> None:
    """There are no tables where a session would look, so it would fail; this says which one it was."""
    said: list[str] = []
    event.listen(one.engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    fill(one)
    rows(one)
    statements = [re.sub(r"background_\w+_\d+", "alias", statement) for statement in said]
    assert sum(f"{ONE}.background_" in statement for statement in statements) > 10
    named = re.compile(rf'"?{ONE}"?\.background_|UPDATE OF background_')  # which table to lock goes without
    rest = [named.sub("", statement) for statement in statements]
    assert [statement for statement in rest if "background_" in statement] == []


def test_further_connections_to_a_ledger_are_to_its_schema(one: Database) -> None:
    """The console's, and those for the most frequent writes."""
    fill(one)
    for made in (one.with_generic_plans(), one.for_reading(within=20, pool=1)):
        with closing(made), made.reading() as connection:
            assert connection.execute(select(func.count()).select_from(JOBS)).scalar_one() == 1


def test_upgrades_and_downgrades_concern_one_ledger(bare_postgres_url: str, two: Database) -> None:
    fill(two)
    assert migrate.upgrade(bare_postgres_url, schema=ONE, post=True) == OURS.head
    with opened(bare_postgres_url, ONE) as one, opened(bare_postgres_url, None) as none:
        assert migrate.check(one) == migrate.check(two) == []
        assert migrate.current(none) is None
        while migrate.downgrade(bare_postgres_url, schema=ONE) is not None:
            pass
        assert (migrate.current(one), migrate.current(two)) == (None, OURS.head)
        with one.reading() as connection:
            assert inspect(connection).get_table_names(ONE) == inspect(connection).get_table_names() == []
        assert counts(two) == [FULL]
        assert migrate.check(two) == []


def test_a_former_ledger_stays_where_it_is(bare_postgres_url: str, one: Database) -> None:
    """A schema that is chosen later begins empty, and leaves the old tables alone."""
    former_ledger(bare_postgres_url, revision="0004")
    fill(one)
    with opened(bare_postgres_url, None) as none, opened(bare_postgres_url, "public") as public:
        assert (migrate.current(none), migrate.current(public), migrate.current(one)) == (
            "0004", "0004", OURS.head,
        )  # fmt: skip
        assert migrate.upgrade(bare_postgres_url, schema="public") == OURS.head
        assert migrate.check(none) == migrate.check(public) == migrate.check(one) == []
        assert migrate.serves_older(public)
        assert not migrate.serves_older(one)


def test_a_role_that_may_not_make_the_schema_is_told(bare_postgres_url: str) -> None:
    role = make_url(bare_postgres_url).set(username="clerk_without")
    engine = create_engine(bare_postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE clerk_without LOGIN"))
    try:
        with pytest.raises(MigrationRefused, match="CREATE SCHEMA shop AUTHORIZATION clerk_without"):
            migrate.upgrade(role, schema=ONE)
        with engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA shop AUTHORIZATION clerk_without"))
        assert migrate.upgrade(role, schema=ONE) == OURS.wanted
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY clerk_without CASCADE"))
            connection.execute(text("DROP ROLE clerk_without"))
        engine.dispose()


@pytest.mark.parametrize(
    "name", ["Shop", "pg_shop", "shop;", 'sh"op', "1shop", "s" * 64, "information_schema"]
)
def test_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    app = Celeriac(
        "named", ledger="postgresql://localhost/shop", celeriac_schema=name, set_as_current=False
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"CELERIAC_SCHEMA: wanted a schema's name"):
        _ = app.settings


def test_sqlite_has_no_schemas(tmp_path: Path) -> None:
    app = Celeriac("file", ledger=f"sqlite:///{tmp_path}/x.db", celeriac_schema="shop", set_as_current=False)
    with pytest.raises(SettingsError, match="CELERIAC_SCHEMA is for PostgreSQL"):
        _ = app.settings


def test_the_setting_is_taken_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(**options: Any) -> Celeriac:
        return Celeriac("any", ledger="postgresql://localhost/shop", set_as_current=False, **options)

    assert made().settings.database_schema is None
    monkeypatch.setenv("CELERIAC_SCHEMA", "blog")
    assert made().settings.database_schema == "blog"
    assert made(celeriac_schema="shop").settings.database_schema == "shop"
    late = made()
    assert late.database.schema == "blog"
    late.conf.update(celeriac_schema="shop")
    late.check_configuration()
    assert late.database.schema == "shop"


# ---- two apps


@pytest.fixture
def apps(bare_postgres_url: str, redis_url: str, one: Database, two: Database) -> Iterator[list[Celeriac]]:
    made = [an_app(bare_postgres_url, redis_url, schema) for schema in (ONE, TWO)]
    yield made
    for app in made:
        app.close()


def an_app(url: str, broker: str, schema: str) -> Celeriac:
    settings = Settings(
        database_url=url,
        broker_url=broker,
        database_schema=schema,
        prefix=f"{schema}:",
        schedule_module="none",
    )
    app = build(settings, name=schema, set_as_current=False)

    app.task(name="note", shared=False)(note)
    return app


def note(*args: Any) -> None: ...


def known(app: Celeriac) -> int:
    with app.database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(JOBS)).scalar_one())


def test_every_way_in_writes_to_its_own_ledger(apps: list[Celeriac]) -> None:
    first, second = apps
    task = first.tasks["note"]
    task.delay(1)  # the compiled statement
    task.apply_async((2,), task_id=str(new_job().id))
    enqueue_many(task, [(number,) for number in range(1500)])  # COPY
    assert (known(first), known(second)) == (1502, 0)


def test_a_session_of_the_application_stays_as_it_is(apps: list[Celeriac], bare_postgres_url: str) -> None:
    first, second = apps
    engine = create_engine(bare_postgres_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
        with Session(engine) as session, session.begin():
            session.execute(text("INSERT INTO orders VALUES (1)"))
            with enqueue_in(session, app=first):
                first.tasks["note"].delay(1)
            with enqueue_in(session, app=second):
                for _ in range(3):
                    second.tasks["note"].delay(2)
            options = session.connection().get_execution_options()
            assert "schema_translate_map" not in options, "their statements name no schema of ours"
        assert (known(first), known(second)) == (1, 3)
    finally:
        engine.dispose()


def test_a_session_of_a_database_without_the_schema_is_refused(
    apps: list[Celeriac], postgres_url: str
) -> None:
    engine = create_engine(postgres_url)
    try:
        with Session(engine) as session, pytest.raises(AnotherDatabase), enqueue_in(session, app=apps[0]):
            pass
    finally:
        engine.dispose()


def test_operators_see_and_change_one_ledger(apps: list[Celeriac]) -> None:
    first, second = apps
    result = first.tasks["note"].delay(1)
    register("hourly", "note", every=timedelta(hours=1), app=first)
    for app in apps:
        fill(app.database)
    dead = [Ledger(app.database).failed() for app in apps]
    listed = [json.loads(call(app, "schedules", "list", "--json").stdout)["schedules"] for app in apps]
    assert [{each["name"] for each in found} for found in listed] == [{"hourly", "nightly"}, {"nightly"}]
    assert job(result.id, app=first).state == JobState.PENDING
    with pytest.raises(JobNotFound):
        job(result.id, app=second)
    before = counts(second.database)
    assert not dead_letters.replay_one(str(dead[1]), app=first)
    assert dead_letters.replay_one(str(dead[0]), app=first)
    Ledger(first.database).failed()
    gone = prune(app=first, retention=Retention(done=timedelta(0), dead=timedelta(0)))
    assert sum(gone.values())
    assert counts(second.database) == before
    assert f"in schema {ONE}" in call(first, "db", "current").stdout
    assert json.loads(call(second, "db", "current", "--json").stdout)["schema"] == TWO
    (found,) = [each for each in examine(first) if each.check == "migrations"]
    assert f"of schema {ONE}" in found.sentence


# ---- behind PgBouncer


def test_a_pooler_in_transaction_mode_mixes_nothing(private_postgres: PostgresServer) -> None:
    """Both ledgers share the sessions of the server."""
    private_postgres.create_database("shared")
    with PgBouncerServer(private_postgres, connections=2) as bouncer:
        url = bouncer.url("shared")
        for schema in (ONE, TWO):
            assert migrate.upgrade(url, schema=schema, post=True) == OURS.head
        with opened(url, ONE, prepared=False) as one, opened(url, TWO, prepared=False) as two:
            assert migrate.check(one) == migrate.check(two) == []
            fill(one)
            assert counts(one, two) == [FULL, EMPTY]
            fill(two)
            assert counts(one, two) == [FULL, FULL]
            assert migrate.downgrade(url, schema=ONE) is not None
            assert migrate.current(two) == OURS.head
        with private_postgres.connect("shared") as connection:
            assert connection.execute("SELECT to_regclass('background_jobs')").fetchone() == (None,)
