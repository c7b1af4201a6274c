"""One of the jobs that a batch runs: what its function sees of it, and says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.errors import BadArgument


class BatchedJob:
    """One of the jobs with which the function of a batch task is called.

    Attributes:
        id: Celery's task id.
        args: as its call gave them.
        kwargs: as its call gave them.
        attempt: the number of this attempt, 1 for the first; with the id, an idempotency key.

    >>> @shared_task(name="shop.post", max_tries=3, batch=Batch(size=50))
    ... def post(jobs):
    ...     for job in jobs:
    ...         if job.kwargs.get("later"):
    ...             job.retry(countdown=60)
    ...         elif job.args == [0]:
    ...             job.fail(ValueError("nothing to post"))
    ...         else:
    ...             job.complete(f"posted {job.args[0]}")
    >>> ids = [post.delay(7).id, post.delay(8, later=True).id]
    >>> ended = kit.drain()
    >>> [str(job(id).state) for id in ids], job(ids[0]).result
    (['completed', 'error'], 'posted 7')
    """

    def __init__(self, id: str, args: Sequence[Any], kwargs: Mapping[str, Any], attempt: int) -> None:
        self.id = id
        self.args = args
        self.kwargs = kwargs
        self.attempt = attempt
        self._said: Any = None

    def __repr__(self) -> str:
        """Which job and attempt. No arguments: one of them could be a secret."""
        return f"<BatchedJob {self.id}, attempt {self.attempt}>"

    def complete(self, result: Any = None) -> None:
        """It is done, and ``result`` is its return value; also if the function raises later.

        >>> BatchedJob("a", [], {}, 1).complete("done")
        """
        self._say(lambda task: result)

    def fail(self, error: Exception) -> None:
        """It has failed with ``error``: as if it had raised it, so it is tried again while it has tries left.

        >>> BatchedJob("a", [], {}, 1).fail(ValueError("of no use"))
        """
        if not isinstance(error, Exception):
            raise BadArgument("error", f"wanted an exception, found {type(error).__name__}")

        def raise_it(task: Any) -> Any:
            raise error

        self._say(raise_it)

    def retry(self, *, countdown: float | None = None, error: Exception | None = None) -> None:
        """It is to be tried again, by itself; with no tries left it fails with ``error``.

        Args:
            countdown: seconds; None: the task's backoff.

        >>> BatchedJob("a", [], {}, 1).retry(countdown=60)
        """

        def retried(task: Any) -> Any:
            raise task.retry(countdown=countdown, exc=error)

        self._say(retried)

    def _say(self, outcome: Any) -> None:
        if self._said is not None:
            raise BadArgument("outcome", f"job {self.id} has one already")
        self._said = outcome
