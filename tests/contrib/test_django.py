"""Django: the ledger in the project's database, its tables by ``migrate``, an enqueue in its transaction."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url

from celeriac.ledger import migrate
from celeriac.ledger.connection.database import Database
from celeriac.ledger.former_names import VERSION_TABLE
from celeriac.ledger.revisions import OURS
from celeriac.ledger.schema.metadata import METADATA
from tests.contrib.project import ROOT, Project

TABLES = {*METADATA.tables, VERSION_TABLE}


def tables(url: str) -> set[str]:
    engine: Engine = create_engine(make_url(url))
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def differences(url: str) -> list[str]:
    with closing(Database(make_url(url))) as database:
        return migrate.check(database)


@pytest.fixture
def project(bare_database_url: str) -> Project:
    """The project before its first ``migrate``."""
    return Project(bare_database_url)


def test_migrate_makes_the_ledgers_tables_as_the_models_have_them(project: Project) -> None:
    assert "celeriac.0001_ledger... OK" in project.manage("migrate")
    assert differences(project.database) == []
    assert "No migrations to apply" in project.manage("migrate")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert "no issues" in project.manage("check")


def test_migrate_takes_over_a_ledger_that_is_there(project: Project) -> None:
    migrate.upgrade(project.database)
    project.manage("migrate")
    assert differences(project.database) == []


def test_migrate_to_zero_takes_the_tables_away_and_nothing_else(project: Project) -> None:
    project.manage("migrate")
    project.manage("migrate", "celeriac", "zero")
    assert TABLES & tables(project.database) == set()
    assert "shop_order" in tables(project.database)
    project.manage("migrate")
    assert differences(project.database) == []


def test_only_the_database_of_the_ledger_gets_its_tables(
    bare_database_url: str, bare_sqlite_url: str
) -> None:
    settings = {
        "PROJECT_LEDGER": bare_database_url,
        "PROJECT_CELERIAC": json.dumps({"DJANGO_DATABASE": "jobs"}),
    }
    project = Project(f"{bare_sqlite_url}.other", settings=settings)
    project.manage("migrate")
    assert TABLES & tables(project.database) == set()
    project.manage("migrate", "--database", "jobs")
    assert differences(bare_database_url) == []


def test_a_ledger_that_is_named_elsewhere_is_left_to_its_own_command(
    bare_database_url: str, bare_sqlite_url: str
) -> None:
    project = Project(bare_database_url, settings={"CELERIAC_DATABASE_URL": f"{bare_sqlite_url}.other"})
    project.manage("migrate")
    assert TABLES & tables(project.database) == set()


def test_each_revision_of_the_ledger_has_a_migration() -> None:
    """``manage.py migrate`` of a new version brings the tables to what that version wants."""
    folder = ROOT / "celeriac" / "contrib" / "django" / "migrations"
    newest = max(folder.glob("0*.py")).read_text()
    assert f'REVISION = "{OURS.wanted}"' in newest


def test_an_enqueue_is_part_of_djangos_transaction(project: Project, redis_url: str) -> None:
    live = Project(project.database, redis_url)
    live.manage("migrate")
    assert "passed" in live.live()


def test_it_is_where_django_reads_no_time_zones(bare_postgres_url: str, redis_url: str) -> None:
    """Django's cursor then gives moments without a zone."""
    live = Project(bare_postgres_url, redis_url, settings={"PROJECT_USE_TZ": "no"})
    live.manage("migrate")
    assert "passed" in live.live()


def test_a_commit_stands_while_the_broker_is_away(project: Project) -> None:
    project.manage("migrate")
    assert "1 passed" in project.live("away")


def test_an_enqueue_joins_a_ledger_in_another_of_djangos_databases(
    bare_database_url: str, bare_sqlite_url: str, redis_url: str
) -> None:
    settings = {
        "PROJECT_LEDGER": bare_database_url,
        "PROJECT_CELERIAC": json.dumps({"DJANGO_DATABASE": "jobs"}),
    }
    project = Project(f"{bare_sqlite_url}.other", redis_url, settings=settings)
    for alias in ("default", "jobs"):
        project.manage("migrate", "--database", alias)
    assert "passed" in project.live("elsewhere")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"MAX_TRYS": 3}, "CELERIAC['MAX_TRYS']: there is no such setting; did you mean MAX_TRIES?"),
        ({"BROKER_URL": "redis://"}, "CELERIAC['BROKER_URL']: there is no such setting; it is Celery's"),
        ({"DJANGO_DATABASE": "nowhere"}, "wanted one of DATABASES (default), found 'nowhere'"),
        ({"MAX_TRIES": 0}, "CELERIAC_MAX_TRIES: Input should be greater than or equal to 1"),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_refused_by_name(
    bare_sqlite_url: str, settings: dict[str, object], told: str
) -> None:
    project = Project(bare_sqlite_url, settings={"PROJECT_CELERIAC": json.dumps(settings)})
    assert told in project.manage("migrate", status=1)


def test_a_database_that_cannot_have_the_ledger_is_refused_by_name(bare_sqlite_url: str) -> None:
    project = Project(bare_sqlite_url, settings={"PROJECT_ENGINE": "proj.mariadb"})
    told = project.run("-m", "celery", "-A", "proj", "jobs", "list", status=1)
    assert "DATABASES['default']: the ledger lives in PostgreSQL or SQLite, found mysql; name its" in told


def test_a_command_reads_the_settings_before_an_engine_with_models_can_be_imported(
    bare_sqlite_url: str,
) -> None:
    """PostGIS's is one: Celery's commands read the settings before anybody called ``django.setup()``."""
    project = Project(bare_sqlite_url, settings={"PROJECT_ENGINE": "proj.late"})
    project.manage("migrate")
    assert "no job fits" in project.run("-m", "celery", "-A", "proj", "jobs", "list", status=1)


def test_beside_such_a_database_the_ledger_is_elsewhere_and_jobs_follow_the_commit(
    bare_sqlite_url: str, database_url: str, redis_url: str
) -> None:
    settings = {"PROJECT_ENGINE": "proj.mariadb", "CELERIAC_DATABASE_URL": database_url}
    project = Project(f"{bare_sqlite_url}.other", redis_url, settings=settings)
    project.manage("migrate")
    assert "passed" in project.live("apart")
