"""``examples/fastapi``, run as its README says: a job, a retry, a rollback, a schedule, its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.example_projects import ExampleProject, OutsideService, call, ended_job, outside_service
from tests.support import wait_until

CELERY = ("celery", "-A", "shop.worker")


@pytest.fixture
def mails() -> Iterator[OutsideService]:
    with outside_service({}) as service:
        yield service


@pytest.fixture
def project(
    mails: OutsideService, redis_url: str, bare_database_url: str, tmp_path: Path
) -> Iterator[ExampleProject]:
    variables = {
        "DATABASE_URL": bare_database_url,
        "BROKER_URL": redis_url,
        "MAIL_URL": mails.url,
        "DIGEST_EVERY": 1,
        "CELERIAC_RETRY_BASE": 0.1,
    }
    with ExampleProject("fastapi", tmp_path, variables=variables) as project:
        yield project


def test_its_own_tests_pass(tmp_path: Path) -> None:
    with ExampleProject("fastapi", tmp_path, variables={}) as project:
        assert " passed" in project.tests()


def test_the_shop_welcomes_retries_rolls_back_and_counts(
    project: ExampleProject, mails: OutsideService, bare_database_url: str
) -> None:
    project.run(*CELERY, "db", "upgrade")
    address = project.serve("uvicorn", "shop.main:api", "--port")
    worker = project.start(*CELERY, "worker", "-c", "1")
    beat = project.start(*CELERY, "beat")

    status, joined = call(f"{address}/members", {"email": "ada@example.org"})
    assert status == 202
    job = ended_job(address, joined["job"], workers=[worker])
    assert job == {"task": "shop.welcome", "state": "completed", "tries": 2}
    assert mails.calls == [joined["job"]] * 2  # ill once, then well, with the same key
    assert call(f"{address}/members/{joined['id']}")[1]["welcomed"] is True

    assert call(f"{address}/members", {"email": "ada@example.org"})[0] == 409
    by_hand = call(f"{address}/digests", {})[1]["job"]
    assert ended_job(address, by_hand, workers=[worker])["state"] == "completed"

    engine = create_engine(bare_database_url)
    with engine.connect() as connection:
        members = text("SELECT count(*) FROM members")
        welcomes = text("SELECT count(*) FROM background_jobs WHERE job_type = 'shop.welcome'")
        assert connection.execute(members).scalar() == connection.execute(welcomes).scalar() == 1

    def fired() -> int:
        assert beat.status is None
        counted = text(
            "SELECT count(*) FROM background_jobs WHERE schedule = 'digest' AND state = 'completed'"
        )
        with engine.connect() as connection:
            return connection.execute(counted).scalar() or 0

    wait_until(lambda: fired() >= 2, within=60, saying="the schedule has fired twice")
    engine.dispose()
