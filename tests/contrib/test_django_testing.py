"""Tests of a Django project: the ledger is in the database that Django makes for them, and nothing leaks."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis
from sqlalchemy import create_engine, make_url, text

from tests.contrib.project import Project

TESTS = ("testing/test_jobs.py", "shop/tests.py")


@pytest.fixture
def project(bare_database_url: str, redis_url: str) -> Project:
    return Project(bare_database_url, redis_url)


def rows(url: str) -> int:
    engine = create_engine(make_url(url))
    try:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM background_jobs")).scalar_one())
    finally:
        engine.dispose()


def keys(url: str) -> int:
    with closing(redis.Redis.from_url(url)) as client:
        return int(client.dbsize())


def test_a_projects_tests_leave_its_own_ledger_and_broker_alone(project: Project) -> None:
    project.manage("migrate")
    assert " passed" in project.tests(*TESTS)
    assert rows(project.database) == 0
    assert keys(project.broker) == 0


def test_they_run_in_parallel(project: Project) -> None:
    assert " passed" in project.tests(*TESTS, "-n", "2")
    assert "OK" in project.manage("test", "shop", "--parallel", "2")


def test_they_run_where_django_makes_tables_without_migrations(project: Project) -> None:
    assert " passed" in project.tests(*TESTS, "--nomigrations")


def test_jobs_are_shown_replayed_and_cancelled_in_the_admin(project: Project) -> None:
    assert " passed" in project.tests("testing/test_admin.py")


def test_djangos_tasks_framework_has_the_ledger_behind_it(project: Project) -> None:
    assert " passed" in project.tests("testing/test_tasks_framework.py")
