"""Write jobs that were prepared: their rows, then their messages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac import texts
from celeriac.broker import sending
from celeriac.enqueue.capture import Written, kept_successors
from celeriac.enqueue.reused_id import RUNS, Caller, settle
from celeriac.enqueue.unique.key_rules import key_rules
from celeriac.errors import EnqueueUncertain, LedgerUnavailable
from celeriac.events import Event
from celeriac.ledger.upkeep.parked import fail_parked
from celeriac.ledger.writes.acceptance import Settle, accept, accept_all, accept_known
from celeriac.ledger.writes.new_jobs import NewJob

if TYPE_CHECKING:
    from celeriac.application import Celeriac

logger = logging.getLogger(__name__)


def write(
    app: Celeriac, jobs: Sequence[NewJob], *, producer: Any = None, caller: Caller | None = None
) -> Written:
    """Write the rows of ``jobs`` in one transaction, then send their messages.

    Args:
        producer: what sends the messages; one of the app's own unless it is given.
        caller: who enqueues, where that is another thread's.

    Raises:
        BadArgument: an id is used again for something else; none of them was written.
        DuplicateJob: another job has the key of one that is to be refused then; none of them was written.
        LedgerUnavailable: the database cannot be reached.
        EnqueueUncertain: it fell silent inside the commit.
    """
    if len(jobs) == 1 and jobs[0].unique is None:
        return Written(int(_write_one(app, jobs[0], producer, caller)))
    jobs = to_be_sent(app, jobs)
    within, caller = app.settings.enqueue_timeout, caller or Caller.of(app)
    settle, rules = settling(app, caller), key_rules(app, caller)
    accepted = accept_all(app.database, jobs, within=within, settle=settle, rules=rules)
    if accepted.send:
        sending.send(app, accepted.send, producer=producer)
    return Written(len(accepted.new), accepted.kept)


def write_or_keep(app: Celeriac, jobs: Sequence[NewJob], *, producer: Any) -> Written:
    """As ``write``; once a task has returned, what the ledger does not take goes with its outcome.

    The attempt has done its work: it must neither fail nor run again because its successor is refused.
    """
    kept = kept_successors() if has_returned(app) else None
    if kept:  # the next one would wait as long
        kept.extend(jobs)
        return Written(len(jobs))
    try:
        return write(app, jobs, producer=producer)
    except (LedgerUnavailable, EnqueueUncertain) as exc:
        if kept is None:
            raise
        logger.warning(Event.SUCCESSORS_KEPT, {"jobs": len(jobs), "job": jobs[0].id, "error": str(exc)})
        kept.extend(jobs)
        return Written(len(jobs))


def has_returned(app: Celeriac) -> bool:
    """Whether the task of the attempt that enqueues has returned: Celery sends what follows it."""
    task = app.current_worker_task
    return task is not None and not task.request.is_eager and task.request.__dict__.get(RUNS) is False


def _write_one(app: Celeriac, job: NewJob, producer: Any, caller: Caller | None) -> bool:
    """The same, for one: a single statement."""
    (job,) = to_be_sent(app, [job])
    within = app.settings.enqueue_timeout
    if producer is None and job.dispatch_count:
        message = sending.SingleMessage(app, job)
        if accept(app.database, job, within=within, meanwhile=message.make):
            message.send()
            return True
    elif accept(app.database, job, within=within):
        if job.dispatch_count:
            sending.send(app, [job], producer=producer)
        return True
    unsent = accept_known(app.database, job, within=within, settle=settling(app, caller))
    if unsent:
        sending.send(app, unsent, producer=producer)
    return False


def to_be_sent(app: Celeriac, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
    """``jobs``; while the broker is left alone, their messages are left to the dispatcher."""
    return [job.unsent() for job in jobs] if app.broker_state.resting else jobs


def settling(app: Celeriac, caller: Caller | None = None) -> Settle:
    """What decides about jobs whose rows exist."""
    return partial(settle, caller=caller or Caller.of(app))


def fail_body(app: Celeriac, body: UUID, error: Exception) -> None:
    """Fail the body of a chord, one of whose members was refused: it would wait for it in vain."""
    reason = texts.clean(f"a dependency was refused: {error}", texts.TEXT_LIMIT)
    try:
        with app.database.transaction(within=app.settings.enqueue_timeout) as connection:
            fail_parked(connection, [body], reason=reason)
    except Exception as exc:  # the keeper fails it later
        logger.warning(Event.BODY_NOT_FAILED, {"job": body, "error": type(exc).__name__})
