"""Celeriac behind Django's tasks framework: of Django 6.0, or of the package django-tasks before it.

``TASKS = {"default": {"BACKEND": "celeriac.contrib.django.backend.CeleriacBackend"}}``. A task of Django's
is found by its import path, so that all are jobs of one task of ours (``celeriac.contrib.django.tasks``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.module_loading import import_string

from celeriac.contrib.django.tasks import NAME, run
from celeriac.errors import BadArgument, JobNotFound
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.operate.job import Attempt, Job, job
from celeriac.priorities import HIGHEST, Priority

try:
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import (
        DEFAULT_TASK_QUEUE_NAME,
        Task,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
except ImportError:  # Django before 6.0
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import (
        DEFAULT_TASK_QUEUE_NAME,
        Task,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started

#: Priorities of Django's go as far up, and as far down.
_MOST = 100

#: What may stand in OPTIONS: they are those of ``apply_async``.
OPTIONS = frozenset({"max_tries", "timeout"})

#: Django knows no job that is cancelled, and none that will be tried again.
STATUS: Mapping[JobState, TaskResultStatus] = {
    JobState.PENDING: TaskResultStatus.READY,
    JobState.ERROR: TaskResultStatus.READY,
    JobState.RUNNING: TaskResultStatus.RUNNING,
    JobState.COMPLETED: TaskResultStatus.SUCCESSFUL,
    JobState.FAILED: TaskResultStatus.FAILED,
    JobState.CANCELLED: TaskResultStatus.FAILED,
}

#: The exceptions of attempts that ended without one.
_ENDINGS = {
    AttemptKind.LOST: "celery.exceptions.WorkerLostError",
    AttemptKind.TIMEOUT: "celery.exceptions.TimeLimitExceeded",
    AttemptKind.CANCELLED: "celery.exceptions.TaskRevokedError",
    AttemptKind.REJECTED: "celery.exceptions.Reject",
}


class CeleriacBackend(BaseTaskBackend):
    """A backend of the tasks framework: a task that is enqueued is a job.

    An attempt that fails is tried again, as with every job: ``"OPTIONS": {"max_tries": 1}`` tries once.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        if unknown := sorted({*self.options} - OPTIONS):
            known = ", ".join(sorted(OPTIONS))
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS']: wanted {known}, found {', '.join(unknown)}"
            )

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Write the job; inside ``transaction.atomic()`` it is part of the transaction."""
        self.validate_task(task)
        made = self._result(task, id="", args=args, kwargs=kwargs, enqueued_at=timezone.now())
        said = {"backend": self.alias, "priority": task.priority, "queue_name": task.queue_name}
        sent = run.apply_async(
            (task.module_path, made.args, made.kwargs),
            said,
            priority=priority_of(task.priority),
            queue=None if task.queue_name == DEFAULT_TASK_QUEUE_NAME else task.queue_name,
            eta=_aware(task.run_after),
            shadow=task.module_path,
            **self.options,
        )
        object.__setattr__(
            made, "id", str(sent.id)
        )  # a frozen class, which Django's backends change like this
        task_enqueued.send(type(self), task_result=made)
        return made

    def get_result(self, result_id: str) -> TaskResult:
        """What became of the job ``result_id``.

        Raises:
            TaskResultDoesNotExist: the ledger has no such job, or it is none of a task of Django's.
        """
        try:
            found = job(result_id)
        except (BadArgument, JobNotFound) as exc:
            raise TaskResultDoesNotExist(result_id) from exc
        if found.task != NAME or found.args is None or found.kwargs is None:
            raise TaskResultDoesNotExist(result_id)
        path, args, kwargs = found.args
        waits = found.next_attempt_after if found.state is JobState.PENDING and not found.try_count else None
        task = import_string(path).using(
            priority=found.kwargs["priority"], queue_name=found.kwargs["queue_name"], backend=self.alias
        )
        result = self._result(
            task if waits is None or waits <= found.queued else task.using(run_after=waits),
            id=found.id,
            args=args,
            kwargs=kwargs,
            status=STATUS[found.state],
            enqueued_at=found.queued,
            started_at=next((each.started for each in found.attempts if each.started), found.started),
            last_attempted_at=found.started,
            finished_at=found.finished,
            errors=[_error(each) for each in found.attempts],
            worker_ids=_workers(found),
        )
        object.__setattr__(result, "_return_value", found.result)
        return result

    _EMPTY: ClassVar[Mapping[str, Any]] = {
        "status": TaskResultStatus.READY,
        "enqueued_at": None,
        "started_at": None,
        "last_attempted_at": None,
        "finished_at": None,
    }

    def _result(self, task: Task, **fields: Any) -> TaskResult:
        lists: dict[str, Any] = {"errors": [], "worker_ids": []}
        return TaskResult(task=task, backend=self.alias, **{**self._EMPTY, **lists, **fields})

    # ---- in a worker

    def execute(self, id: str, *, last: bool) -> Any:
        """Call the function of the job ``id``; return what it returns.

        Args:
            last: whether the job is given up when this attempt fails.
        """
        result = self.get_result(id)
        task_started.send(sender=type(self), task_result=result)
        context = (TaskContext(task_result=result),) if result.task.takes_context else ()
        try:
            value = result.task.call(*context, *result.args, **result.kwargs)
        except Exception:  # whatever the function raises is the attempt's outcome: it goes on to the worker
            if last:
                self._finish(result, TaskResultStatus.FAILED)
            raise
        object.__setattr__(result, "_return_value", value)
        self._finish(result, TaskResultStatus.SUCCESSFUL)
        return value

    def _finish(self, result: TaskResult, status: TaskResultStatus) -> None:
        object.__setattr__(result, "status", status)
        object.__setattr__(result, "finished_at", timezone.now())
        task_finished.send(type(self), task_result=result)


def priority_of(priority: int) -> int:
    """Our priority for one of Django's, which go from -100 to 100 with 0 in the middle.

    >>> [priority_of(each) for each in (-100, -1, 0, 1, 100)]
    [0, 9, 10, 11, 100]
    """
    normal = int(Priority.NORMAL)
    if priority < 0:
        return math.floor(normal * (1 + priority / _MOST))
    return math.ceil(normal + (HIGHEST - normal) * priority / _MOST)


def _aware(moment: Any) -> Any:
    return timezone.make_aware(moment) if moment is not None and timezone.is_naive(moment) else moment


def _error(attempt: Attempt) -> TaskError:
    kind = attempt.exception_type or _ENDINGS.get(AttemptKind(attempt.kind), "celery.exceptions.TaskError")
    path = kind if "." in kind else f"builtins.{kind}"
    return TaskError(exception_class_path=path, traceback=attempt.traceback or attempt.exception or "")


def _workers(found: Job) -> list[str]:
    """The worker of each attempt."""
    ended = [each.worker_id or "" for each in found.attempts if each.attempt]
    now = found.state in (JobState.RUNNING, JobState.COMPLETED)
    return [*ended, found.worker_id or found.last_worker_id or ""] if now else ended
