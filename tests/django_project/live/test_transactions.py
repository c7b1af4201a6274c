"""An enqueue inside ``transaction.atomic()``: a job if and only if it commits."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from celery import chain, chord, group
from celery.exceptions import TimeoutError
from django.db import IntegrityError, connection, transaction

from celeriac import BadArgument, cancel, enqueue_many, enqueue_together, job
from celeriac.contrib.django.models import Job
from celeriac.errors import NotCommitted
from shop.models import Order
from shop.tasks import confirm, double, total

Ids = Callable[[], list[str]]
Count = Callable[[], int]


class Stop(Exception):
    """Rolls back."""


def plain(result: object) -> str:
    return str(getattr(result, "id", result)).replace("-", "")


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What Django executes meanwhile."""
    seen: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


def test_a_job_is_there_and_sent_when_the_transaction_commits(committed: Ids, sent: Count) -> None:
    with transaction.atomic():
        order = Order.objects.create(name="book", lines={"a": [1, 2]})
        result = confirm.delay(order.pk)
        assert (committed(), sent()) == ([], 0)
        assert Order.objects.get(pk=order.pk).lines == {"a": [1, 2]}
    assert (committed(), sent()) == ([plain(result)], 1)
    assert Order.objects.get(pk=order.pk).lines == {"a": [1, 2]}


def test_there_is_no_job_when_the_transaction_rolls_back(committed: Ids, sent: Count) -> None:
    with pytest.raises(Stop), transaction.atomic():
        Order.objects.create(name="book")
        confirm.delay(1)
        raise Stop
    assert (committed(), sent(), Order.objects.count()) == ([], 0, 0)


def test_a_savepoint_that_rolls_back_takes_its_jobs_with_it(committed: Ids, sent: Count) -> None:
    with transaction.atomic():
        kept = confirm.delay(1)
        with pytest.raises(Stop), transaction.atomic():
            confirm.delay(2)
            raise Stop
        with transaction.atomic():
            inner = confirm.delay(3)
    assert (set(committed()), sent()) == ({plain(kept), plain(inner)}, 2)


def test_outside_of_a_transaction_the_job_is_there_at_once(committed: Ids, sent: Count) -> None:
    result = confirm.delay(1)
    assert (committed(), sent()) == ([plain(result)], 1)


def test_one_statement_is_all_that_a_delay_adds(statements: list[str]) -> None:
    with transaction.atomic():
        confirm.delay(0)
        before = len(statements)
        confirm.delay(1)
        assert len(statements) - before == 1


def test_the_same_id_twice_is_one_job(committed: Ids, sent: Count) -> None:
    id = str(uuid4())
    with transaction.atomic():
        confirm.apply_async((1,), task_id=id)
        confirm.apply_async((1,), task_id=id)
    with transaction.atomic():
        confirm.apply_async((1,), task_id=id)
    assert (committed(), sent()) == ([plain(id)], 1)


def test_an_id_that_says_something_else_is_refused_and_harms_nothing(committed: Ids, sent: Count) -> None:
    id = str(uuid4())
    with transaction.atomic():
        confirm.apply_async((1,), task_id=id)
        with pytest.raises(BadArgument, match="says something else"):
            confirm.apply_async((2,), task_id=id)
        Order.objects.create(name="still whole")
    assert (committed(), sent(), Order.objects.count()) == ([plain(id)], 1, 1)


def test_an_idempotency_key_holds_in_a_transaction(committed: Ids) -> None:
    with transaction.atomic():
        first = confirm.apply_async((1,), idempotency_key="order-1")
        second = confirm.apply_async((1,), idempotency_key="order-1")
    assert first.id == second.id
    assert committed() == [plain(first)]


def test_a_delayed_job_is_left_to_the_dispatcher(committed: Ids, sent: Count) -> None:
    with transaction.atomic():
        result = confirm.apply_async((1,), countdown=600, priority="high")
    assert (committed(), sent(), job(result.id).queue) == ([plain(result)], 0, "high")


