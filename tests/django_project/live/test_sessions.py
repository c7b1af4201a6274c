"""``enqueue_in`` with a SQLAlchemy session, beside or inside of Django's transaction."""

import os
from collections.abc import Callable, Iterator

import pytest
from django.db import connection, transaction
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from celeriac import enqueue_in
from celeriac.errors import AnotherDatabase, BadArgument
from shop.models import Order
from shop.tasks import confirm

Ids = Callable[[], list[str]]
Count = Callable[[], int]
URL = make_url(os.environ["PROJECT_DATABASE"])
ON_SQLITE = URL.get_backend_name() == "sqlite"


class Stop(Exception):
    """Rolls back."""


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine(URL, connect_args={"timeout": 0.1} if ON_SQLITE else {})
    with Session(engine) as session:
        yield session
    engine.dispose()


def plain(result: object) -> str:
    return str(getattr(result, "id", result)).replace("-", "")


def test_a_job_of_the_session_outlives_a_rollback_of_django(
    session: Session, committed: Ids, sent: Count
) -> None:
    with pytest.raises(Stop), transaction.atomic():
        with session.begin(), enqueue_in(session):
            result = confirm.delay(1)
        Order.objects.create(name="book")
        raise Stop
    assert (committed(), sent(), Order.objects.count()) == ([plain(result)], 1, 0)


def test_a_rollback_of_the_session_takes_its_job_and_leaves_djangos(
    session: Session, committed: Ids, sent: Count
) -> None:
    with transaction.atomic():
        with pytest.raises(Stop), session.begin(), enqueue_in(session):
            confirm.delay(1)
            raise Stop
        kept = confirm.delay(2)
        Order.objects.create(name="book")
    assert (committed(), sent(), Order.objects.count()) == ([plain(kept)], 1, 1)


def test_after_the_block_jobs_join_djangos_transaction_again(session: Session, committed: Ids) -> None:
    with pytest.raises(Stop), transaction.atomic():
        with session.begin(), enqueue_in(session):
            kept = confirm.delay(1)
        confirm.delay(2)
        raise Stop
    assert committed() == [plain(kept)]


def test_two_writers_of_one_database(session: Session, committed: Ids, sent: Count) -> None:
    """SQLite has one writer at a time: what Django has written keeps the session out, which says so."""
    with transaction.atomic():
        Order.objects.create(name="book")
        if ON_SQLITE:
            with pytest.raises(OperationalError, match="locked"), session.begin(), enqueue_in(session):
                confirm.delay(1)
        else:
            with session.begin(), enqueue_in(session):
                confirm.delay(1)
    assert (len(committed()), sent(), Order.objects.count()) == ((0, 0, 1) if ON_SQLITE else (1, 1, 1))


def test_what_is_no_session_is_refused_with_what_to_do(committed: Ids) -> None:
    with transaction.atomic():
        for wrong in (connection, None, transaction):
            with pytest.raises(BadArgument, match="a plain call is enough"), enqueue_in(wrong):
                confirm.delay(1)
            with pytest.raises(BadArgument, match="wanted a session of SQLAlchemy, found"):
                confirm.apply_async((1,), session=wrong or "none")
    assert committed() == []


def test_a_session_of_another_database_is_refused_inside_of_a_transaction(committed: Ids) -> None:
    engine = create_engine("sqlite://")
    with Session(engine) as other, transaction.atomic():
        with pytest.raises(AnotherDatabase), enqueue_in(other):
            confirm.delay(1)
        kept = confirm.delay(2)
    engine.dispose()
    assert committed() == [plain(kept)]
