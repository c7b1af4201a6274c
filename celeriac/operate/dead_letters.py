"""Dead letters: list them in groups with the same cause, replay them, discard them.

>>> result = welcome.delay(13)
>>> dead = kit.drain()
>>> dead_letters.replay(dead_letters.Cause(task="mail.welcome"), rate=50)
1
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kombu.serialization import dumps

from celeriac.application import current_app
from celeriac.broker import signing
from celeriac.broker.body import decoded, uncompressed
from celeriac.enqueue import arguments
from celeriac.errors import (
    BadArgument,
    DuplicateJob,
    GroupNotFound,
    JobNotFound,
    NotSigned,
    UnknownTask,
)
from celeriac.events import Event
from celeriac.headers import CHORD, FOLLOWS
from celeriac.ids import parse_row_id
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import dead_letters as ledger
from celeriac.ledger.writes.dead_letters import Group
from celeriac.ledger.writes.replay import replay_free
from celeriac.limits.unique_key import KeyMaker
from celeriac.operate.job import job as read_job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

__all__ = [
    "Cause",
    "Group",
    "cause_of",
    "discard",
    "discard_one",
    "groups",
    "members",
    "replay",
    "replay_one",
]

logger = logging.getLogger(__name__)

_BATCH = 200
#: Characters of a group's key.
KEY = 8
_ALL = 100_000  # groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Which dead letters are meant; what is None does not narrow.

    >>> dead_letters.discard(dead_letters.Cause(exception_type="ConnectionError"), dry_run=True)
    0
    """

    task: str | None = None  # its name
    exception_type: str | None = None  # module and class, as ``Attempt`` has it
    frame: str | None = None  # the place that raised, as file:function
    exactly: bool = False  # what is None is looked for: the members of one group

    @property
    def key(self) -> str:
        """The short key of the group that has this cause.

        >>> dead_letters.Cause(task="mail.send", exception_type="KeyError").key
        '1b80fd80'
        """
        parts = repr((self.task, self.exception_type, self.frame))
        return sha256(parts.encode()).hexdigest()[:KEY]

    @classmethod
    def of(cls, group: Group) -> Cause:
        """What the members of ``group`` have in common.

        >>> result = welcome.delay(13)
        >>> dead = kit.drain()
        >>> dead_letters.Cause.of(dead_letters.groups()[0]).exception_type
        'ConnectionError'
        """
        return cls(task=group.task, exception_type=group.exception_type, frame=group.frame, exactly=True)


def groups(*, limit: int = 50, newest: int | None = None, app: Celeriac | None = None) -> list[Group]:
    """The largest groups of dead letters: same task, same exception, same failing frame.

    Args:
        newest: look at so many dead letters, those that failed last; None: at all.

    >>> dead_letters.groups()
    []
    """
    with current_app(app).database.reading() as connection:
        return ledger.groups(connection, limit=limit, newest=newest)


def cause_of(key: str, *, app: Celeriac | None = None) -> Cause:
    """The cause whose group has this key.

    Raises:
        GroupNotFound: no dead letter has it.

    >>> result = welcome.delay(13)
    >>> dead = kit.drain()
    >>> key = dead_letters.Cause.of(dead_letters.groups()[0]).key
    >>> dead_letters.cause_of(key).task
    'mail.welcome'
    """
    for group in groups(limit=_ALL, app=app):
        cause = Cause.of(group)
        if cause.key == key.lower():
            return cause
    raise GroupNotFound(key)


def members(cause: Cause, *, limit: int = 20, app: Celeriac | None = None) -> list[str]:
    """Ids of dead letters of ``cause``, those accepted first; at most ``limit``.

    >>> id = welcome.delay(13).id
    >>> dead = kit.drain()
    >>> dead_letters.members(dead_letters.Cause(task="mail.welcome")) == [id]
    True
    """
    with current_app(app).database.reading() as connection:
        found = ledger.oldest(
            connection,
            task=cause.task,
            exception_type=cause.exception_type,
            frame=cause.frame,
            exactly=cause.exactly,
            limit=limit,
        )
        return [str(job) for job in found]


