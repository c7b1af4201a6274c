"""Very many jobs that wait for a limit with a key, and what it takes to admit a hundred of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from benchmarks import operator_app
from benchmarks.figures import quantile
from benchmarks.trial import Trial
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.one_trip import transaction_of_trips
from celeriac.ledger.limits import admission, limit_rows, lines
from celeriac.limits.limit import Limit
from celeriac.limits.permits import Permit, line_of

_FILL = """
    INSERT INTO background_jobs (id, job_type, state, priority, queue, max_tries, payload, content_type,
        content_encoding, headers, queued, next_attempt_after, line, permit_1, weight_1)
    SELECT gen_random_uuid(), 'benchmarks.held', 'pending', 10, 'normal', 5, '[[], {}, {}]',
        'application/json', 'utf-8', '{}', clock_timestamp() - interval '1 hour',
        clock_timestamp() - interval '1 hour' + number * interval '1 ms', id, permit_1, 1
    FROM background_lines, generate_series(1, %s) AS number
"""
_KEY = "INSERT INTO background_permit_keys (name, touched) SELECT permit_1, now() FROM background_lines"
_END = """
    UPDATE background_jobs SET state = 'completed', finished = clock_timestamp() WHERE id = ANY(%s)
    RETURNING permit_1
"""
_BY_ITSELF = "ALTER TABLE background_jobs SET (autovacuum_enabled = {})"


def fill(trial: Trial, jobs: int, keys: int, *, analyzed: bool) -> None:
    """``jobs`` that wait over so many keys.

    Args:
        analyzed: whether the planner knows of them; otherwise its statistics are of the empty table.
    """
    database = trial.database
    database.execute(_BY_ITSELF.format(str(analyzed).lower()).encode())
    database.execute("ANALYZE background_jobs, background_lines, background_permit_keys")
    with database.cursor().copy(
        "COPY background_lines (id, permit_1, due, turn, touched) FROM STDIN"
    ) as copied:
        for number in range(keys):
            name = f"held:{number}"
            copied.write_row((line_of([Permit(name, 1)]), name, "now", 0, "now"))
    database.execute(_KEY)
    database.execute(_FILL, [jobs // keys])
    if analyzed:
        database.execute("VACUUM ANALYZE background_jobs, background_lines, background_permit_keys")
    database.execute("CHECKPOINT")


def admit(trial: Trial, rounds: int) -> tuple[float, float]:
    """Milliseconds for each hundred that are admitted, the median of all rounds and of their last tenth.

    Between two rounds what was admitted ends, and its permits are given back.
    """
    times, front = [], admission.Front()
    with operator_app.app(trial) as app:
        database = app.database.with_generic_plans()
        with database.transaction() as connection:
            limit_rows.declare(connection, [Limit("held", concurrency=2, key=lambda key: key)])
            limits = limit_rows.read(connection)
        for _ in range(rounds):
            began = time.perf_counter()
            with transaction_of_trips(database, idle=lines.IDLE) as connection:  # as keepers do
                found = admission.admit(connection, limits, front=front)
            times.append((time.perf_counter() - began) * 1e3 / len(found) * 100)
            _end(trial, database, [message.id for message in found])
        database.close()
    return quantile(times, 0.5), quantile(times[-max(1, rounds // 10) :], 0.5)


def _end(trial: Trial, database: Database, ids: list[object]) -> None:
    freed = {str(row[0]) for row in trial.database.execute(_END, [ids]).fetchall()}
    with database.transaction() as connection:
        lines.wake(connection, dict.fromkeys(freed, 50))


@contextmanager
def open_transaction(trial: Trial) -> Iterator[psycopg.Connection]:
    """A transaction that sees the ledger as it is now, left open while the block goes on."""
    with trial.stage.connect() as connection:
        connection.autocommit = False
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM background_workers")
        yield connection
        connection.rollback()
