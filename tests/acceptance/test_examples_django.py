"""``examples/django``, run as its README says: a job, a retry, a rollback, a schedule, its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.example_projects import ExampleProject, OutsideService, call, ended_job, outside_service
from tests.support import wait_until

CELERY = ("celery", "-A", "proj")


@pytest.fixture
def payments() -> Iterator[OutsideService]:
    with outside_service({"receipt": "r-1"}) as service:
        yield service


def variables_of(url: str) -> dict[str, object]:
    """What names a database of PostgreSQL to the project; nothing for SQLite, whose file is its own."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {}
    named = {"DB": parsed.database, "USER": parsed.username, "HOST": parsed.host, "PORT": parsed.port}
    return {f"POSTGRES_{name}": value for name, value in named.items()}


@pytest.fixture
def project(
    payments: OutsideService, redis_url: str, bare_database_url: str, tmp_path: Path
) -> Iterator[ExampleProject]:
    variables = variables_of(bare_database_url) | {
        "BROKER_URL": redis_url,
        "PAYMENTS_URL": payments.url,
        "TURNOVER_EVERY": 1,
        "RETRY_BASE": 0.1,
    }
    with ExampleProject("django", tmp_path, variables=variables) as project:
        yield project


def test_its_own_tests_pass(bare_database_url: str, tmp_path: Path) -> None:
    with ExampleProject("django", tmp_path, variables=variables_of(bare_database_url)) as project:
        assert " passed" in project.tests()
        assert "No changes detected" in project.run("manage", "makemigrations", "--check")


def test_the_shop_charges_retries_rolls_back_and_counts(
    project: ExampleProject, payments: OutsideService, bare_database_url: str
) -> None:
    project.run("manage", "migrate")
    worker = project.start(*CELERY, "worker", "-c", "1")
    beat = project.start(*CELERY, "beat")
    address = project.serve("manage", "runserver", "--noreload")

    status, placed = call(f"{address}/orders", {"item": "tea", "amount": 500})
    assert status == 202
    job = ended_job(address, placed["job"], workers=[worker])
    assert job == {"task": "shop.tasks.charge", "state": "completed", "tries": 2}
    assert payments.calls == [placed["job"]] * 2  # ill once, then well, with the same key
    assert call(f"{address}/orders/{placed['id']}")[1]["receipt"] == "r-1"

    assert call(f"{address}/orders", {"item": "tea", "amount": 100_001})[0] == 409
    by_hand = project.run("manage", "place_order", "coffee", "300").split()[-1]
    assert ended_job(address, by_hand, workers=[worker])["state"] == "completed"

    here = f"sqlite:///{project.home / 'db.sqlite3'}"
    engine = create_engine(here if "sqlite" in bare_database_url else bare_database_url)
    with engine.connect() as connection:
        orders = connection.execute(text("SELECT amount FROM shop_order ORDER BY id")).scalars().all()
        charges = text("SELECT count(*) FROM background_jobs WHERE job_type = 'shop.tasks.charge'")
        assert (list(orders), connection.execute(charges).scalar()) == ([500, 300], 2)  # not of the refused

    def turnover() -> int | None:
        assert beat.status is None
        with engine.connect() as connection:
            return connection.execute(text("SELECT amount FROM shop_turnover")).scalar()

    wait_until(lambda: turnover() == 800, within=60, saying="the schedule has counted both orders")
    engine.dispose()
