"""What is said of a unique job: which calls are answered with it, and which job another one follows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from celeriac.display import stamp
from celeriac.ledger.reads import job_rows
from celeriac.ledger.writes.unique import periods
from celeriac.limits.unique import While


def answers_for(connection: Connection, row: Any) -> str | None:
    """Which calls are answered with this job, and for how long; None: a call makes a job of its own."""
    if row.unique_key is None:
        return None
    if row.unique_while == While.PERIOD:
        until = periods.held_until(connection, row.unique_key, row.id)
        return None if until is None else _sentence(row, f"until {stamp(until)}")
    if row.finished is not None or (row.unique_while == While.WAITING and row.last_worker_id is not None):
        return None
    ends = "until its first attempt begins" if row.unique_while == While.WAITING else "until it has ended"
    return _sentence(row, ends)


def _sentence(row: Any, ends: str) -> str:
    return f"a call with the unique key {row.unique_key} is answered with this job {ends}"


def followed(connection: Connection, row: Any) -> str | None:
    """What it waits for, of a row that follows another job; None: it waits for none."""
    if row.follows == row.id:
        return "whether it may have its unique key is not decided yet; a worker does that within seconds"
    ending = job_rows.endings(connection, [row.follows]).get(row.follows)
    state = "is gone" if ending is None else f"is {ending.state}"
    return f"it takes the result of job {row.follows}, which had its unique key and {state}"
