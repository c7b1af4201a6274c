"""The Celery app class: Celery, with a ledger."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Celery
from celery import current_app as celery_app
from kombu.exceptions import LimitExceeded, OperationalError
from redis.exceptions import RedisError

from celeriac.broker_state import BrokerState
from celeriac.coroutines import refuse_coroutine
from celeriac.errors import BadArgument, NoAppMade, UnknownTask
from celeriac.ids import derived_id, new_id, parse_id
from celeriac.names import check_text
from celeriac.no_app import stand_in
from celeriac.priorities import QUEUES

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from celeriac.ledger.connection.database import Database
    from celeriac.settings import Settings


class Celeriac(Celery):
    """Celery, whose every job is a row before it is a message.

    >>> isinstance(current_app(), Celeriac)
    True
    """

    settings: Settings
    database: Database
    broker_state: BrokerState
    #: What a broker that is away raises.
    broker_errors: ClassVar = (OperationalError, OSError, LimitExceeded, RedisError)
    #: What records outcomes: a ``celeriac.worker.gate.ledger_thread``, in a worker's main process only.
    ledger_thread: Any
    #: What traces jobs, a ``celeriac.observe.traces``; None: nothing does.
    tracing: Any = None
    registry_cls = "celeriac.task.registration:Registry"
    #: A result store in place of the configured one; see ``celeriac.testing``.
    private_backend: Any = None

    @property
    def backend(self) -> Any:
        return self.private_backend or super().backend

    def task(self, *args: Any, **options: Any) -> Any:
        """Celery's decorator; the options are the attributes of ``Task``, and Celery's.

        Raises:
            BadArgument: it is put on an ``async def``.

        >>> @app.task(name="mail.goodbye", priority="low", timeout=30)
        ... def goodbye(user_id): ...
        >>> result = goodbye.delay(7)
        >>> kit.assert_enqueued(goodbye, 7).queue
        'low'
        """

        def decorate(function: Any) -> Any:
            refuse_coroutine(str(options.get("name") or getattr(function, "__name__", "task")), function)
            return make(function) if make else super(Celeriac, self).task(function)

        make = None if args else super().task(**options)
        return decorate(*args) if args else decorate

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        *rest: Any,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Enqueue a job by its task's name; the options are those of ``Task.apply_async``.

        The task's signature and its own defaults are not asked: ``enqueue_by_name`` does that.

        Raises:
            UnknownTask: there is no such task here.
            BadArgument, PayloadTooLarge, LedgerUnavailable, EnqueueUncertain: as ``Task.apply_async``.

        >>> result = app.send_task("mail.welcome", (7,), priority="high")
        >>> kit.assert_enqueued("mail.welcome", 7).queue
        'high'
        """
        self._require(name)
        self._check(eta, options)
        if task_id is not None:
            task_id = str(parse_id(task_id))  # one spelling, in the row and in the message
        elif idempotency_key is not None:
            from celeriac.names import NAME_LENGTH

            key = check_text("idempotency_key", idempotency_key, length=NAME_LENGTH)
            task_id = derived_id(name, key)
        if idempotency_key is not None:
            options["idempotency_key"] = idempotency_key
        task_id = task_id or new_id()
        return super().send_task(name, args, kwargs, countdown, eta, task_id, *rest, **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """As Celery's. Members of a group that are published through it are written together."""
        return self._gathering() if producer is None else super().producer_or_acquire(producer)

    @contextmanager
    def _gathering(self) -> Iterator[Any]:
        with super().producer_or_acquire() as producer, self.amqp.gathering(producer) as gatherer:
            yield gatherer

    def enqueue_by_name(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> str:
        """Enqueue a job as its task's own ``apply_async`` would, and return its id.

        Raises:
            UnknownTask: there is no such task here.
            BadArgument: the arguments do not fit its signature.

        >>> id = app.enqueue_by_name("mail.welcome", (7,), {}, countdown=60)
        >>> app.enqueue_by_name("mail.welcom", (7,), {})
        Traceback (most recent call last):
        celeriac.errors.UnknownTask: no task is named 'mail.welcom'; did you mean 'mail.welcome'?
        """
        self._require(name)
        self._check(None, options)
        task = self.tasks[name]
        try:
            if task.typing:
                task.__header__(*args, **kwargs)
        except TypeError as exc:
            raise BadArgument(name, str(exc)) from None
        return str(task.apply_async(tuple(args), dict(kwargs), **options).id)

    def _check(self, eta: Any, options: Mapping[str, Any]) -> None:
        """What Celery would answer with an error that names nothing."""
        queue = options.get("queue")
        if isinstance(queue, str) and queue not in self.amqp.queues:
            known = ", ".join(QUEUES)
            raise BadArgument("queue", f"wanted one of {known}, found {queue!r}")
        if options.get("exchange"):
            raise BadArgument(
                "exchange", "a job goes to a queue, not to an exchange; give queue= or priority="
            )
        for option, value in (("eta", eta), ("expires", options.get("expires"))):
            if isinstance(value, str):
                try:
                    datetime.fromisoformat(value)
                except ValueError:
                    raise BadArgument(option, f"wanted an ISO 8601 moment, found {value[:80]!r}") from None

    def _require(self, name: str) -> None:
        if name in self.tasks:
            return
        self.loader.import_default_modules()  # a producer may not have imported every task yet
        if name not in self.tasks:
            nearest = difflib.get_close_matches(str(name), list(self.tasks), n=1)
            raise UnknownTask(name, nearest[0] if nearest else None)

    def __reduce__(self) -> Any:
        return current_app, ()


def current_app(app: Celeriac | None = None) -> Celeriac:
    """``app``; or else the current one, as Celery finds it.

    Raises:
        NoAppMade: this process has made none, or the current one is another Celery app.

    >>> current_app() is app
    True
    """
    if app is not None:
        return app
    found = celery_app._get_current_object()
    if not isinstance(found, Celeriac):  # the one that stands in until an app is made, or somebody else's
        raise NoAppMade()
    return found


# From now on a task that is called where no app was made is refused: Celery would make up an app, and the job
# would have no row. Here, because whatever of the platform needs an app asks for it here.
stand_in()
