"""Pause a queue or a task, let it go on, and say what is paused.

A pause is a row of the ledger: every worker obeys it within two seconds, also one that is started later, and
it outlives the broker. Jobs are accepted as before; they wait in the ledger.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING

from celeriac.application import current_app
from celeriac.display import stamp
from celeriac.errors import BadArgument, UnknownTask
from celeriac.ledger.schema.holding import PauseKind, held_word
from celeriac.ledger.schema.lanes import Lanes, check
from celeriac.ledger.upkeep import pause_rows as ledger
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.names import NAME_LENGTH, check_text
from celeriac.operate import actions
from celeriac.operate.actions import Actor

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

__all__ = ["PauseKind", "PauseRow", "pause", "paused", "resume"]


def pause(
    kind: PauseKind, name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None
) -> list[str]:
    """Let no more jobs of a queue or a task start; return the names that were not paused before.

    What runs goes on. A lane is paused with its four levels, and ``gpu.high`` alone.

    Args:
        reason: shown to everybody who asks why a job does not run.

    Raises:
        BadArgument: nobody knows such a queue, or the reason is too long.
        UnknownTask: nobody knows such a task.
    """
    platform = current_app(app)
    wanted = names(kind, name, app=platform)
    said = actions.checked_reason(reason)
    _check_known(platform, kind, name, wanted)

    def write(connection: Connection) -> list[str]:
        made = ledger.pause(connection, kind, wanted, who=actor.who[:NAME_LENGTH], reason=said)
        _record(connection, f"{kind} pause", name, actor, said, changed=made)
        return made

    return platform.database.again(write)


def resume(
    kind: PauseKind, name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None
) -> list[str]:
    """Let jobs of a queue or a task start again; return the names that were paused.

    Raises:
        BadArgument: it cannot be the name of a queue or a task.
    """
    platform = current_app(app)
    wanted = names(kind, name, app=platform)
    said = actions.checked_reason(reason)

    def write(connection: Connection) -> list[str]:
        ended = ledger.resume(connection, kind, wanted)
        _record(connection, f"{kind} resume", name, actor, said, changed=ended)
        return ended

    return platform.database.again(write)


def paused(*, app: Celeriac | None = None) -> list[PauseRow]:
    """What is paused: queues by list, then tasks, by name."""
    with current_app(app).database.reading() as connection:
        return ledger.rows(connection)


def names(kind: PauseKind, name: str, *, app: Celeriac | None = None) -> list[str]:
    """The names that are paused with ``name``: a lane has four lists, and those of plain Celery producers.

    Raises:
        BadArgument: it cannot be the name of a queue or a task.
    """
    if kind is PauseKind.TASK:
        return [check_text("task", name, length=NAME_LENGTH)]
    lanes: Lanes = current_app(app).amqp.queues.lanes
    return lanes.with_bare(lanes.lists(check(name)))


def in_words(row: PauseRow) -> str:
    """Who paused it, since when and why.

    >>> from datetime import UTC, datetime
    >>> at = datetime(2030, 1, 1, tzinfo=UTC)
    >>> in_words(PauseRow(PauseKind.QUEUE, "low", at, "ann", "smtp is down"))
    'paused by ann since 2030-01-01 00:00:00 UTC: smtp is down'
    """
    return f"paused by {row.who} since {stamp(row.since)}" + (f": {row.reason}" if row.reason else "")


def remedy(row: PauseRow) -> str:
    """The command that lets it go on.

    >>> from datetime import UTC, datetime
    >>> remedy(PauseRow(PauseKind.TASK, "mail.send", datetime.now(UTC), "ann", None))
    'celery -A app tasks resume mail.send'
    """
    return f"celery -A app {row.kind}s resume {shlex.quote(row.name)}"


def that_stops(rows: Iterable[PauseRow], *, queue: str, task: str) -> PauseRow | None:
    """The pause for which jobs of a queue and a task wait: the queue's, if both are paused."""
    found = {held_word(row.kind, row.name): row for row in rows}
    of_task = found.get(held_word(PauseKind.TASK, task))
    return found.get(held_word(PauseKind.QUEUE, queue), of_task)


def _record(
    connection: Connection, action: str, name: str, actor: Actor, reason: str | None, *, changed: list[str]
) -> None:
    if changed:
        actions.record(
            action,
            who=actor.who,
            via=actor.via,
            subject=name,
            reason=reason,
            done=0,
            connection=connection,
        )


def _check_known(app: Celeriac, kind: PauseKind, name: str, names: Sequence[str]) -> None:
    app.loader.import_default_modules()
    known = _tasks(app) if kind is PauseKind.TASK else _queues(app)
    if known.intersection(names):
        return
    with app.database.reading() as connection:
        if ledger.is_of_ledger(connection, kind, names):
            return
    nearest = next(iter(get_close_matches(name, sorted(known), n=1)), None)
    if kind is PauseKind.TASK:
        raise UnknownTask(name, nearest)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    reason = "no app declares it, no live worker draws from it, and the ledger has no job of it"
    raise BadArgument("queue", f"nobody knows a queue {name!r}: {reason}{hint}")


def _tasks(app: Celeriac) -> set[str]:
    within = timedelta(seconds=app.settings.worker_timeout)
    with app.database.reading() as connection:
        return set(app.tasks) | worker_rows.tasks_of_the_living(connection, within=within)


def _queues(app: Celeriac) -> set[str]:
    queues = app.amqp.queues
    with app.database.reading() as connection:
        living = worker_rows.seen(connection, within=timedelta(seconds=app.settings.worker_timeout))
    declared = {each for lane in queues.declared_lanes() for each in queues.lanes.lists(lane)}
    return declared | {each for worker in living if not worker.stopped for each in worker.queues}
