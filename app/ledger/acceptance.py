"""Enqueue one job within a bounded time: accepted, refused and never run, or said to be uncertain."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from app.errors import EnqueueUncertain, LedgerUnavailable
from app.ledger import jobs
from app.ledger.columns import PARKED
from app.ledger.database import UNREACHABLE, Database, server_clock
from app.ledger.jobs import NewJob
from app.ledger.watchdog import WATCHDOG

#: Share of the time that the statement may wait for the database; the rest is for saying so.
_SHARE = 0.9


def accept(database: Database, job: NewJob, *, within: float) -> bool:
    """Write the row of ``job``; return whether it is new (False: a row of that id exists).

    Args:
        within: seconds.

    Raises:
        LedgerUnavailable: the database cannot be reached; the job was refused.
        EnqueueUncertain: the connection was lost, or the database fell silent, after the
            statement was sent. It is tried once more while there is time: the id decides.
    """
    if database.dialect == "sqlite":  # bounded by its own busy timeout
        return _accept_here(database, job)
    end = time.monotonic() + within * _SHARE
    while True:
        try:
            return _insert(database, job, end)
        except _Lost as lost:
            if time.monotonic() >= end - 0.1:
                raise EnqueueUncertain(str(job.id)) from lost.__cause__
        except (*UNREACHABLE, database.errors.OperationalError, database.errors.InterfaceError) as exc:
            raise LedgerUnavailable(_reason(exc)) from exc


class _Lost(Exception):
    """The connection was lost after the statement was sent."""


def _accept_here(database: Database, job: NewJob) -> bool:
    try:
        with database.statement() as connection:
            return bool(jobs.enqueue(connection, [job]))
    except UNREACHABLE as exc:
        raise LedgerUnavailable(_reason(exc)) from exc


def _insert(database: Database, job: NewJob, end: float) -> bool:
    with database.driver() as pooled:
        driver: Any = pooled.driver_connection
        left = end - time.monotonic()
        deadline = datetime.fromtimestamp(server_clock(pooled) + left, UTC)
        try:
            with WATCHDOG.watching(driver.fileno(), within=left):
                if jobs.enqueue_one(driver, job, deadline=deadline):
                    return True
                if jobs.exists(driver, job.id):
                    return False
                # The deadline refused it with time to spare: the database's clock was set since connect.
                return jobs.enqueue_one(driver, job, deadline=PARKED)
        except BaseException as exc:
            if driver.closed and isinstance(exc, database.errors.Error):
                raise _Lost from exc
            raise


def _reason(error: BaseException) -> str:
    """The first line of what the driver said; it names hosts, never passwords."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
