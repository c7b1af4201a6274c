"""``examples/flask``, run as its README says: a job, a retry, a rollback, a schedule, its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.example_projects import ExampleProject, OutsideService, call, ended_job, outside_service
from tests.support import wait_until

CELERY = ("celery", "-A", "make_celery")
FLASK = ("flask", "--app", "make_celery")


@pytest.fixture
def payments() -> Iterator[OutsideService]:
    with outside_service({"receipt": "r-1"}) as service:
        yield service


@pytest.fixture
def project(
    payments: OutsideService, redis_url: str, bare_database_url: str, tmp_path: Path
) -> Iterator[ExampleProject]:
    variables = {
        "FLASK_SQLALCHEMY_DATABASE_URI": bare_database_url,
        "FLASK_BROKER_URL": redis_url,
        "FLASK_PAYMENTS_URL": payments.url,
        "FLASK_TURNOVER_EVERY": 1,
        "CELERIAC_RETRY_BASE": 0.1,
    }
    with ExampleProject("flask", tmp_path, variables=variables) as project:
        yield project


def test_its_own_tests_pass(tmp_path: Path) -> None:
    with ExampleProject("flask", tmp_path, variables={}) as project:
        assert " passed" in project.tests()


def test_the_shop_charges_retries_rolls_back_and_counts(
    project: ExampleProject, payments: OutsideService, bare_database_url: str
) -> None:
    project.run(*CELERY, "db", "upgrade")
    project.run(*FLASK, "db", "upgrade")
    project.run(*FLASK, "db", "check")  # Flask-Migrate leaves the ledger's tables alone
    worker = project.start(*CELERY, "worker", "-c", "1")
    beat = project.start(*CELERY, "beat")
    address = project.serve(*FLASK, "run", "--port")

    status, placed = call(f"{address}/orders", {"item": "tea", "amount": 500})
    assert status == 202
    job = ended_job(address, placed["job"], workers=[worker])
    assert job == {"task": "shop.charge", "state": "completed", "tries": 2}
    assert payments.calls == [placed["job"]] * 2  # ill once, then well, with the same key
    assert call(f"{address}/orders/{placed['id']}")[1]["receipt"] == "r-1"

    assert call(f"{address}/orders", {"item": "tea", "amount": 100_001})[0] == 409
    by_hand = project.run(*FLASK, "orders", "place", "coffee", "300").split()[-1]
    assert ended_job(address, by_hand, workers=[worker])["state"] == "completed"

    engine = create_engine(bare_database_url)
    with engine.connect() as connection:
        orders = connection.execute(text("SELECT amount FROM orders ORDER BY id")).scalars().all()
        charges = text("SELECT count(*) FROM background_jobs WHERE job_type = 'shop.charge'")
        assert (list(orders), connection.execute(charges).scalar()) == ([500, 300], 2)  # not of the refused

    def turnover() -> int | None:
        assert beat.status is None
        with engine.connect() as connection:
            return connection.execute(text("SELECT amount FROM turnovers")).scalar()

    wait_until(lambda: turnover() == 800, within=60, saying="the schedule has counted both orders")
    engine.dispose()
