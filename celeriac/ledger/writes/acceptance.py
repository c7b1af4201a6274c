"""Enqueue within a time limit. A job is accepted, or refused and never run, or EnqueueUncertain is raised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Set
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn, TypeAlias
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from celeriac.errors import EnqueueUncertain, LedgerUnavailable, LedgerUnfit
from celeriac.headers import task_id
from celeriac.ledger.connection.database import UNREACHABLE, Database, server_clock
from celeriac.ledger.connection.error_kinds import as_unfit, is_conflict, is_of_values
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.writes import new_jobs as rows
from celeriac.ledger.writes import single_insert
from celeriac.ledger.writes.bulk_insert import enqueue_all, first_of_each
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.unique.holders import Holder
from celeriac.ledger.writes.unique.taking import KeyRules, take

#: Share of the time limit that the statement may wait for the database; the rest is for the error.
_SHARE = 0.9

#: Tries of a transaction that PostgreSQL ends because of a deadlock.
_TRIES = 5

#: How fast a busy database accepts many rows: seconds for each row, bytes in a second.
_A_ROW, _BYTES = 0.01, 1_000_000


def accept(
    database: Database, job: NewJob, *, within: float, meanwhile: Callable[[], object] = lambda: None
) -> bool:
    """Write the row of ``job``; return whether it is new (False: a row of that id exists).

    Args:
        within: seconds.
        meanwhile: what the caller can do while PostgreSQL writes it. It is called each time that the row is
            tried, and must neither raise nor wait.

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
            return _insert(database, job, end, meanwhile)
        except _Lost as lost:
            if time.monotonic() >= end - 0.1:
                raise EnqueueUncertain(task_id(job.headers, job.id)) from lost.__cause__
        except (*UNREACHABLE, database.errors.Error) as exc:
            _refuse(exc)


#: Decides about jobs whose rows exist, in the transaction; returns those whose messages must be sent.
Settle: TypeAlias = Callable[[Connection, Sequence[NewJob]], list[NewJob]]


class Accepted(NamedTuple):
    """What became of jobs.

    Attributes:
        new: the ids that are new.
        send: the jobs whose messages must be sent.
        kept: the jobs that are the answer to calls without rows of their own, by the ids of these calls.
    """

    new: set[UUID]
    send: list[NewJob]
    kept: dict[UUID, Holder]


def accept_all(
    database: Database, jobs: Sequence[NewJob], *, within: float, settle: Settle, rules: KeyRules
) -> Accepted:
    """Write the rows of ``jobs`` in one transaction.

    Args:
        within: seconds for one job; many have more (``patience``).
        settle: decides about existing rows in the same transaction; if it raises, nothing is written.
        rules: how unique jobs are met whose key is taken.

    Raises:
        DuplicateJob: one is to be refused; nothing is written.
        LedgerUnavailable: the database cannot be reached; all were refused.
        EnqueueUncertain: it was lost inside the commit, and cannot be reached again.
    """
    left = _TRIES
    while True:
        left -= 1
        done: Accepted | None = None
        try:
            with database.transaction(
                within=patience((len(job.payload) for job in jobs), within)
            ) as connection:
                done = write_on(connection, jobs, settle, rules)
        except (*UNREACHABLE, DBAPIError) as exc:
            if done is not None:
                return accept_again(database, jobs, done.new, within=within, settle=settle, rules=rules)
            if not (left and is_conflict(exc)):
                _refuse(exc)
        else:
            return done


def accept_again(
    database: Database,
    jobs: Sequence[NewJob],
    new: set[UUID],
    *,
    within: float,
    settle: Settle,
    rules: KeyRules,
) -> Accepted:
    """Accept once more after a commit that was not answered; a row of a job's id means that it is done.

    Args:
        new: the ids that the unanswered commit wrote, if it succeeded.
    """
    try:
        with database.transaction(within=patience((len(job.payload) for job in jobs), within)) as connection:
            return write_on(connection, jobs, settle, rules, new=new)
    except UNREACHABLE as exc:
        uncertain = EnqueueUncertain(str(jobs[0].id))
        uncertain.add_note(f"and {len(jobs) - 1:,} others of the same transaction")
        raise uncertain from exc


def accept_known(database: Database, job: NewJob, *, within: float, settle: Settle) -> list[NewJob]:
    """Decide about ``job``, whose row exists; return it if its message must be sent.

    Raises:
        EnqueueUncertain: the database was lost.
    """
    try:
        with database.transaction(within=within) as connection:
            return settle(connection, [job])
    except UNREACHABLE as exc:
        raise EnqueueUncertain(task_id(job.headers, job.id)) from exc


def write_on(
    connection: Connection,
    jobs: Sequence[NewJob],
    settle: Settle,
    rules: KeyRules,
    *,
    new: Set[UUID] = frozenset(),
) -> Accepted:
    """Write the rows of ``jobs`` in the transaction of ``connection``.

    Args:
        new: ids of jobs that count as new although they may be there.
    """
    taken = take(connection, [job for job in jobs if job.unique], rules)
    plain = [job for job in jobs if not job.unique]
    written = new | enqueue_all(connection, plain) | {job.id for job in taken.fresh}
    fresh = [job for job in first_of_each(plain) if job.id in written]
    known = [job for job in (*plain, *taken.known) if job.id not in written]
    again = [job.holding() for job in taken.known if job.id in new]  # as those are that were written then
    send = [*fresh, *taken.fresh, *again, *settle(connection, known)]
    return Accepted(set(written), [job for job in send if job.dispatch_count], taken.kept)


def _refuse(error: Exception) -> NoReturn:
    """Raise that the row was not written: as one of our errors, if the database is the reason."""
    if isinstance(error, LedgerUnfit):
        raise error
    if (found := as_unfit(error)) is not None:
        raise found from error
    if isinstance(error, UNREACHABLE) or not is_of_values(error):
        raise LedgerUnavailable(_reason(error)) from error
    raise error


def patience(sizes: Iterable[int], within: float) -> float:
    """How many seconds a transaction may take that writes jobs with payloads of so many bytes."""
    return within + sum(_A_ROW + size / _BYTES for size in sizes)


class _Lost(Exception):
    """The connection was lost after the statement was sent."""


def _accept_here(database: Database, job: NewJob) -> bool:
    try:
        with database.statement() as connection:
            return bool(rows.enqueue(connection, [job]))
    except (*UNREACHABLE, DBAPIError) as exc:
        _refuse(exc)


def _insert(database: Database, job: NewJob, end: float, meanwhile: Callable[[], object]) -> bool:
    with database.driver(until=end) as pooled:
        driver: Any = pooled.driver_connection
        deadline = datetime.fromtimestamp(server_clock(pooled) + end - time.monotonic(), UTC)
        try:
            if single_insert.enqueue_one(pooled, database, job, deadline=deadline, meanwhile=meanwhile):
                return True
            if single_insert.exists(driver, job.id, schema=database.schema):
                return False
            # There is time left, but the deadline refused it: the database's clock was set since connect.
            return single_insert.enqueue_one(pooled, database, job, deadline=PARKED, meanwhile=meanwhile)
        except BaseException as exc:  # also the errors of a connection that the watchdog has cut
            if driver.closed and isinstance(exc, database.errors.Error):
                raise _Lost from exc
            raise


def _reason(error: BaseException) -> str:
    """The first line of the driver's error; it names hosts, never passwords."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
