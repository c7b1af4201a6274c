"""An attempt that asked to be left alone for a while: the same job again, which costs no try."""

from __future__ import annotations

from typing import Any

from celeriac.enqueue.capture import take_retry
from celeriac.headers import STAMP
from celeriac.ledger.schema.delays import bounded
from celeriac.limits.resting import RateLimited, Snooze
from celeriac.task.retry_and_replace import JobRetry


def snoozed(task: Any, asked: Snooze) -> JobRetry:
    """What the attempt ends with. The job's tries are raised by one, since they are never lowered.

    An outcome names its attempt by number: with a number that came twice, one of them could be taken for the
    other.
    """
    seconds = bounded(asked.seconds)
    stamp = task.request.get(STAMP) or {}
    tries = int(stamp.get("tries", task.default_tries))
    made: JobRetry = task.retry(countdown=seconds, exc=asked, max_retries=tries, throw=False)
    take_retry(task.request)  # it is raised at once
    made.snoozed, made.rests = seconds, isinstance(asked, RateLimited)
    return made
