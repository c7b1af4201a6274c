"""Keep everybody else out of jobs and attempts, and set rows aside while partitions are made or dropped."""

from __future__ import annotations

from sqlalchemy import Connection

from celeriac.ledger.partitions.layout import ATTEMPTS, PARENT, named_alone, run

#: How long a statement may wait for its lock, and everybody else behind it.
_LOCK_TIMEOUT = "500ms"

#: Tables of one transaction.
_JOBS_ASIDE, _ATTEMPTS_ASIDE = "celeriac_jobs_aside", "celeriac_attempts_aside"

_COPY = "CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM {table} WHERE {where}"


def lock(connection: Connection, *, briefly: bool = False) -> None:
    """Keep everybody else out of jobs and attempts until the transaction ends. Names then stand alone.

    Args:
        briefly: give up after half a second: whoever comes later waits behind this one.

    Raises:
        sqlalchemy.exc.OperationalError: the lock was not free in time.
    """
    named_alone(connection)
    if briefly:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"LOCK TABLE {PARENT}, {ATTEMPTS} IN ACCESS EXCLUSIVE MODE")


def set_aside(connection: Connection, source: str, where: str, *values: object) -> None:
    """Copy jobs and their attempts, so that ``bring_back`` finds them later in the transaction.

    Args:
        source: the table or the partition that has the jobs.
        where: a condition of SQL, in which ``{column}`` stands for the jobs' id and ``%s`` for a value.
    """
    for name, table, column in ((_JOBS_ASIDE, source, "id"), (_ATTEMPTS_ASIDE, ATTEMPTS, "job_id")):
        run(connection, _COPY, *values, name=name, table=table, where=where.format(column=column))


def bring_back(connection: Connection) -> None:
    """Write what was set aside to the ledger again."""
    for name, table in ((_JOBS_ASIDE, PARENT), (_ATTEMPTS_ASIDE, ATTEMPTS)):
        run(connection, "INSERT INTO {table} SELECT * FROM {name}", table=table, name=name)
        run(connection, "DROP TABLE {name}", name=name)
