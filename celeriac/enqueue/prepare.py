"""Prepare a job: a call becomes a ``NewJob``, which the caller writes. Nothing is written here.

The call goes through Celery's own ``apply_async``, because options of the task, routing, stamps and the
receivers of ``before_task_publish`` must be heeded. Celery hands the finished message to the producer that
the call names; the one named here keeps its job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery

from celeriac.errors import BadArgument

if TYPE_CHECKING:
    from celeriac.application import Celeriac
    from celeriac.ledger.writes.new_jobs import NewJob

#: Options of a call that say how its message is sent, which is not this call's business.
_OF_SENDING = ("producer", "publisher", "connection")


def prepare(
    app: Celeriac,
    task: Any,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> NewJob:
    """The job of one call, validated in full and not written.

    Args:
        task: a task; or a name, which this process need not know: a worker of a newer version may.
        options: of ``apply_async``.

    Raises:
        BadArgument, PayloadTooLarge, TypeError: the call is refused.
    """
    if isinstance(task, str):
        task = app.tasks.get(task, task)
    call = partial(Celery.send_task, app, task) if isinstance(task, str) else task.apply_async
    producer = PreparingProducer(app)
    call(args, kwargs, **without_sending(options or {}), producer=producer)
    if producer.job is None:
        name = getattr(task, "name", task)
        raise BadArgument("task", f"the apply_async of {name} enqueues no job of its own")
    return producer.job


def without_sending(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` of a call, without those that say how its message is sent."""
    return {name: value for name, value in options.items() if name not in _OF_SENDING}


class PreparingProducer:
    """What a call is given for a producer: the door leaves its job here.

    Attributes:
        job: the job of the call; None until there is one.
    """

    job: NewJob | None = None

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self.connection = _NoConnection

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish what is no job: Celery's event of a job that was sent."""
        with self._app.producer_or_acquire() as producer:
            return producer.publish(body, **options)


class _NoConnection:
    """What Celery asks of a producer's connection: to translate the broker's errors. There are none."""

    _reraise_as_library_errors = nullcontext
