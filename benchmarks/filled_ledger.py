"""Fill a ledger before a trial: the server copies rows from one that a worker left.

``lateness`` makes its own, which no worker has seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import redis

from benchmarks.errors import NotMeasured
from benchmarks.trial import Trial

_COPIED = "job_type, payload, content_type, content_encoding, headers, max_tries"

_FILL = f"""
    INSERT INTO background_jobs ({_COPIED}, id, queue, priority, queued, next_attempt_after, dispatched,
        dispatch_count, state, try_count, started, finished)
    SELECT {_COPIED}, uuidv7(at - now()), %(queue)s, %(priority)s, at, at, at,
        1, %(state)s, ended::int, CASE WHEN ended THEN at + interval '2 ms' END,
        CASE WHEN ended THEN at + interval '3 ms' END
    FROM (SELECT * FROM background_jobs WHERE state = 'completed' LIMIT 1) AS sample,
        (SELECT %(state)s = 'completed' AS ended, now() - %(age)s * interval '1 day' - n * %(apart)s AS at
            FROM generate_series(%(last)s::bigint, %(first)s::bigint, -1) AS n) AS made
"""

_OPEN = """
    SELECT (SELECT count(*) FROM background_jobs WHERE queue = 'normal' AND state IN ('error', 'pending'))
        + (SELECT count(*) FROM background_jobs WHERE worker_id IS NOT NULL)
"""

_INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indrelid = 'background_jobs'::regclass AND NOT indisprimary
"""

_AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
_VACUUM = 600.0  # seconds that autovacuum may be at work

_APART = timedelta(milliseconds=50)
_CHUNK = 1_000_000  # rows of one statement
_QUEUE = "low"
_MESSAGES = 10_000  # of one command


def waiting(trial: Trial, count: int) -> None:
    """``count`` jobs of the lowest level more. The broker has a message of each, a byte: nobody reads it."""
    _insert(trial.database, count, queue=_QUEUE, priority=0, state="pending", age=0)
    with redis.Redis.from_url(trial.environment["CELERY_BROKER_URL"]) as broker:
        for left in range(count, 0, -_MESSAGES):
            broker.lpush(_QUEUE, *["."] * min(left, _MESSAGES))


def finished(trial: Trial, count: int, *, age: float = 1) -> None:
    """``count`` completed jobs more, accepted 20 a second until ``age`` days ago."""
    _insert(trial.database, count, queue="normal", priority=10, state="completed", age=age)


def in_halves(trial: Trial, statement: str, values: Mapping[str, object], *, count: int) -> None:
    """Run a statement that makes the rows ``%(first)s`` to ``%(last)s``, by two of the server's processes.

    Args:
        count: of all rows.
    """

    def half(first: int, last: int) -> None:
        with trial.connect() as database:
            database.execute(statement.encode(), {**values, "first": first, "last": last})

    with ThreadPoolExecutor(2) as both:
        list(both.map(half, (1, count // 2 + 1), (count // 2, count)))


def finished_at_once(trial: Trial, count: int, *, within: timedelta) -> None:
    """``count`` completed jobs more, accepted evenly in the last ``within``."""
    values = {"queue": "normal", "priority": 10, "state": "completed", "age": 0, "apart": within / count}
    in_halves(trial, _FILL, values, count=count)


@contextmanager
def without_indexes(database: psycopg.Connection) -> Iterator[None]:
    """Rows of jobs that are written in the block are entered into the primary key alone.

    The other indexes are made when it ends, each in one go: a fifth of the time, at ten million rows.
    """
    found = database.execute(_INDEXES).fetchall()
    for name, _ in found:
        database.execute(f"DROP INDEX {name}".encode())
    yield
    database.execute("SET maintenance_work_mem = '1GB'")
    for _, definition in found:
        database.execute(str(definition).encode())
    database.execute("RESET maintenance_work_mem")
    if found:
        _tidy(database)


def done(trial: Trial, known: int) -> Callable[[], int]:
    """How many of ``known`` normal jobs have ended, told by those that have not: these are few."""

    def ended() -> int:
        row = trial.database.execute(_OPEN).fetchone()
        return known - (int(row[0]) if row else 0)

    return ended


def settle(trial: Trial) -> None:
    """Write what is in memory only, and wait until the server does no work of its own.

    Raises:
        NotMeasured: a vacuum that it began by itself goes on for too long.
    """
    deadline = time.monotonic() + _VACUUM
    trial.database.execute("CHECKPOINT")
    while (row := trial.database.execute(_AT_WORK).fetchone()) and row[0]:
        if time.monotonic() > deadline:
            raise NotMeasured(f"autovacuum is at work after {_VACUUM:.0f} s")
        time.sleep(0.2)


def _insert(database: psycopg.Connection, count: int, **values: object) -> None:
    for first in range(1, count + 1, _CHUNK):
        bounds = {"first": first, "last": min(count, first + _CHUNK - 1)}
        database.execute(_FILL.encode(), {**values, **bounds, "apart": _APART})
    if count:
        _tidy(database)


def _tidy(database: psycopg.Connection) -> None:
    database.execute("VACUUM ANALYZE background_jobs")
    database.execute("CHECKPOINT")
