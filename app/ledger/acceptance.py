"""Enqueue one job within a bounded time: accepted, refused and never run, or said to be uncertain."""

from __future__ import annotations

import math
import select
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy import select as sql_select
from sqlalchemy.exc import DisconnectionError

from app.errors import EnqueueUncertain, LedgerUnavailable
from app.ledger import jobs
from app.ledger.database import UNREACHABLE, Database, is_disconnect, server_clock
from app.ledger.jobs import NewJob
from app.ledger.models import BackgroundJob
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
    end = time.monotonic() + within * _SHARE
    while True:
        try:
            with database.statement() as connection:
                discard_if_closed(connection)
                return _insert(connection, job, end)
        except _Lost as lost:
            if time.monotonic() >= end - 0.1:
                raise EnqueueUncertain(str(job.id)) from lost.__cause__
        except UNREACHABLE as exc:
            if is_disconnect(exc) and time.monotonic() < end - 0.1:
                continue
            raise LedgerUnavailable(_reason(exc)) from exc


class _Lost(Exception):
    """The connection was lost after the statement was sent."""


def discard_if_closed(connection: Connection) -> None:
    """Replace a pooled connection that its server has closed, before anything is sent on it.

    Costs no round trip: an idle connection has nothing to read unless it was closed.
    """
    if connection.dialect.name != "postgresql":
        return
    for _ in range(2):
        driver: Any = connection.connection.driver_connection
        poller = select.poll()
        poller.register(driver.fileno(), select.POLLIN | select.POLLHUP)
        if not poller.poll(0):
            return
        connection.invalidate(DisconnectionError("closed while idle"))


def _insert(connection: Connection, job: NewJob, end: float) -> bool:
    clock = server_clock(connection)
    left = end - time.monotonic()
    if math.isnan(clock):  # SQLite: bounded by its own busy timeout
        return bool(jobs.enqueue(connection, [job]))
    deadline = datetime.fromtimestamp(clock + left, UTC)
    descriptor: int = connection.connection.driver_connection.fileno()  # type: ignore[union-attr]
    try:
        with WATCHDOG.watching(descriptor, within=left):
            if jobs.enqueue_one(connection, job, deadline=deadline):
                return True
            if _exists(connection, job.id):
                return False
            # The deadline refused it with time to spare: the database's clock was set since connect.
            return bool(jobs.enqueue(connection, [job]))
    except Exception as exc:
        if connection.connection.driver_connection.closed:  # type: ignore[union-attr]
            connection.invalidate(exc)
            raise _Lost from exc
        raise


def _exists(connection: Connection, job: UUID) -> bool:
    return connection.execute(sql_select(BackgroundJob.id).where(BackgroundJob.id == job)).first() is not None


def _reason(error: BaseException) -> str:
    """The first line of what the driver said; it names hosts, never passwords."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
