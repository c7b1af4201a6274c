"""Statements as PostgreSQL counts them, by pg_stat_statements."""

from __future__ import annotations

import time
from collections import Counter

import psycopg

#: Seconds in which everything is done at least once that is done by the clock and not for a job.
_IDLE = 6.0

_SETTLED = 1.0  # seconds after which the last jobs' statements are counted

_COUNTED = """
    SELECT queryid::text, query IN ('BEGIN', 'COMMIT'), calls FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

#: By the server's number of the statement, and whether it is a BEGIN or COMMIT.
Calls = Counter[tuple[str, bool]]


def count(database: psycopg.Connection) -> None:
    """Let the server count what connections do that are made from now on to this database."""
    database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    name = database.info.dbname
    database.execute(f'ALTER DATABASE "{name}" SET pg_stat_statements.track = top'.encode())


def calls(database: psycopg.Connection) -> Calls:
    """How often each statement was run since the server started, in this database."""
    found: Calls = Counter()
    for number, framing, count in database.execute(_COUNTED):
        found[number, framing] += count
    return found


def idle(database: psycopg.Connection) -> Calls:
    """What is run while there is nothing to do: the statements that no job has to pay for."""
    time.sleep(_SETTLED)
    before = calls(database)
    time.sleep(_IDLE)
    return calls(database) - before
