"""A project's own tests: pytest-django, TestCase and TransactionTestCase, the fixture ``celeriac``."""

from typing import Any

import pytest
from django.db import transaction
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from celeriac import enqueue_in, enqueue_many, job, jobs
from celeriac.contrib.django.models import Attempt, Job
from celeriac.errors import AnotherDatabase, NotCommitted
from celeriac.testing import Kit
from shop.models import Order
from shop.tasks import book, confirm, confirm_and_tell, double, fail, total


def test_a_job_is_run_by_the_fixture(celeriac: Kit) -> None:
    order = Order.objects.create(name="book")
    with transaction.atomic():
        result = confirm.delay(order.pk)
    assert celeriac.assert_enqueued(confirm, order.pk).state == "pending"
    assert [str(each.state) for each in celeriac.drain()] == ["completed"]
    order.refresh_from_db()
    assert order.confirmed
    assert result.get() == f"order {order.pk}"
    assert Job.objects.get(pk=result.id).state == "completed"


def test_a_failure_and_its_attempt_are_models(celeriac: Kit) -> None:
    result = fail.delay("no stock")
    celeriac.drain()
    found = Job.objects.get(state="failed")
    assert str(found.pk) == result.id
    assert [(each.attempt, each.kind, each.exception) for each in found.attempts.all()] == [
        (1, "error", "no stock")
    ]
    assert Job.objects.filter(attempts__exception="no stock").count() == 1
    assert Attempt.objects.get().job == found
    assert found.details.args == ["no stock"]


@pytest.mark.django_db
def test_a_session_of_another_database_in_memory_is_not_the_tests_ledger() -> None:
    engine = create_engine("sqlite://")
    with Session(engine) as other, pytest.raises(AnotherDatabase), enqueue_in(other):
        double.delay(1)
    engine.dispose()


def test_what_a_job_enqueues_in_its_transaction_runs_too(celeriac: Kit) -> None:
    confirm_and_tell.delay(4)
    assert {each.task: each.result for each in celeriac.drain()}["shop.tasks.double"] == 8


def test_complete_in_needs_no_session(celeriac: Kit) -> None:
    order = Order.objects.create(name="book")
    done = book.delay(order.pk)
    celeriac.drain()
    assert (job(done.id).state, job(done.id).result) == ("completed", "booked")
    Order.objects.update(confirmed=False)
    stopped = book.delay(order.pk, stop=True)
    celeriac.drain()
    order.refresh_from_db()
    assert (job(stopped.id).state, order.confirmed) == ("failed", False)


def test_many_jobs_and_canvases_drain(celeriac: Kit) -> None:
    enqueue_many(double, ([n] for n in range(20)))
    ((double.s(1) | double.s()).delay(), confirm.apply_async((1,), countdown=60))
    assert len(celeriac.drain()) == 22
    assert total.delay([1, 2]).id
    assert len(celeriac.jobs(state="pending")) == 2


@pytest.mark.django_db
def test_without_the_fixture_jobs_are_rows_of_the_tests_database() -> None:
    result = confirm.delay(1)
    assert [each.id for each in jobs()] == [result.id]
    assert job(result.id).dispatched is None


@pytest.mark.django_db(transaction=True)
def test_a_transactional_test_sees_its_commits() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        confirm.delay(1)
        raise ZeroDivisionError
    assert jobs() == []
    with transaction.atomic():
        confirm.delay(2)
    assert [each.args for each in jobs()] == [[2]]


@pytest.mark.django_db(transaction=True)
def test_the_tables_are_flushed_after_a_transactional_test() -> None:
    assert jobs() == []
    assert Job.objects.count() == 0


@pytest.mark.django_db
def test_waiting_for_a_job_that_nobody_can_run_is_refused() -> None:
    with pytest.raises(NotCommitted):
        confirm.delay(1).get()


@pytest.mark.django_db
def test_async_views_enqueue_in_the_test(async_rf: Any) -> None:
    from asgiref.sync import async_to_sync

    async def view() -> str:
        return str((await confirm.adelay(1)).id)

    id = async_to_sync(view)()
    assert [each.id for each in jobs()] == [id]


def test_without_a_database_nothing_is_enqueued() -> None:
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        confirm.delay(1)