def replay_one(
    id: str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    also: Callable[[Connection], object] | None = None,
    app: Celeriac | None = None,
) -> bool:
    """Set a dead letter back to pending with fresh tries; its history stays. False: it is no dead letter.

    Args:
        args, kwargs: other arguments for it, checked against the task's signature.
        also: called in the same transaction, with its connection, when it was replayed.

    Raises:
        BadArgument: ``id`` can be no job's; or it has other arguments that do not fit, or is no dead letter.
        JobNotFound: the ledger has no such job (with other arguments).
        UnknownTask: there is no such task here (with other arguments).
        DuplicateJob: another job has its unique key.

    >>> id = welcome.delay(13).id
    >>> dead = kit.drain()
    >>> dead_letters.replay_one(id, args=(8,))
    True
    """
    platform, wanted = current_app(app), parse_row_id(id, name="id")
    edited = None
    if args is not None or kwargs is not None:
        edited = _edited(platform, wanted, args, kwargs)

    def replayed(connection: Connection) -> bool:
        if edited is not None and not ledger.edit(connection, wanted, **edited):
            return False
        if not replay_all([wanted], connection):
            return False
        if also is not None:
            also(connection)
        return True

    return platform.database.again(replayed)


def replay(
    cause: Cause,
    *,
    dry_run: bool = False,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Replay every dead letter of ``cause`` in batches; return how many.

    One whose unique key another job has is left, and logged.

    Args:
        dry_run: only count.
        rate: jobs a second, at most.
        progress: called after each batch with the number of jobs done.

    >>> result = welcome.delay(13)
    >>> dead = kit.drain()
    >>> dead_letters.replay(dead_letters.Cause(task="mail.welcome"), dry_run=True)
    1
    """
    platform = current_app(app)
    return _count(platform, cause) if dry_run else _each(platform, cause, replay_batch, rate, progress)


def discard_one(id: str, *, app: Celeriac | None = None) -> bool:
    """Delete a dead letter with its history. False: it is no dead letter.

    Raises:
        BadArgument: ``id`` can be no job's.

    >>> dead_letters.discard_one(welcome.delay(7).id)  # it waits: it is no dead letter
    False
    """
    wanted = [parse_row_id(id, name="id")]
    return bool(current_app(app).database.again(lambda connection: ledger.discard(connection, wanted)))


def discard(
    cause: Cause,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
    app: Celeriac | None = None,
) -> int:
    """Delete every dead letter of ``cause`` with its history; return how many.

    Args:
        dry_run: only count.
        progress: called after each batch with the number of jobs done.

    >>> dead_letters.discard(dead_letters.Cause(exception_type="KeyError"))
    0
    """
    platform = current_app(app)
    return _count(platform, cause) if dry_run else _each(platform, cause, ledger.discard, None, progress)


def replay_batch(connection: Any, ids: Sequence[UUID]) -> int:
    """Replay those of ``ids`` that are dead letters; return how many."""
    found = replay_free(connection, ids, dead_only=True)
    for job, why in found.kept_back.items():
        logger.warning(Event.NOT_REPLAYED, {"job": job, "reason": why.sentence})
    return len(found.jobs)


def replay_all(ids: Sequence[UUID], connection: Connection) -> int:
    """As ``replay_batch``, for jobs that are named one by one.

    Raises:
        DuplicateJob: another job has the unique key of one of them.
    """
    found = replay_free(connection, ids, dead_only=True)
    for why in found.kept_back.values():
        raise DuplicateJob(why.key, why.holder or "(not committed yet)", "it is not replayed")
    return len(found.jobs)


def _count(app: Celeriac, cause: Cause) -> int:
    """How many dead letters of ``cause`` there are."""
    with app.database.reading() as connection:
        return ledger.count_members(
            connection,
            task=cause.task,
            exception_type=cause.exception_type,
            frame=cause.frame,
            exactly=cause.exactly,
        )


def _each(app: Celeriac, cause: Cause, act: Any, rate: float | None, progress: Any) -> int:
    """Do ``act`` with every dead letter of ``cause``, in batches; return with how many it was done."""
    return in_batches(app, partial(_members, cause=cause), act, rate=rate, progress=progress)


def in_batches(
    app: Celeriac,
    find: Callable[..., list[UUID]],
    act: Callable[..., int],
    *,
    rate: float | None,
    progress: Callable[[int], None] | None,
) -> int:
    """Do ``act`` with all dead letters that ``find`` finds, in batches; return with how many it was done.

    Args:
        find: reads at most ``limit`` ids that come after ``beyond``, on the connection that it is given.
        rate: jobs a second, at most.
        progress: called after each batch with the number of jobs done.
    """
    done = 0
    for ids in _batches(app, find, size=min(_BATCH, max(1, int(rate or _BATCH)))):
        count = app.database.again(partial(act, ids=ids))
        done += count
        if progress:
            progress(done)
        if rate:
            time.sleep(count / rate)
    return done


def _batches(app: Celeriac, find: Callable[..., list[UUID]], *, size: int) -> Iterator[list[UUID]]:
    beyond: UUID | None = None
    while True:
        with app.database.reading() as connection:
            ids = find(connection, limit=size, beyond=beyond)
        if not ids:
            return
        yield ids
        beyond = ids[-1]


def _members(connection: Any, cause: Cause, *, limit: int, beyond: UUID | None = None) -> list[UUID]:
    return ledger.members(
        connection,
        task=cause.task,
        exception_type=cause.exception_type,
        frame=cause.frame,
        exactly=cause.exactly,
        limit=limit,
        beyond=beyond,
    )


def _edited(
    app: Celeriac, wanted: UUID, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The payload, the headers and the unique key of a dead letter with other arguments."""
    found = read_job(str(wanted), app=app)
    if found.state is not JobState.FAILED:
        raise BadArgument("id", f"job {found.id} is {found.state}, only dead letters are edited")
    task = app.tasks.get(found.task)
    if task is None and not app.is_foreign(found.task):
        raise UnknownTask(found.task)
    new_args = tuple(found.args or ()) if args is None else tuple(args)
    new_kwargs = dict(found.kwargs or {}) if kwargs is None else dict(kwargs)
    arguments.check(new_args, new_kwargs)
    try:
        if task is not None:
            task.__header__(*new_args, **new_kwargs)
    except TypeError as exc:
        raise BadArgument("arguments", str(exc)) from None
    with app.database.reading() as connection:
        row = job_rows.find(connection, wanted)
    if row is None:
        raise JobNotFound(str(wanted))
    payload = _payload(app, row, (new_args, new_kwargs, _options(row)))
    shown = {"argsrepr": arguments.represent(new_args), "kwargsrepr": arguments.represent(new_kwargs)}
    # What is given its arguments does not wait for the results of a chord, nor for that of another job.
    dropped = ("compression", CHORD, FOLLOWS)
    headers = {key: value for key, value in row.headers.items() if key not in dropped}
    rule = None if task is None or row.unique_key is None else task._uniqueness
    key = KeyMaker(found.task, task._called, rule).key(new_args, new_kwargs) if task and rule else None
    return {"payload": payload, "headers": headers | shown, "key": key}


def _payload(app: Celeriac, row: Any, body: Any) -> bytes:
    """``body`` serialized like the row's payload; signed when the row is, if its signature is valid."""
    if not app.settings.signs and row.content_type != signing.CONTENT_TYPE:
        return str(dumps(body, serializer="json")[2]).encode()
    if not app.settings.signs:
        raise BadArgument("id", f"job {row.id} is signed: set CELERIAC_SIGNING_KEY and what belongs to it")
    try:  # the parts that are kept from the old message will be signed again
        signing.check(uncompressed(row), row.content_type, row.headers)
    except NotSigned as exc:
        raise BadArgument("id", f"job {row.id}: {exc}; enqueue another in its place") from None
    return signing.sign(body)


def _options(row: Any) -> Any:
    """The callbacks, chain and chord that the message carries beside its arguments."""
    body = decoded(row)
    return body[2] if body is not None else {}
