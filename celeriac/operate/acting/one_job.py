"""Actions on one job, each on record in the transaction that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.errors import BadArgument
from celeriac.ids import parse_row_id
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes import claims
from celeriac.ledger.writes.cancel import Answer, Mode
from celeriac.ledger.writes.cancel import cancel as cancel_rows
from celeriac.operate import dead_letters
from celeriac.operate.acting import argument_types
from celeriac.operate.acting.acts import Batch, act_of
from celeriac.operate.actions import Actor, record
from celeriac.operate.job import job as read_job

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

_DONE = frozenset({Answer.CANCELLED, Answer.REQUESTED})


def act(
    action: str,
    id: str,
    *,
    by: Actor,
    reason: str | None = None,
    options: Mapping[str, Any] | None = None,
    app: Celeriac | None = None,
) -> bool:
    """Do ``action`` with one job; False: its state does not allow it, or nothing would change.

    Args:
        options: of a move.

    Raises:
        BadArgument: there is no such action, or ``id`` can be no job's.
    """
    platform, wanted, chosen = current_app(app), parse_row_id(id, name="id"), act_of(action)

    def done(connection: Connection) -> bool:
        subject = _subject(connection, wanted)
        batch = Batch(app=platform, ids=[wanted], wanted=None, options=options or {})
        if not chosen.do(connection, batch):
            return False
        _note(connection, action, wanted, subject, by=by, reason=reason)
        return True

    return platform.database.again(done)


def cancel(
    id: str, *, by: Actor, hard: bool = False, reason: str | None = None, app: Celeriac | None = None
) -> Answer:
    """Cancel a job for ever, as ``celeriac.cancel`` does; what was already so is not on record."""
    platform, wanted = current_app(app), parse_row_id(id, name="id")

    def done(connection: Connection) -> Answer:
        answer = cancel_rows(connection, [wanted], mode=Mode.HARD if hard else Mode.SOFT)[wanted]
        if answer in _DONE:
            action = "cancel-hard" if hard else "cancel"
            _note(connection, action, wanted, _subject(connection, wanted), by=by, reason=reason)
        return answer

    return platform.database.again(done)


def replay(
    id: str,
    *,
    by: Actor,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    reason: str | None = None,
    app: Celeriac | None = None,
) -> bool:
    """Replay a dead letter, as ``dead_letters.replay_one`` does; with other arguments it says so."""
    platform, wanted = current_app(app), parse_row_id(id, name="id")
    edited = args is not None or kwargs is not None
    if edited:
        _check_types(platform, id, args, kwargs)

    def note(connection: Connection) -> None:
        subject = _subject(connection, wanted) + (", with other arguments" if edited else "")
        _note(connection, "replay", wanted, subject, by=by, reason=reason)

    return dead_letters.replay_one(id, args=args, kwargs=kwargs, also=note, app=platform)


def clone(id: str, *, by: Actor, app: Celeriac | None = None) -> str:
    """Enqueue a new job with the arguments, queue, priority and user of this one; return its id.

    Callbacks, chain and chord of the old one are not the new one's.

    Raises:
        BadArgument: its arguments cannot be read, or do not fit the task now.
        JobNotFound: the ledger has no such job.
        UnknownTask: there is no such task here.
    """
    platform = current_app(app)
    old = read_job(id, app=platform)
    if old.args is None or old.kwargs is None:
        raise BadArgument("id", f"the arguments of job {old.id} cannot be read")
    platform.loader.import_default_modules()
    options = {"priority": old.priority, "queue": old.queue, "user_id": old.user_id}
    given = {name: value for name, value in options.items() if value is not None}
    made = platform.enqueue_by_name(old.task, old.args, old.kwargs, **given)
    record(
        "clone",
        who=by.who,
        via=by.via,
        subject=f"{old.task} {old.id} as {made}",
        job_id=old.id,
        app=platform,
    )
    return made


def _check_types(
    app: Celeriac, id: str, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> None:
    found = read_job(id, app=app)
    task = app.tasks.get(found.task)
    if task is not None and found.state is JobState.FAILED:
        argument_types.check(
            task,
            tuple(found.args or ()) if args is None else args,
            (found.kwargs or {}) if kwargs is None else kwargs,
        )


def _subject(connection: Connection, id: UUID) -> str:
    """The job in words; read before it may be deleted."""
    task = claims.tasks(connection, [id]).get(id)
    return f"{task} {id}" if task else str(id)


def _note(
    connection: Connection, action: str, id: UUID, subject: str, *, by: Actor, reason: str | None
) -> None:
    record(
        action,
        who=by.who,
        via=by.via,
        subject=subject,
        job_id=id,
        reason=reason,
        connection=connection,
    )
