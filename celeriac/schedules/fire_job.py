"""The job of one fire, made by the door in and written by whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import Celery

from celeriac.enqueue import pending
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_MOST = 2**128


def new_job(
    app: Celeriac,
    *,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    id: UUID,
    schedule: str | None = None,
    jitter: float = 0.0,
) -> NewJob:
    """The job ``id`` as the door would write it.

    A task that this process does not know is no obstacle: a worker of a newer version may.

    Args:
        jitter: seconds that it waits at most; how many follows from its id.
    """
    known = app.tasks.get(task)
    send = known.apply_async if known is not None else partial(Celery.send_task, app, task)
    chosen = dict(options)
    wait = float(chosen.pop("countdown", None) or 0) + jitter * (id.int / _MOST)
    with pending.collecting() as made:
        send(list(args), dict(kwargs), task_id=str(id), countdown=wait or None, schedule=schedule, **chosen)
    return made[0]
