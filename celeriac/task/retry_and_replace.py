"""The exceptions that tell the ledger thread that an attempt asked for a retry, or replaced itself."""

from __future__ import annotations

from typing import Any

from celery.exceptions import Ignore, Retry

from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.outcomes import Failure
from celeriac.task import failures


class JobRetry(Retry):
    """A retry on its way from the attempt to the ledger thread; carries what the next attempt runs."""

    def __init__(
        self,
        message: str | None = None,
        exc: Any = None,
        when: Any = None,
        again: NewJob | None = None,
        failure: Failure | None = None,
        tries: int | None = None,
        options: frozenset[str] = frozenset(),
        **kwargs: Any,
    ) -> None:
        super().__init__(message, exc, when, **kwargs)
        self.again = again
        self.failure = failure
        self.tries = tries  # a limit that this call of retry() set
        self.options = options  # the names of those that it was given
        self.snoozed: float | None = None  # seconds; the attempt costs no try then
        self.rests = False  # whether all jobs of the same limits wait as long

    def __reduce__(self) -> tuple[Any, ...]:
        rebuilt = (
            self.message,
            failures.portable(self.exc),
            self.when,
            self.again,
            self.failure,
            self.tries,
            self.options,
        )
        return type(self), rebuilt, {"snoozed": self.snoozed, "rests": self.rests}


class Replaced(Ignore):
    """A task that replaced itself, on its way to the ledger thread.

    Args:
        message: what runs under the same id now; None when that is sent later by another job.
        successors: the jobs that are to exist if the replacement is accepted.
    """

    def __init__(self, message: NewJob | None, successors: tuple[NewJob, ...]) -> None:
        super().__init__(message, successors)
        self.replacement = message
        self.successors = successors
