"""Calls whose key another job has: how they are met, and the message of a job that one replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kombu.serialization import dumps
from sqlalchemy import Connection

from celeriac.broker import signing
from celeriac.broker.body import compressed_as, decoded
from celeriac.headers import ADOPTED, CHORD, FOLLOWS, RETRIED
from celeriac.ledger.writes.bulk_insert import enqueue_all, first_of_each
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.unique.replacing import Replaceable
from celeriac.ledger.writes.unique.taking import KeyRules, take_or_postpone

if TYPE_CHECKING:
    from celeriac.application import Celeriac
    from celeriac.enqueue.reused_id import Caller

#: Of the time in which an enqueue must answer, what it may wait for another transaction.
_SHARE = 0.8

#: Headers that say who a job is and what it belongs to: they stay when its message is replaced.
_OF_THE_JOB = ("id", "root_id", "parent_id", "group", "group_index", CHORD, FOLLOWS, ADOPTED, RETRIED)


def key_rules(
    app: Celeriac, caller: Caller, *, lent: bool = False, patience: float | None = None
) -> KeyRules:
    """How unique calls are met in one transaction.

    Args:
        lent: whether the transaction is the caller's own, and not ours.
        patience: seconds to wait for another transaction; most of the enqueue's time unless it is given.
    """
    wait = app.settings.enqueue_timeout * _SHARE if patience is None else patience
    noted = app.amqp.duplicates.note
    return KeyRules(patience=wait, refuses=caller.checks, compose=compose, lent=lent, noted=noted)


def write_at_once(connection: Connection, jobs: Sequence[NewJob]) -> list[NewJob]:
    """Write the rows of ``jobs``, whose ids are promised, for who holds other locks; return those to be sent.

    A key that is not free at once is decided later, by a keeper.
    """
    unique = [job for job in jobs if job.unique]
    plain = [job for job in jobs if not job.unique]
    new = enqueue_all(connection, plain)
    taken = take_or_postpone(connection, unique, AT_ONCE)
    fresh = [*(job for job in first_of_each(plain) if job.id in new), *taken.fresh]
    return [job for job in fresh if job.dispatch_count]


def compose(waiting: Replaceable, call: NewJob) -> NewJob:
    """``call`` as the message of the job ``waiting``, which keeps its id and what follows it."""
    own = {name: waiting.headers[name] for name in _OF_THE_JOB if name in waiting.headers}
    headers = {name: value for name, value in call.headers.items() if name not in _OF_THE_JOB} | own
    job = replace(call, id=waiting.id, headers=headers)
    before, said = decoded(waiting), decoded(call)
    followers = _followers(before)
    if said is None or (call.content_type != signing.CONTENT_TYPE and followers == _followers(said)):
        return job
    body: Any = (said[0], said[1], followers)
    if call.content_type == signing.CONTENT_TYPE:
        return replace(job, payload=compressed_as(job, signing.sign(signing.bind_to_job(body, headers))))
    text = dumps(body, serializer="json")[2]
    return replace(job, payload=compressed_as(job, str(text).encode()))


#: For writers that must not wait, nor refuse what was promised.
AT_ONCE = KeyRules(patience=0.05, refuses=False, compose=compose)


def _followers(body: Any) -> dict[str, Any]:
    """What a message's body says of callbacks, chain and chord."""
    found = dict(body[2] or {}) if body is not None else {}
    found.pop(signing.OWNER, None)
    return found or {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
