"""Errors as answers: the status, a sentence that says what is wrong, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from celeriac.errors import (
    AmbiguousId,
    BadArgument,
    DuplicateJob,
    GroupNotFound,
    JobNotFound,
    LedgerUnavailable,
    ScheduleNotFound,
    StaticSchedule,
    UnknownTask,
)
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.connection.error_kinds import as_unfit, took_too_long
from celeriac.operate.presentation.refusals import refusal_of

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (JobNotFound, 404),
    (GroupNotFound, 404),
    (ScheduleNotFound, 404),
    (UnknownTask, 404),
    (AmbiguousId, 409),
    (StaticSchedule, 409),
    (DuplicateJob, 409),
    (LedgerUnavailable, 503),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    status: int
    title: str
    sentence: str
    field: str | None = None  # which part of the request is wrong
    passes: bool = False  # the same page may work in a moment


class NotHere(Exception):
    """A page of something that the ledger does not have; the text says of what."""


def refused(error: Exception, app: Celeriac) -> Refused | None:
    """What to answer; None for a bug of ours."""
    if isinstance(error, NotHere):
        return Refused(status=404, title=_TITLES[404], sentence=str(error))
    if isinstance(error, TimeoutError) or took_too_long(error):
        return Refused(
            status=503,
            title="too many to count",
            sentence="the database did not answer in two seconds: narrow the filter, or the time",
        )
    if isinstance(error, (SQLAlchemyError, OSError, *UNREACHABLE)):
        unfit = as_unfit(error) or error
        if isinstance(unfit, UNREACHABLE):
            return Refused(
                status=503,
                title="the database is away",
                sentence="the ledger's database does not answer; this page comes back by itself when it does",
                passes=True,
            )
    found = refusal_of(error, app)
    if found is None:
        return None
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    field = (
        error.name if isinstance(error, BadArgument) else "task" if isinstance(error, UnknownTask) else None
    )
    return Refused(
        status=status,
        title=_TITLES.get(status, "refused"),
        sentence=found.sentence.removeprefix("--"),  # nobody has typed an option here
        field=field.removeprefix("--") if field else None,
    )


_TITLES = {400: "this request is not valid", 404: "there is no such thing", 409: "it cannot be done now"}