def test_under_set_autocommit_the_row_is_written_unsent(committed: Ids, sent: Count) -> None:
    transaction.set_autocommit(False)
    try:
        confirm.delay(1)
        assert (committed(), sent()) == ([], 0)
        transaction.rollback()
        kept = confirm.delay(2)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert (committed(), sent(), job(kept.id).dispatched) == ([plain(kept)], 0, None)


def test_a_transaction_that_is_broken_refuses(committed: Ids, sent: Count) -> None:
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        order = Order.objects.create(name="one")
        with pytest.raises(IntegrityError), transaction.atomic(savepoint=False):
            Order.objects.create(pk=order.pk, name="two")
        confirm.delay(1)
    assert (committed(), sent()) == ([], 0)


def test_on_commit_enqueues_after_the_commit(committed: Ids, sent: Count) -> None:
    with transaction.atomic():
        confirm.delay_on_commit(1)
        confirm.apply_async_on_commit((2,), priority="low")
        assert Job.objects.count() == 0
    assert (len(committed()), sent()) == (2, 2)
    with pytest.raises(Stop), transaction.atomic():
        confirm.delay_on_commit(3)
        raise Stop
    assert len(committed()) == 2


def test_many_jobs_join_the_transaction(committed: Ids, sent: Count) -> None:
    with pytest.raises(Stop), transaction.atomic():
        assert enqueue_many(confirm, ([n] for n in range(2_500))) == 2_500
        raise Stop
    assert committed() == []
    with transaction.atomic():
        assert enqueue_many(confirm, ([n] for n in range(2_500))) == 2_500
        assert sent() == 0
        with enqueue_together():
            confirm.delay(1)
            confirm.delay(2)
    assert (len(committed()), sent()) == (2_502, 2_502)


def test_a_canvas_joins_the_transaction(committed: Ids, sent: Count) -> None:
    with pytest.raises(Stop), transaction.atomic():
        group(double.s(n) for n in range(3)).delay()
        chord([double.s(1), double.s(2)], total.s()).delay()
        chain(double.s(1), double.s()).delay()
        raise Stop
    assert (committed(), sent()) == ([], 0)
    with transaction.atomic():
        group(double.s(n) for n in range(3)).delay()
        chord([double.s(1), double.s(2)], total.s()).delay()
        chain(double.s(1), double.s()).delay()
    # The members, two of the chord and its parked body, and the first link.
    assert (len(committed()), sent()) == (7, 6)


def test_adelay_is_part_of_the_transaction_of_its_thread(committed: Ids, sent: Count) -> None:
    async def view() -> str:
        return str((await confirm.adelay(1)).id)

    with pytest.raises(Stop), transaction.atomic():
        async_to_sync(view)()
        raise Stop
    assert committed() == []
    with transaction.atomic():
        id = async_to_sync(view)()
        assert committed() == []
    assert (committed(), sent()) == ([plain(id)], 1)
    alone = asyncio.run(view())
    assert {*committed()} == {plain(id), plain(alone)}


def test_waiting_in_the_transaction_is_refused_at_once() -> None:
    before = confirm.delay(0)
    with transaction.atomic():
        result = confirm.delay(1)
        with pytest.raises(NotCommitted, match=str(result.id)):
            result.get()
        both = group(double.s(n) for n in range(2)).delay()
        with pytest.raises(NotCommitted):
            both.get()
        with pytest.raises(TimeoutError):  # a job of before may end meanwhile
            before.get(timeout=0.1)


def test_other_calls_see_the_transaction_they_are_in(committed: Ids) -> None:
    with pytest.raises(Stop), transaction.atomic():
        result = confirm.delay(1)
        assert job(result.id).args == [1]
        assert cancel(result.id)
        assert Job.objects.get(pk=result.id).state == "cancelled"
        raise Stop
    assert committed() == []
