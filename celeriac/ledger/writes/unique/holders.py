"""Who holds a unique key; and the bound on waiting for a transaction that may take one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, String, bindparam, cast, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from celeriac.errors import KeyBusy
from celeriac.headers import CALLED, task_id
from celeriac.ledger.connection.error_kinds import is_conflict, waited_too_long
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import FOLLOWING
from celeriac.ledger.schema.lifecycle import WAITING, JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.unique_rows import holds_key


@dataclass(frozen=True, slots=True)
class Holder:
    """The job that has a key.

    Attributes:
        task_id: its Celery task id.
        waits: whether it may be given another message: no attempt of it runs, and it waits for no other job.
        called: when the call was made whose arguments it has; None: it was written just now.
    """

    id: UUID
    task_id: str
    waits: bool
    called: datetime | None = None


def holders(connection: Connection, keys: Sequence[str]) -> dict[str, Holder]:
    """The jobs that hold ``keys`` until they begin or end, by their keys."""
    dialect = connection.dialect.name
    found = connection.execute(_holders(dialect), batch.text_parameters(dialect, keys))
    return {row.unique_key: _holder(row) for row in found}


def jobs_of(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Holder]:
    """The jobs ``ids``, of which each has a key for a time; those without a row are missing."""
    dialect = connection.dialect.name
    found = connection.execute(_of_ids(dialect), batch.id_parameters(dialect, ids))
    return {row.id: _holder(row) for row in found}


def _holder(row: Any) -> Holder:
    waits = JobState(row.state) in WAITING and row.next_attempt_after < FOLLOWING
    replaced = row.headers.get(CALLED)
    called = row.queued if replaced is None else datetime.fromisoformat(replaced)
    return Holder(row.id, task_id(row.headers, row.id), waits, called)


@lru_cache
def _holders(dialect: str) -> Select[Any]:
    return _columns().where(batch.text_in(dialect, JOBS.c.unique_key), holds_key())


@lru_cache
def _of_ids(dialect: str) -> Select[Any]:
    return _columns().where(batch.id_in(dialect, JOBS.c.id))


def _columns() -> Select[Any]:
    c = JOBS.c
    return select(c.id, c.unique_key, c.headers, c.state, c.next_attempt_after, c.queued)


@contextmanager
def waiting_at_most(
    connection: Connection, seconds: float, keys: Sequence[str], *, lent: bool = False
) -> Iterator[None]:
    """Inside the block, no statement waits longer for what another transaction has locked.

    Whoever writes a unique key waits for a transaction that has written the same one and is not committed.
    SQLite has no such wait: there a transaction waits for all others before it begins.

    Args:
        keys: those that the block takes, for the sentence of the error.
        lent: whether the transaction is somebody else's, and goes on with its own bound.

    Raises:
        KeyBusy: it did wait so long. On PostgreSQL the transaction, or its savepoint, must be rolled back.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    before = connection.execute(_bound(), {"bound": f"{max(1, round(seconds * 1000))}ms"}).scalar_one()
    try:
        yield
    except DBAPIError as exc:  # the transaction is at its end
        lent = False
        if waited_too_long(exc):
            raise key_busy(keys, seconds) from exc
        if is_conflict(exc):  # of a transaction that sees the data as they were when it began
            exc.add_note(f"another transaction has the unique key {keys[0]}: run this one again")
        raise
    finally:
        if lent:
            connection.execute(_bound(), {"bound": before})


def key_busy(keys: Sequence[str], seconds: float) -> KeyBusy:
    """The error of a call that has waited so long for one of these keys."""
    return KeyBusy(keys[0], len(keys) - 1, round(seconds * 1000))


def unless_taken(connection: Connection, write: Callable[[], object]) -> bool:
    """Do ``write``; False: it would have given two jobs the same key, and nothing of it was done."""
    connection.exec_driver_sql("SAVEPOINT celeriac_key")
    try:
        write()
    except IntegrityError:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT celeriac_key")
        connection.exec_driver_sql("RELEASE SAVEPOINT celeriac_key")
        return False
    connection.exec_driver_sql("RELEASE SAVEPOINT celeriac_key")
    return True


@lru_cache
def _bound() -> Select[Any]:
    """Set the bound until the transaction ends; the answer is what it was."""
    now = select(func.current_setting("lock_timeout").label("bound")).offset(0).subquery("before")
    made = func.set_config("lock_timeout", cast(bindparam("bound"), String), True)
    return select(now.c.bound, made)
