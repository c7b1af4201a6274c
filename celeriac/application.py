"""The Celery app class: Celery, with a ledger."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError
from redis.exceptions import RedisError

from celeriac.broker.sending import Broker
from celeriac.current import meant
from celeriac.enqueue.arguments import check_text
from celeriac.errors import BadArgument, UnknownTask
from celeriac.ids import derived_id, new_id, parse_id
from celeriac.priorities import QUEUES

if TYPE_CHECKING:
    from celery.result import AsyncResult

    from celeriac.enqueue.pending import Gatherer
    from celeriac.ledger.connection.database import Database
    from celeriac.observe.traces import Tracing
    from celeriac.settings import Settings
    from celeriac.worker.gate.ledger_thread import LedgerThread


class Celeriac(Celery):
    """Celery, whose every job is a row before it is a message."""

    settings: Settings
    database: Database
    broker_state: Broker
    #: What a broker that is away raises.
    broker_errors: ClassVar = (OperationalError, OSError, LimitExceeded, RedisError)
    ledger_thread: LedgerThread  # in a worker's main process
    tracing: Tracing | None = None
    #: A result store in place of the configured one; see ``celeriac.testing``.
    private_backend: Any = None

    @property
    def backend(self) -> Any:
        return self.private_backend or super().backend

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
        """Enqueue a job by its task's name. Options as ``Task.apply_async``."""
        self._require(name)
        self._check(eta, options)
        if task_id is not None:
            task_id = str(parse_id(task_id))  # one spelling, in the row and in the message
        elif idempotency_key is not None:
            from celeriac.ledger.schema.models import (
                NAME_LENGTH,  # the ORM is slow to import: not for a probe
            )

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
    def _gathering(self) -> Iterator[Gatherer]:
        from celeriac.enqueue.pending import Gatherer  # which knows the ORM, slow to import: not for a probe

        with super().producer_or_acquire() as producer:
            gatherer = Gatherer(producer, self.amqp.door.write_many)
            yield gatherer
            gatherer.write()

    def enqueue_by_name(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], **options: Any
    ) -> str:
        """Enqueue a job as its task's own ``apply_async`` would, and return its id.

        Raises:
            UnknownTask: there is no such task here.
            BadArgument: the arguments do not fit its signature.
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
        return meant, ()
