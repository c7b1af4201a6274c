"""Who did what: each action of the console, the HTTP API and the command line is a row.

Never with a payload, an argument or a secret.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.application import current_app
from celeriac.display import safe
from celeriac.errors import BadArgument
from celeriac.ids import new_uuid, parse_row_id
from celeriac.ledger.operators import actions as ledger
from celeriac.names import NAME_LENGTH, check_text

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from celeriac.application import Celeriac

#: Actions of one page: the default, and the most.
PAGE, LARGEST_PAGE = 50, 1000

_REASON = 1_000  # characters
_SUBJECT = 2_000


class Via(StrEnum):
    """Where an action came from."""

    CONSOLE = "console"
    API = "api"
    CLI = "cli"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where."""

    who: str
    via: Via

    @classmethod
    def at_the_terminal(cls) -> Actor:
        """The system's user, of a command."""
        try:
            return cls(getpass.getuser(), Via.CLI)
        except (KeyError, OSError):  # a container may run under a number that has no name
            return cls("unknown", Via.CLI)

    def noting(self, action: str, subject: str) -> Callable[..., str]:
        """What records the action, given the connection of its transaction and, where it makes one, a job."""

        def note(connection: Connection, job_id: UUID | None = None) -> str:
            return record(
                action, who=self.who, via=self.via, subject=subject, job_id=job_id, connection=connection
            )

        return note


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What somebody did. Moments are aware, in UTC."""

    id: str
    began: datetime
    who: str  # the console's or the system's user
    via: str  # see ``Via``
    action: str  # as "replay"
    subject: str  # which jobs, queue or schedule, in words
    job_id: str | None  # of an action on one job
    reason: str | None  # as given; None: none was
    counted: int | None  # jobs, before it began; None: not counted
    done: int  # jobs that it met
    touched: datetime  # when it was last moved
    ended: datetime | None  # None: it goes on
    error: str | None  # why it ended early
    stopped_by: str | None  # None: nobody has
    parameters: Mapping[str, Any] | None = None  # of an action on many jobs; None: it was done at once

    @property
    def state(self) -> str:
        """In a word: running, stopping, done, stopped, failed."""
        if self.ended is None:
            return "stopping" if self.stopped_by else "running"
        if self.stopped_by:
            return "stopped"
        return "failed" if self.error else "done"


@dataclass(frozen=True, slots=True)
class ActionPage:
    actions: tuple[Action, ...]
    next: str | None  # pass it as ``after`` for the next page; None: this is the last one


def record(
    action: str,
    *,
    who: str,
    via: str,
    subject: str,
    job_id: str | UUID | None = None,
    reason: str | None = None,
    counted: int | None = None,
    done: int = 1,
    connection: Connection | None = None,
    app: Celeriac | None = None,
) -> str:
    """Write that something was done; return the id of the row.

    Args:
        action: in a word or two, as "schedule enable".
        subject: which job, queue or schedule, in words; never an argument.
        counted: jobs, before it began.
        done: jobs that it met.
        connection: of the transaction that does it; a transaction of its own unless it is given.

    Raises:
        BadArgument: the reason is too long, or cannot be stored.
    """
    values = {
        "id": new_uuid(),
        "who": safe(who)[:NAME_LENGTH] or "unknown",
        "via": str(via),
        "action": action,
        "subject": safe(subject, length=_SUBJECT),
        "job_id": job_id if job_id is None or isinstance(job_id, UUID) else parse_row_id(job_id, name="id"),
        "reason": checked_reason(reason),
        "counted": counted,
        "done": done,
    }
    if connection is not None:
        return str(ledger.write(connection, values))
    return str(current_app(app).database.again(lambda own: ledger.write(own, values)))


def checked_reason(reason: str | None) -> str | None:
    """``reason``, if it can be stored; None for an empty one.

    Raises:
        BadArgument: it is too long, or cannot be stored.
    """
    text = (reason or "").strip()
    return check_text("reason", text, length=_REASON) if text else None


def list_actions(
    *,
    who: str | None = None,
    since: datetime | timedelta | None = None,
    until: datetime | timedelta | None = None,
    action: str | None = None,
    job: str | None = None,
    after: str | None = None,
    limit: int = PAGE,
    app: Celeriac | None = None,
) -> ActionPage:
    """A page of the actions that match, the newest first.

    Args:
        since: begun at or after; a span: so long before now.
        until: begun before.
        job: the id of a job; those on this one alone.
        after: ``next`` of the page before.
        limit: at most so many, up to 1,000.

    Raises:
        BadArgument: an argument has no meaning.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise BadArgument("limit", f"wanted 1 to {LARGEST_PAGE:,}, found {limit!r}")
    wanted = ledger.Wanted(
        who=who if who is None else check_text("who", who, length=NAME_LENGTH),
        action=action if action is None else check_text("action", action, length=NAME_LENGTH),
        job=None if job is None else parse_row_id(job, name="job"),
        since=since,
        until=until,
    )
    key = None if after is None else _parse_key(after)
    with current_app(app).database.reading() as connection:
        rows = ledger.page(connection, wanted, limit=limit + 1, after=key)
    more, rows = len(rows) > limit, rows[:limit]
    following = f"{rows[-1].began.isoformat()}/{rows[-1].id}" if more else None
    return ActionPage(tuple(map(of_row, rows)), following)


def of_row(row: Row[Any]) -> Action:
    return Action(
        id=str(row.id),
        began=row.began,
        who=row.who,
        via=row.via,
        action=row.action,
        subject=row.subject,
        job_id=None if row.job_id is None else str(row.job_id),
        reason=row.reason,
        counted=row.counted,
        done=row.done,
        touched=row.touched,
        ended=row.ended,
        error=row.error,
        stopped_by=row.stopped_by,
        parameters=row.parameters,
    )


def _parse_key(text: str) -> tuple[datetime, UUID]:
    moment, _, id = text.partition("/")
    try:
        found = datetime.fromisoformat(moment)
        if found.tzinfo is None:
            raise ValueError("a naive moment")
        return found, UUID(id)
    except ValueError:
        raise BadArgument("after", f"wanted the key of the page before, found {text[:80]!r}") from None
