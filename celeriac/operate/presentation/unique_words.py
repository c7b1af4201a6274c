"""What is said of a unique job: which calls are answered with it, and which job another one follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection

from celeriac.display import length, stamp
from celeriac.headers import UNIQUE
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.writes.unique import followers, periods
from celeriac.limits.unique import While
from celeriac.limits.unique_key import read

if TYPE_CHECKING:
    from celeriac.application import Celeriac

_SHOWN = 20


def answers_for(connection: Connection, row: Any) -> str | None:
    """Which calls are answered with this job, and for how long; None: a call makes a job of its own."""
    if row.unique_key is None:
        return None
    if row.unique_while == While.PERIOD:
        until = periods.held_until(connection, row.unique_key, row.id)
        return None if until is None else _sentence(row, f"until {stamp(until)}")
    if row.finished is not None or (row.unique_while == While.WAITING and row.last_worker_id is not None):
        return None
    if row.unique_while != While.WAITING:
        return _sentence(row, "until it has ended")
    return _sentence(row, "until its first attempt begins" + _waits_anew(row))


def _waits_anew(row: Any) -> str:
    """What such a call does to a debounced job; nothing to others."""
    said = read(row.headers.get(UNIQUE))
    if said is None or said.rule.wait is None or said.rule.at_most is None:
        return ""
    wait, latest = (timedelta(seconds=seconds) for seconds in (said.rule.wait, said.rule.at_most))
    return f", which then waits {length(wait)} anew, until {stamp(row.queued + latest)} at the latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """A job that waits for another one, whose result it takes."""

    id: str
    task: str
    state: JobState
    queued: datetime


def followers_of(job: str, *, app: Celeriac) -> list[Follower]:
    """The first of the unfinished jobs that follow ``job``."""
    with app.database.reading() as connection:
        rows = followers.of_job(connection, UUID(job), most=_SHOWN)
    return [
        Follower(id=str(row.id), task=row.job_type, state=JobState(row.state), queued=row.queued)
        for row in rows
    ]


def _sentence(row: Any, ends: str) -> str:
    return f"a call with the unique key {row.unique_key} is answered with this job {ends}"


def followed(connection: Connection, row: Any) -> str | None:
    """What it waits for, of a row that follows another job; None: it waits for none."""
    if row.follows == row.id:
        return "whether it may have its unique key is not decided yet; a worker does that within seconds"
    ending = job_rows.endings(connection, [row.follows]).get(row.follows)
    state = "is gone" if ending is None else f"is {ending.state}"
    return f"it takes the result of job {row.follows}, which had its unique key and {state}"
