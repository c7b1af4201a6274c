"""Turn Celery's handling of one delivery into one outcome.

Celery calls what happened (``on_failure``, ``on_retry``, ``on_timeout``, ``reject``, a revoke), and then
acknowledges exactly once. The first call decides the outcome; an acknowledgement without one means success.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app.task import Task as CeleryTask
from celery.exceptions import (
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
    TaskRevokedError,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.utils.saferepr import saferepr
from celery.worker import state
from celery.worker.request import Request

from celeriac.broker import signing
from celeriac.broker.body import uncompressed
from celeriac.enqueue import time_limits
from celeriac.errors import BadArgument
from celeriac.events import Event
from celeriac.headers import PERMITS, STAMP, UNIQUE, retried
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.delays import bounded
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.replay import ENDLESS
from celeriac.limits import permits
from celeriac.task import failures
from celeriac.task.batch.declared import STRATEGY
from celeriac.task.results.carried import CarriedResult
from celeriac.task.retry_and_replace import JobRetry, Replaced
from celeriac.task.successors_kept import Followed, successors_of
from celeriac.worker.attempt_report import ReportTaker

logger = logging.getLogger(__name__)

#: A job that was accepted longer ago than this is not snoozed any more: it fails.
LONGEST_SNOOZED = timedelta(days=30)


class JobRequest(Request):
    """One attempt of a job in the worker's main process."""

    _decided: Outcome | None = None
    _successors: tuple[NewJob, ...] = ()  # that the child could not write
    _reported = False
    #: Whether a completed attempt's function returned: its value must then be in the result store.
    returned = True
    #: Seconds that it ran, where the pool's child measured it; None: counted from its start until now.
    ran: float | None = None
    #: Seconds for which its limits are to rest; None: the task asked for none.
    rests: float | None = None
    #: Its result, where the child has not stored it.
    carried: CarriedResult | None = None

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        self._check()
        stamp = self._request_dict[STAMP]
        self.job = parse_row_id(self.id)
        self.attempt = int(stamp["attempt"])
        self.tries_left = int(stamp["tries"]) - int(stamp["try"])
        self.ledger: ReportTaker = self._app.ledger_thread
        self.permits = tuple(permit.name for permit in permits.read(self._request_dict.get(PERMITS)))
        self.unique = UNIQUE in self._request_dict
        # Another strategy than these may store nothing.
        self.returned = self.task.Strategy in (CeleryTask.Strategy, STRATEGY)

    # ---- calls from Celery

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """
        Raises:
            TaskRevokedError: it has expired or was revoked since it was handed over. With ``-P threads`` a
                job waits in the pool, and its thread calls this before it runs it.
        """
        if pid == os.getpid() and self.revoked():
            raise TaskRevokedError(self.id)
        self.ledger.started(self.job)
        super().on_accepted(pid, time_accepted)

    def on_retry(self, exc_info: Any) -> None:
        error = failures.unwrapped(exc_info.exception)
        asked = error if isinstance(error, JobRetry) else None
        failure = asked.failure if asked else None
        if failure is None:
            cause = getattr(error, "exc", None)
            failure = failures.failure_of(
                cause if isinstance(cause, BaseException) else error, str(exc_info.traceback)
            )
        outcome = self._retry_outcome(failure, asked)
        self._decide(outcome if asked is None or asked.snoozed is None else self._snoozed(outcome, asked))
        super().on_retry(exc_info)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        if state.should_terminate:  # a cold shutdown kills children: what they ran is released
            return
        error = failures.unwrapped(exc_info.exception)
        self._successors = successors_of(exc_info)
        if isinstance(error, Followed):
            self.on_success((0, error.shown, error.seconds))
            return
        if self._may_try_again(error):
            timeout = isinstance(error, TimeLimitExceeded)
            self._try_again(exc_info, AttemptKind.TIMEOUT if timeout else AttemptKind.LOST)
            return
        self._decide_failure(error, exc_info)
        if isinstance(error, MemoryError):  # Celery would end the worker with it
            self._end_failed(exc_info)
            return
        super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        error = TimeLimitExceeded(timeout)
        if self._reported:
            return  # billiard reports a hard limit as a failure first
        if soft or state.should_terminate:
            super().on_timeout(soft, timeout)
        elif self.tries_left:
            try:
                raise error
            except TimeLimitExceeded:
                self._try_again(ExceptionInfo(), AttemptKind.TIMEOUT)
        else:
            self._decide(self._ended(JobState.FAILED, failures.failure_of(error, kind=AttemptKind.TIMEOUT)))
            super().on_timeout(soft, timeout)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        self._decide(self._ended(JobState.CANCELLED, Failure(AttemptKind.CANCELLED, None, reason)))
        super()._announce_revoked(reason, terminated, signum, expired)

    def reject(self, requeue: bool = False) -> None:
        """Acknowledge in every case: the ledger sends the job again, not the broker."""
        if self._decided is None:
            self._decide(
                self._retry_outcome(Failure(AttemptKind.REJECTED, None, f"rejected, requeue={requeue}"))
            )
        if not self.acknowledged:
            self.acknowledge()
            self.send_event("task-rejected", requeue=requeue)

    def acknowledge(self) -> None:
        if self._reported:
            return
        self._reported = True
        ended = self._decided or Outcome(id=self.job, attempt=self.attempt, state=JobState.COMPLETED)
        if self._successors:
            ended = replace(ended, successors=(*ended.successors, *self._successors))
        self.ledger.report(ended, self)
        super().acknowledge()

    # ---- the outcome

    def _may_try_again(self, error: BaseException) -> bool:
        """Whether the child was lost or killed before its work was done, with a try left."""
        if isinstance(error, TimeLimitExceeded):
            return self.tries_left > 0
        return self._lost(error) and self.tries_left > 0 and not self._success_was_stored()

    def _success_was_stored(self) -> Any:
        """As Celery's. Below 5.7 it does not ask: what a child did before it was lost is then done again."""
        ask = getattr(super(), "_success_was_stored", None)
        return ask() if ask is not None else None

    def _decide_failure(self, error: BaseException, exc_info: Any) -> None:
        if isinstance(error, Replaced):
            self._decide(self._replaced(error))
        elif isinstance(error, Reject):
            self._rejected(error, exc_info)
        elif isinstance(error, Terminated):
            cancelled = Failure(AttemptKind.CANCELLED, None, "terminated on request")
            self._decide(self._ended(JobState.CANCELLED, cancelled))
        elif isinstance(error, Ignore | Retry) or (self._lost(error) and self._success_was_stored()):
            # Celery acknowledges: the work is done, or goes on elsewhere.
            self.returned = self._lost(error)
        else:
            self._decide(self._failed(error, exc_info))

    def _decide(self, outcome: Outcome) -> None:
        if self._decided is None:
            self._decided = outcome

    def _retry_outcome(self, failure: Failure, asked: JobRetry | None = None) -> Outcome:
        again = asked.again if asked else None
        if asked is None or again is None:
            return Outcome(
                id=self.job,
                attempt=self.attempt,
                state=JobState.ERROR,
                failure=failure,
                delay=self._backoff(),
            )
        return Outcome(
            id=self.job,
            attempt=self.attempt,
            state=JobState.ERROR,
            failure=failure,
            delay=again.delay,
            max_tries=None if asked.tries is None else self._most_attempts(asked.tries),
            message=again if asked.options or self._differs(again) else None,
            expiry="expires" in asked.options,
        )

    def _snoozed(self, outcome: Outcome, asked: JobRetry) -> Outcome:
        self.rests = asked.snoozed if asked.rests else None
        reason = outcome.failure and replace(outcome.failure, kind=AttemptKind.SNOOZED)
        return replace(outcome, failure=reason, oldest=LONGEST_SNOOZED.total_seconds())

    def _most_attempts(self, tries: int) -> int:
        """The attempts after which the job is over, where ``tries`` counts those of before its adoption."""
        left = max(tries - retried(self._request_dict), 1)
        return min(self._tries_before + left, ENDLESS)

    def _backoff(self) -> float:
        """Seconds until the next attempt, also when the task's ``backoff`` raises."""
        try:
            return bounded(float(self._task.backoff(self.attempt - self._tries_before)))
        except Exception as exc:  # an author's code; the attempt must have an outcome
            logger.warning(Event.BACKOFF_FAILED, {"task": self.name, "error": type(exc).__name__})
            return bounded(float(self._app.settings.retry_base))

    def _ended(self, state: JobState, failure: Failure) -> Outcome:
        return Outcome(id=self.job, attempt=self.attempt, state=state, failure=failure)

    def _failed(self, error: BaseException, exc_info: Any) -> Outcome:
        failure = failures.failure_of(error, str(exc_info.traceback))
        if self._lost(error):
            failure = failures.failure_of(error, str(exc_info.traceback), kind=AttemptKind.LOST)
        return self._ended(JobState.FAILED, failure)

    def _rejected(self, error: Reject, exc_info: Any) -> None:
        reason = error.reason if isinstance(error.reason, BaseException) else error
        failure = failures.failure_of(reason, str(exc_info.traceback), kind=AttemptKind.REJECTED)
        state = JobState.ERROR if error.requeue else JobState.FAILED
        self._decide(Outcome(id=self.job, attempt=self.attempt, state=state, failure=failure))

    def _replaced(self, error: Replaced) -> Outcome:
        return Outcome(
            id=self.job,
            attempt=self.attempt,
            state=JobState.PENDING,
            message=error.replacement,
            expiry=error.replacement is not None and error.replacement.has_expiry,
            parked=error.replacement is None,
            successors=error.successors,
        )

    def _try_again(self, exc_info: Any, kind: AttemptKind) -> None:
        """A lost child or a hard limit with tries left: the ledger records a failure, Celery does not."""
        failure = failures.failure_of(exc_info.exception, str(exc_info.traceback), kind=kind)
        delay = 0.0 if kind is AttemptKind.LOST else self._backoff()
        self._decide(
            Outcome(id=self.job, attempt=self.attempt, state=JobState.ERROR, failure=failure, delay=delay)
        )
        state.task_ready(self)
        self.acknowledge()
        self.send_event(
            "task-retried", exception=saferepr(exc_info.exception), traceback=str(exc_info.traceback)
        )

    def _end_failed(self, exc_info: Any) -> None:
        state.task_ready(self)
        self.acknowledge()
        self.send_event(
            "task-failed", exception=saferepr(exc_info.exception), traceback=str(exc_info.traceback)
        )

    # ---- facts

    @staticmethod
    def _lost(error: BaseException) -> bool:
        # Celery turns an exit of the child that billiard reports into WorkerLostError itself.
        return isinstance(error, WorkerLostError | SystemExit | KeyboardInterrupt)

    def _check(self) -> None:
        """Refuse headers that would raise later in the main process, where it would end the worker.

        The door and the adoption refuse them, but a row of an older version or a forged copy may have them.
        """
        try:
            self.time_limits = time_limits.read(self._request_dict.get("timelimit"))
        except BadArgument as exc:
            raise InvalidTaskError(str(exc)) from exc
        if not isinstance(self.name, str):
            raise InvalidTaskError(f"its name is to be shown as {type(self.name).__name__}, wanted text")

    @property
    def _tries_before(self) -> int:
        return self.attempt - int(self._request_dict[STAMP]["try"])

    def _differs(self, again: NewJob) -> bool:
        """Whether the next attempt's message differs from this one's, apart from its signature."""
        text = signing.text(uncompressed(again), again.content_type)
        queue = self._request_dict.get("delivery_info", {}).get("routing_key")
        same = text == signing.text(self._bytes(), self.content_type) and again.queue == queue
        return not same or again.not_before is not None

    def _bytes(self) -> bytes:
        body = self._body
        return body.encode("utf-8") if isinstance(body, str) else bytes(body)
