"""Django's tasks framework with the ledger behind it."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from celeriac import cancel, job
from celeriac.testing import Kit
from shop.framework_tasks import attempt, confirm, double
from shop.models import Order
from shop.tasks import confirm as plain
from shop.tasks_framework import (
    TaskResultDoesNotExist,
    TaskResultMismatch,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)


def test_a_task_is_enqueued_run_and_its_result_found(celeriac: Kit) -> None:
    order = Order.objects.create(name="book")
    result = confirm.enqueue(order.pk)
    assert (result.status, result.args, result.attempts) == (TaskResultStatus.READY, [order.pk], 0)
    assert job(result.id).queue == "normal"
    celeriac.drain()
    result.refresh()
    order.refresh_from_db()
    assert (result.status, result.return_value, order.confirmed) == ("SUCCESSFUL", f"order {order.pk}", True)
    assert (result.errors, result.attempts, len(result.worker_ids)) == ([], 1, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert confirm.get_result(result.id) == result
    with pytest.raises(TaskResultMismatch):
        double.get_result(result.id)


def test_it_is_part_of_the_transaction(celeriac: Kit) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = confirm.enqueue(1)
        raise ZeroDivisionError
    with pytest.raises(TaskResultDoesNotExist):
        confirm.get_result(result.id)


def test_a_coroutine_is_enqueued_from_a_coroutine_and_run(celeriac: Kit) -> None:
    async def view() -> Any:
        return await double.aenqueue(21)

    result = async_to_sync(view)()
    assert (job(result.id).queue, result.task.priority) == ("critical", 50)
    celeriac.drain()
    found = async_to_sync(double.aget_result)(result.id)
    assert (found.return_value, found.task.priority) == (42, 50)


@pytest.mark.parametrize(("priority", "queue"), [(-1, "low"), (0, "normal"), (12, "high"), (100, "critical")])
def test_priorities_choose_the_level(celeriac: Kit, priority: int, queue: str) -> None:
    assert job(confirm.using(priority=priority).enqueue(1).id).queue == queue


def test_a_deferred_task_waits(celeriac: Kit) -> None:
    when = timezone.now() + timedelta(hours=1)
    result = confirm.using(run_after=when).enqueue(1)
    assert celeriac.drain() == []
    found = confirm.get_result(result.id)
    assert (found.status, found.task.run_after) == (TaskResultStatus.READY, when)
    celeriac.travel(timedelta(hours=1))
    assert len(celeriac.drain()) == 1


def test_a_failure_is_tried_again_and_its_errors_are_told(celeriac: Kit) -> None:
    result = attempt.enqueue(fail_until=2)
    celeriac.drain()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    celeriac.travel(timedelta(hours=1))
    celeriac.drain()
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 2, 2)
    (error,) = result.errors
    assert error.exception_class is ConnectionError
    assert "attempt 1" in error.traceback


def test_a_task_that_is_given_up_or_cancelled_has_failed(celeriac: Kit) -> None:
    result = attempt.enqueue(fail_until=99)
    for _ in range(3):
        celeriac.drain()
        celeriac.travel(timedelta(hours=1))
    result.refresh()
    assert (result.status, len(result.errors)) == (TaskResultStatus.FAILED, 3)
    stopped = confirm.enqueue(1)
    cancel(stopped.id)
    stopped.refresh()
    assert stopped.status == TaskResultStatus.FAILED


def test_djangos_signals_are_sent(celeriac: Kit) -> None:
    seen: list[tuple[str, str]] = []

    def note(name: str) -> Any:
        return lambda sender, task_result, **_: seen.append((name, str(task_result.status)))

    receivers = {
        each: note(name)
        for name, each in (("in", task_enqueued), ("on", task_started), ("off", task_finished))
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    try:
        attempt.enqueue(fail_until=2)
        celeriac.drain()
        celeriac.travel(timedelta(hours=1))
        celeriac.drain()
    finally:
        for signal, receiver in receivers.items():
            signal.disconnect(receiver)
    assert seen == [("in", "READY"), ("on", "RUNNING"), ("on", "RUNNING"), ("off", "SUCCESSFUL")]


def test_other_jobs_are_no_results_of_its_tasks(celeriac: Kit) -> None:
    for id in (plain.delay(1).id, "no-id", "0192d3a4-0000-7000-8000-000000000009"):
        with pytest.raises(TaskResultDoesNotExist):
            task_backends["default"].get_result(id)
