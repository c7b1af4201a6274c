"""Plain calls: ``task.delay(…)`` with nothing but arguments, outside of a task, is made from a template.

The first such call of a task goes through Celery in full, like every call that has options. As long as
nothing that it depended on has changed, the next ones differ from it in ids and arguments alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import celery.app.base
import celery.app.task
from celery.app.base import Celery
from celery.app.routes import MapRoute
from celery.app.task import Task as CeleryTask
from celery.signals import after_task_publish, before_task_publish

from celeriac.enqueue import capture
from celeriac.enqueue.template import REFUSALS, ChunkMaker, JobTemplate
from celeriac.enqueue.write import write_or_keep

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from celeriac.application import Celeriac
    from celeriac.ledger.writes.new_jobs import NewJob

#: What a job takes of its task; a task may be changed while the program runs.
_of_task = attrgetter(
    *("name", "typing", "ignore_result", "serializer", "refused", "user_id"),
    *("limit", "ordered_by", "unique", "debounce", "throttle"),
    *("timeout", "time_limit", "soft_time_limit", "max_tries", "_declared_retries"),
    *("priority", "_own_priority"),
)

#: Where a task keeps its template.
_KEPT = "_plain_calls"


def enqueue(task: Any, args: Any, kwargs: Any) -> AsyncResult[Any] | None:
    """Enqueue a job of ``task``; None: nothing was done, the call must go through Celery.

    Raises:
        LedgerUnavailable, EnqueueUncertain: as ``Task.apply_async``.
    """
    job = job_of(task, args, kwargs)
    if job is None:
        return None
    write_or_keep(task._get_app(), [job], producer=None)
    result: AsyncResult[Any] = task.AsyncResult(str(job.id))
    result.ignored = task.ignore_result
    return result


def job_of(task: Any, args: Any, kwargs: Any) -> NewJob | None:
    """The job of a plain call, which the caller writes; None: the call must go through Celery."""
    app: Celeriac = task._get_app()
    if not (_is_plain(args, kwargs) and _is_outside(app) and is_unwatched(app)):
        return None
    return _job(app, task, args or (), kwargs)


def _is_plain(args: Any, kwargs: Any) -> bool:
    return type(args) in (tuple, list, type(None)) and type(kwargs) in (dict, type(None))


def _is_outside(app: Celeriac) -> bool:
    """Whether the job would have no parent, and is to be written at once and by us."""
    return app.current_worker_task is None and capture.captured_jobs() is None and capture.writer(app) is None


def is_unwatched(app: Celeriac) -> bool:
    """Whether nobody expects to see or to change the message: no receiver, tracer, router, or eager mode.

    Tools that trace programs put functions of their own in the place of Celery's.
    """
    return (
        not (before_task_publish.receivers or after_task_publish.receivers or app.tracing)
        and _is_from(CeleryTask.apply_async, celery.app.task)
        and _is_from(Celery.send_task, celery.app.base)
    )


def _is_from(function: Any, module: Any) -> bool:
    return type(function) is FunctionType and function.__globals__ is vars(module)


def _job(app: Celeriac, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> NewJob | None:
    known = task.__dict__.get(_KEPT)
    if known is None or not _same(known[0], _key(app, task)):
        template = _template(app, task, args, kwargs)
        known = task.__dict__[_KEPT] = (_key(app, task), template)
    kept: JobTemplate | None = known[1]
    if kept is None:
        return None
    try:
        return kept.single(args, kwargs)
    except REFUSALS:  # Celery's own words come first
        return None


def _key(app: Celeriac, task: Any) -> tuple[Any, ...]:
    """All that a template depends on."""
    routes = app.amqp.router.routes
    of_app = (app.settings, app.times_configured, routes, len(routes), os.getpid())
    return (*of_app, task._exec_options, *_of_task(task))


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    """Whether these are the same objects; equal numbers and texts may have been made anew."""
    for one, other in zip(before, now, strict=True):
        if one is not other and (type(one) not in (int, float, str) or one != other):
            return False
    return True


def has_plain_routes(app: Celeriac) -> bool:
    """Whether routes depend on the name of the task alone."""
    own_routes = app.amqp.router.routes[:-1]  # the last one is the platform's
    return all(type(route) is MapRoute for route in own_routes)


def _template(
    app: Celeriac, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> JobTemplate | None:
    """What makes the jobs of plain calls of ``task``; None: each of them is to go through Celery."""
    conf = app.conf
    if task.refused or conf.task_always_eager or conf.task_send_sent_event or app.settings.signs:
        return None
    try:
        template = ChunkMaker(task, {}).template_of(args, kwargs)
    except REFUSALS:
        return None
    if template is None or not has_plain_routes(app):
        return None
    job = template.model
    # A unique job may be the answer to the call in place of its own.
    return None if job.has_expiry or not job.due_at_once or job.unique else template
