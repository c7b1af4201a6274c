"""The base class of every task: what a task's author can ask for, and how an attempt fails.

A failure with tries left leaves the attempt as a ``Retry``, so that callbacks, chords and ``.get()`` do not
hear of it before the last try. The ledger decides what follows; nothing here needs a connection to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from celery.app.task import Task as CeleryTask
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown, WorkerTerminate

from celeriac.enqueue import plain_call
from celeriac.enqueue.awaited import call as awaited_call
from celeriac.enqueue.capture import capture_jobs, keep_retry, take_retry
from celeriac.enqueue.prepare import PreparingProducer, without_sending
from celeriac.enqueue.reused_id import RUNS
from celeriac.errors import BadArgument, TaskExited
from celeriac.events import Event
from celeriac.headers import STAMP
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.delays import bounded
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.limits.resting import Snooze
from celeriac.task import backoff, event_loop, failures, retry_options, successors_kept, task_classes
from celeriac.task.attempt import cancelling
from celeriac.task.attempt.snoozing import snoozed
from celeriac.task.batch import attempt as batch_attempt
from celeriac.task.retry_and_replace import JobRetry, Replaced

if TYPE_CHECKING:
    from celery.result import AsyncResult

logger = logging.getLogger(__name__)

_OWN_WORDS = (Retry, Ignore, Reject)
_FOR_THE_WORKER = (WorkerShutdown, WorkerTerminate, KeyboardInterrupt, event_loop.Stopped)


class Task(CeleryTask):
    """What every task of this app is made of.

    Attributes:
        priority: of its jobs, by name or from 0 to 100; chooses their queue.
        max_tries: attempts before it is a dead letter; ``max_retries + 1`` where that is given.
        timeout: seconds an attempt may take; the soft limit, the hard one follows shortly after.
        user_id: on whose behalf its jobs run, unless the call says so.
        retry_base: seconds; the delay before the next attempt is ``retry_base * 2 ** failed attempts``.
        retry_max: seconds; the longest such delay.
        keep_days: days that its finished jobs are kept, unless they are dead letters.
        limit: a ``Limit`` that its jobs obey, or a list of them.
        ordered_by: an argument; jobs with the same value run one at a time, in the order of their acceptance.
        unique: a ``Unique``: which of its calls mean the same job.
        debounce: seconds, or a ``Debounce``: calls that follow each other closely make one job.
        throttle: seconds, or a ``Throttle``: at most one job for each key and period.
        batch: a ``Batch``: many jobs in one run.

    Raises:
        BadArgument: where it is defined, with a value that cannot be right, or ``acks_late=False``.

    >>> @shared_task(name="shop.pay", bind=True, priority="high", max_tries=3, timeout=30, retry_base=5)
    ... def pay(self, order_id):
    ...     return "stopped" if self.cancel_requested else f"attempt {self.attempt} of {self.default_tries}"
    >>> result = pay.delay(7)
    >>> kit.drain()[0].result
    'attempt 1 of 3'
    """

    Request = "celeriac.worker.pool.request:JobRequest"
    __trace__ = successors_kept.KeepingTracer()

    max_tries: int | None = None
    timeout: float | None = None
    user_id: str | None = None
    retry_base: float | None = None
    retry_max: float | None = None
    keep_days: float | None = None
    limit: Any = None
    ordered_by: Any = None
    unique: Any = None
    debounce: Any = None
    throttle: Any = None
    batch: Any = None
    #: None: the ledger's backoff. Celery's own default is three minutes.
    default_retry_delay = None

    #: Why jobs of this task are refused here, and of no other; None: they are not.
    refused: str | None = None

    _before_bind: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    _declared_retries: int | str | None = "unset"
    _own_priority: int | None = None
    _exec_options: dict[str, Any] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        task_classes.settle(cls, Task, task_classes.declarations(cls, below=Task))
        if task_classes.refuses_late_acknowledgement(cls, below=Task):
            cls._refuse_early()
        elif cls.__dict__.get("acks_late"):
            cls.refused = None  # its base may have said otherwise

    @classmethod
    def _refuse_early(cls) -> None:
        """Refuse the task's jobs, and no other's: what is delivered is still acknowledged late."""
        cls.refused = "acks_late: the ledger needs late acknowledgement, found False"
        setattr(cls, "acks_late", True)  # noqa: B010  # mypy knows it as an instance's

    @classmethod
    def bind(cls, app: Any) -> Any:
        _ = getattr(app, "settings", None)  # Celery reads what another thread may be reading just now
        bound, before = cls.__bound__, dict(vars(cls))
        found = super().bind(app)
        if not bound:
            cls._before_bind = task_classes.replaced(cls, before)
        return found

    @classmethod
    def _bind_again(cls) -> None:
        """Read again what the configuration says of the task: it was written to since."""
        task_classes.restore(cls, cls._before_bind)
        before = dict(vars(cls))
        super().bind(cls._app)
        cls.annotate()
        cls._before_bind = task_classes.replaced(cls, before)

    @classmethod
    def annotate(cls) -> None:
        before = dict(vars(cls))
        super().annotate()
        cls.refused = task_classes.settle_annotations(cls, Task, before) or cls.refused
        if cls.__dict__.get("acks_late") is False:
            cls._refuse_early()

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        self.judge()
        if self.refused:
            logger.error(Event.TASK_REFUSED, {"task": self.name, "error": self.refused})
        return super().start_strategy(app, consumer, **kwargs)

    def judge(self) -> None:
        """Refuse the jobs of this task, if something that was said of it cannot be obeyed."""
        try:
            self.Request = task_classes.request_class(self.Request, Task.Request)
        except BadArgument as exc:
            self.Request, type(self).refused = Task.Request, str(exc)
        if self.acks_late is False:  # set on its class since
            self._refuse_early()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set on the task itself: obeyed from the next call on.

        Raises:
            BadArgument: it cannot be right, or be obeyed.
        """
        if name in task_classes.SETTLED:
            name, value = task_classes.settled(name, value)
            self.__dict__["_exec_options"] = None  # Celery's copy of what calls are given
        super().__setattr__(name, value)

    @staticmethod
    def __header__(*args: Any, **kwargs: Any) -> None:
        """As in Celery, arguments of a task that is a class are not checked at the call."""

    def _get_exec_options(self) -> dict[str, Any]:
        if self._exec_options is None:
            priority = task_classes.priority_of(self)
            self._exec_options = {**super()._get_exec_options(), "priority": priority}
        return {**self._exec_options}  # Celery before 5.7 keeps what one call says for all later ones

    # ---- what the author and the caller see

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *rest: Any,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Enqueue a job of this task: its row, then its message.

        Takes Celery's options, and ``priority`` (name or 0 to 100), ``max_tries``, ``timeout`` (seconds),
        ``user_id``, ``idempotency_key``.

        Raises:
            BadArgument, PayloadTooLarge, UnknownTask: nothing was written.
            LedgerUnavailable: the database cannot be reached; the job was refused.
            EnqueueUncertain: the database fell silent inside the commit.

        >>> job(welcome.apply_async((7,), countdown=3600, priority="critical", user_id="7").id).queue
        'critical'
        """
        plain = None if rest or options else plain_call.enqueue(self, args, kwargs)
        return super().apply_async(args, kwargs, *rest, **options) if plain is None else plain

    @classmethod
    def makes_plain_jobs(cls) -> bool:
        """Whether jobs of this class differ in nothing but ids and arguments: it enqueues as ours does."""
        return cls.apply_async is Task.apply_async and cls.shadow_name is Task.shadow_name

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """``delay`` for asyncio: the event loop goes on while the row is written.

        >>> asyncio.run(welcome.adelay(7)).id == kit.assert_enqueued(welcome, 7).id
        True
        """
        return await awaited_call.enqueue(self, args, kwargs)

    @property
    def attempt(self) -> int:
        """The number of the running attempt, 1 for the first; with the job's id, an idempotency key."""
        return int(self._stamp.get("attempt", self.request.retries + 1))

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked that the running job stop; the task decides when.

        Read from the ledger, at most once a second.
        """
        return cancelling.cancel_requested(self)

    @property
    def max_retries(self) -> int | None:
        """Retries of the running job; outside a job, of a job that is enqueued with no word on it."""
        tries = self._stamp.get("tries")
        return int(tries) - 1 if tries else self.default_tries - 1

    @max_retries.setter
    def max_retries(self, value: int | None) -> None:
        self._declared_retries = value

    _limits = property(task_classes.limits_of)
    _called = property(task_classes.called)
    request = property(event_loop.request_of)
    _uniqueness = property(task_classes.uniqueness_of)

    @property
    def default_tries(self) -> int:
        """Tries of a job of this task that is enqueued with no word on it."""
        return task_classes.default_tries(self)

    override_max_retries = retry_options.CallsLimit()

    # ---- an attempt

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request_stack.top
        if request is None or request.called_directly or request._protected:
            return super().__call__(*args, **kwargs)
        request._protected = 1  # as Celery's own guard does: a call from inside is a plain call
        if request.is_eager or task_classes.inside(request):
            return batch_attempt.plain(self, request, args, kwargs)
        return self._attempt(request, self.run, args, kwargs)

    def _attempt(
        self, request: Any, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        if self.refused:
            failures.give_up(error := BadArgument(self.name, self.refused), error)
        try:
            run, args, kwargs = batch_attempt.instead(self, request, run, args, kwargs)
            result = self._run(request, run, args, kwargs)
        except (*_OWN_WORDS, *_FOR_THE_WORKER):
            raise
        except Snooze as exc:
            raise snoozed(self, exc) from None
        except BaseException as exc:  # whatever an author's code raises ends the attempt, not the child
            if type(exc).__name__ == "GreenletExit" or failures.is_termination(exc):
                raise  # gevent ends a greenlet with the one, billiard a child with the other
            self._fail(request, exc)
        again = take_retry(request)
        if again is not None:  # self.retry(throw=False): the attempt asked for another and went on
            raise self._job_retry(again, None, when=None)
        return result

    def _run(
        self, request: Any, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        request.__dict__[RUNS] = True
        try:
            return run(*args, **kwargs)
        finally:
            request.__dict__[RUNS] = False

    def _fail(self, request: Any, exc: BaseException) -> NoReturn:
        error = exc if isinstance(exc, Exception) else TaskExited(type(exc).__name__, failures.text_of(exc))
        again = take_retry(request)
        if again is not None:
            raise self._job_retry(again, exc, when=None) from exc
        if request.get("celeriac_final") or not self._retries(exc) or self._is_last(request):
            failures.give_up(error, exc)
        try:
            retry = self.retry(exc=failures.presentable(error), throw=False)
        except Reject:  # its arguments do not fit the task: another attempt would fail alike
            failures.give_up(error, exc)
        raise retry from None

    def _retries(self, exc: BaseException) -> bool:
        if "autoretry_for" in task_classes.declared_names(type(self), below=Task):
            return False  # the author chose: Celery's own wrapper has retried what they named
        return not isinstance(exc, tuple(getattr(self, "dont_autoretry_for", ())))

    def _is_last(self, request: Any) -> bool:
        limit = self._stamp.get("limit", self.max_retries)
        return limit is not None and request.retries >= limit

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Celery's ``retry``; without ``countdown`` or ``eta`` it waits for the task's backoff.

        The next attempt, and those that follow it, have the options that are given: those of Celery, and
        ``priority`` (with its queue), ``timeout``, ``max_tries``, ``user_id``.

        Raises:
            BadArgument: an option that is of the job itself, as its ``task_id`` and ``idempotency_key``.

        >>> @shared_task(name="feeds.poll", bind=True)
        ... def poll(self, url):
        ...     raise self.retry(countdown=60, priority="low")
        >>> id = poll.delay("https://example.org").id
        >>> kit.drain(), job(id).state, job(id).queue
        ([], <JobState.ERROR: 'error'>, 'low')
        """
        request = self.request
        if request.called_directly or request.is_eager:
            options |= {"eta": eta, "countdown": countdown, "max_retries": max_retries}
            return super().retry(args, kwargs, exc=exc, throw=throw, **options)
        given = frozenset(options)
        try:
            options, max_retries = retry_options.settled(options, max_retries, request)
        except BadArgument:
            request.celeriac_final = True  # another attempt would ask for the same
            raise
        request.celeriac_asked = (None if max_retries is None else max_retries + 1, given)
        options = without_sending(options) | {"eta": eta, "countdown": countdown, "max_retries": max_retries}
        if eta is None and countdown is None:
            wait = self.default_retry_delay
            options["countdown"] = self.backoff(request.retries + 1) if wait is None else wait
        producer = PreparingProducer(self.app)
        try:
            retry = super().retry(args, kwargs, exc=exc, throw=False, producer=producer, **options)
        except Exception:  # whatever it is, it is raised again: this only ends the retries
            request.celeriac_final = True  # its limit is reached, or its message cannot be made
            raise
        again = producer.job
        if again is None:  # a task class that sends its retry elsewhere
            raise retry
        made = self._job_retry(again, exc, when=retry.when)
        if throw:
            raise made
        keep_retry(request, again)  # the attempt goes on, and is a retry when it ends
        return made

    def backoff(self, failed: int) -> float:
        """Seconds from the ``failed``-th failed attempt to the next one; no longer than the ledger counts.

        >>> 120 <= welcome.backoff(1) <= 132  # 60 * 2 ** 1, plus up to 10 %
        True
        """
        return bounded(backoff.seconds(self, failed))

    def _job_retry(self, again: NewJob, exc: BaseException | None, *, when: Any) -> JobRetry:
        failure = failures.failure_of(exc) if isinstance(exc, BaseException) else None
        tries, options = self.request.get("celeriac_asked") or (None, frozenset())
        if "expires" not in options:  # Celery hands on what is left of the job's own
            again = replace(again, expires=None, expires_in=None)
        return JobRetry(None, exc, again.delay if when is None else when, again, failure, tries, options)

    def on_replace(self, sig: Any) -> Any:
        request = self.request
        if request.called_directly or request.is_eager:
            return super().on_replace(sig)
        # Celery applies the signature, which may be a canvas of many jobs, and raises Ignore.
        with capture_jobs() as jobs, suppress(Ignore):
            super().on_replace(sig)
        own = [job for job in jobs if job.id == parse_row_id(request.id)]
        raise Replaced(own[0] if own else None, tuple(job for job in jobs if job not in own))

    @property
    def _stamp(self) -> dict[str, Any]:
        """What the worker's gate wrote on the running job's message; empty outside of a job."""
        stamp: dict[str, Any] | None = self.request.get(STAMP)
        return {} if stamp is None else stamp
