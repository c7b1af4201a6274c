"""The one task by which workers run the tasks of Django's framework. ``autodiscover_tasks`` finds it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import shared_task

#: Its name, by which their jobs are found in the ledger.
NAME = "celeriac.django_task"


@shared_task(name=NAME, bind=True)
def run(
    self: Any, path: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, backend: str, **_: Any
) -> Any:
    """Run the function at the import path ``path``.

    Args:
        backend: the alias in TASKS by which it was enqueued.
    """
    return _backend(backend).execute(self.request.id, last=self.request.retries >= self.max_retries)


def _backend(alias: str) -> Any:
    try:
        from django.tasks import task_backends
    except ImportError:  # Django before 6.0
        from django_tasks import task_backends
    return task_backends[alias]
