"""What partitions by day give and cost: the same rows in a plain table and in one that is divided."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import RawCursor
from sqlalchemy import make_url

from benchmarks import filled_ledger, operator_app
from benchmarks.errors import NotMeasured
from benchmarks.figures import Figures, Measure
from benchmarks.side_list import CELERIAC
from benchmarks.trial import Trial
from benchmarks.trial_servers import Scale
from benchmarks.workload import Workload
from celeriac.application import Celeriac
from celeriac.ids import new_uuid
from celeriac.ledger.days import convert
from celeriac.ledger.days import prune as days_prune
from celeriac.ledger.days.retire import Ages
from celeriac.ledger.partitions.layout import Day
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import prune as ledger
from celeriac.ledger.writes import single_insert
from celeriac.ledger.writes.copy_in import SimilarJobs, copying, own_headers
from celeriac.ledger.writes.new_jobs import NewJob
from celeriac.ledger.writes.turn import complete_and_claim
from celeriac.operate import overview
from celeriac.operate.listing import Filter, page, prefix

_DAYS, _KEPT = 8, 6  # days of the rows, and those that are kept
_MANY = 90  # partitions more, as a long retention has
_BATCH = 1_000
_COPIED = 5_000  # jobs of one COPY
_CALLS = 5  # of each question
_CONNECTIONS = 2
_CLAIMED: Mapping[Scale, int] = {Scale.QUICK: 500, Scale.USUAL: 20_000}
_SINGLE: Mapping[Scale, int] = {Scale.QUICK: 20, Scale.USUAL: 500}

_SIZE = """
    SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
    WHERE relkind = 'r' AND relname ~ '^background_jobs'
"""
_WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
_PLANS = "ALTER DATABASE {} SET plan_cache_mode = {}"

_QUESTIONS: Mapping[str, Callable[..., object]] = {
    "all": partial(page, Filter()),
    "task": partial(page, Filter(task="benchmarks.noop")),
    "id": partial(page, Filter(ids=prefix("019"))),
    "queues": overview.queues,
}

_FORMS = {"plain": "plain", "days": "by day", "many": f"{_MANY} days more"}
_FIGURES = {
    "insert": ("ms for one row", 2),
    "copy": (f"ms for a COPY of {_COPIED:,} rows", 0),
    "claim": ("jobs/s claimed and completed, two connections", 0),
    "generic": ("the same, with generic plans", 0),
    "plan": ("ms to plan one such statement", 1),
    **{name: (f"ms, the list or count: {name}", 1) for name in _QUESTIONS},
}
_PRUNED = {
    "rows": ("rows that were too old", 0),
    "prune": ("s to prune them, without rests", 2),
    "vacuum": ("s to vacuum the table then", 1),
    "wal": ("MB of write-ahead log for both", 0),
    "before": ("GB before", 1),
    "after": ("GB after", 1),
}


def partitions(trial: Trial, jobs: int) -> Figures:
    """Both ledgers are filled, one is divided; both are measured in turn, then what is old goes."""
    with Trial(trial.entry, trial.stage, second=True) as divided:
        for one in (trial, divided):
            _fill(one, jobs)
        figures: Figures = {"divide": _divided(divided)}
        figures |= _ask_each({"plain": trial, "days": divided})
        for form, one, prune in (("plain", trial, _delete), ("days", divided, _drop)):
            figures |= {f"{name}_{form}": value for name, value in _pruned(one, prune).items()}
        _add(divided.database, days=_MANY)
        return figures | _ask_each({"many": divided})


def _fill(trial: Trial, jobs: int) -> None:
    """``jobs`` completed rows of the last days."""
    trial.ask("many", 1)
    trial.ask("claim-all", 1)  # the row to copy
    with filled_ledger.without_indexes(trial.database):
        filled_ledger.finished_at_once(trial, jobs, within=timedelta(_DAYS))


def _divided(trial: Trial) -> float:
    """The seconds that it takes to divide the ledger, with its rows, as ``db partition`` does."""
    begin = time.perf_counter()
    convert.divide(make_url(trial.environment["DATABASE_URL"]))
    took = time.perf_counter() - begin
    for statement in ("VACUUM ANALYZE background_jobs", "CHECKPOINT"):
        trial.database.execute(statement.encode())
    return took


def _add(database: psycopg.Connection, *, days: int) -> None:
    """Partitions of ``days`` days more, before the first."""
    day = Day.of(datetime.now(UTC) - timedelta(_DAYS + 1))
    for _ in range(days):
        made = f"CREATE TABLE {day.name} PARTITION OF background_jobs FOR VALUES {day.bounds}"
        database.execute(made.encode())
        day = Day(day.date - timedelta(1))


def _ask_each(trials: Mapping[str, Trial]) -> Figures:
    """What each of ``_FIGURES`` is for each of ``trials``, the trials in turn."""
    figures: Figures = {}
    for form, trial in trials.items():
        with operator_app.app(trial) as app:
            figures |= {f"{name}_{form}": value for name, value in _asked(app, trial).items()}
    for kind, mode in (("claim", "auto"), ("generic", "force_generic_plan")):
        rates: dict[str, list[float]] = {form: [] for form in trials}
        for _ in range(3):
            for form, trial in trials.items():
                rates[form].append(_claimed(trial, mode))
        figures |= {f"{kind}_{form}": median(found) for form, found in rates.items()}
    return figures


def _asked(app: Celeriac, trial: Trial) -> Figures:
    count = trial.stage.scale.of(_SINGLE)
    far = datetime(2999, 1, 1, tzinfo=UTC)
    with app.database.driver() as pooled:
        driver = pooled.driver_connection
        one = _milliseconds(
            lambda: single_insert.enqueue_one(driver, _job(), deadline=far, schema=None), count
        )
    figures = {"insert": one, "copy": _milliseconds(partial(_copy, app)), "plan": _planned(trial.database)}
    figures |= {name: _milliseconds(partial(ask, app=app)) for name, ask in _QUESTIONS.items()}
    trial.database.execute(
        "UPDATE background_jobs SET state = 'cancelled', finished = now() WHERE state = 'pending'"
    )
    return figures


def _job() -> NewJob:
    id = new_uuid()
    return NewJob(
        id=id,
        job_type="benchmarks.noop",
        queue="normal",
        priority=10,
        payload=b"[[], {}, {}]",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": str(id), "argsrepr": "()", "kwargsrepr": "{}", "task": "benchmarks.noop"},
        max_tries=5,
    )


def _copy(app: Celeriac) -> None:
    ids = [str(new_uuid()) for _ in range(_COPIED)]
    rows = [(id, b"[[], {}, {}]", own_headers(id, "()", "{}", root=False)) for id in ids]
    with app.database.transaction() as connection, copying(connection, SimilarJobs(_job(), rows)):
        pass


def _planned(database: psycopg.Connection) -> float:
    """The milliseconds in which PostgreSQL plans a worker's usual statement: fifty jobs, fifty outcomes."""
    text, names, fixed = complete_and_claim.statement(True, True).compiled()
    ids = [str(new_uuid()) for _ in range(50)]
    done = ",".join(f'{{"id":"{id}","attempt":1,"result":null}}' for id in ids)
    values: dict[str, Any] = {"worker": uuid4(), "batch": f"[{done}]", "ids": f"{{{','.join(ids)}}}"}
    given = [values[name] if name in values else fixed[name] for name in names]
    times = []
    for _ in range(_CALLS):
        rows = RawCursor(database).execute(b"EXPLAIN (SUMMARY) " + text, given, prepare=False)
        told = next(row[0] for row in rows if row[0].startswith("Planning Time"))
        times.append(float(told.split()[2]))
    return median(times)


def _claimed(trial: Trial, mode: str) -> float:
    jobs = trial.stage.scale.of(_CLAIMED)
    name = trial.database.info.dbname
    trial.database.execute(_PLANS.format(name, mode).encode())  # of connections that are made from now on
    trial.ask("many", jobs)
    return jobs / float(trial.ask("claim-all", _CONNECTIONS))


def _pruned(trial: Trial, prune: Callable[[Celeriac], int]) -> Figures:
    """What it takes until the rows of days that are too old are gone, and their room is free."""
    database = trial.database
    before, written, begin = _number(database, _SIZE), _number(database, _WRITTEN), time.perf_counter()
    with operator_app.app(trial) as app:
        rows = prune(app)
    pruned = time.perf_counter()
    database.execute("VACUUM background_jobs")
    vacuumed = time.perf_counter()
    return {
        "rows": rows,
        "prune": pruned - begin,
        "vacuum": vacuumed - pruned,
        "wal": (_number(database, _WRITTEN) - written) / 1e6,
        "before": before / 1e9,
        "after": _number(database, _SIZE) / 1e9,
    }


def _oldest_kept() -> Day:
    return Day.of(datetime.now(UTC) - timedelta(_KEPT))


def _delete(app: Celeriac) -> int:
    age = (datetime.now(UTC) - _oldest_kept().begins).total_seconds()
    gone = 0
    while True:
        with app.database.transaction() as connection:
            count = ledger.prune(connection, JobState.COMPLETED, age=age, limit=_BATCH)
        gone += count
        if count < _BATCH:
            return gone


def _drop(app: Celeriac) -> int:
    ages = Ages(done=timedelta(_KEPT), dead=timedelta(30))
    return sum(days_prune.drop_old_days(app.database, ages).values())


def _number(database: psycopg.Connection, query: str) -> int:
    row = database.execute(query.encode()).fetchone()
    if row is None:
        raise NotMeasured(f"no answer to {query}")
    return int(row[0])


def _milliseconds(ask: Callable[[], object], calls: int = _CALLS) -> float:
    """The median of ``calls`` calls, after one that plans and reads what the others find in memory."""
    times = []
    for _ in range(1 + calls):
        begin = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begin) * 1e3)
    return median(times[1:])


def _measures() -> Iterator[Measure]:
    for name, (label, digits) in _FIGURES.items():
        for form, title in _FORMS.items():
            yield Measure(key=f"{name}_{form}", label=f"{label}, {title}", digits=digits, compared=False)
    for name, (label, digits) in _PRUNED.items():
        for form in ("plain", "days"):
            yield Measure(
                key=f"{name}_{form}", label=f"{label}, {_FORMS[form]}", digits=digits, compared=False
            )
    yield Measure(key="divide", label="s to divide the table", digits=1, compared=False)


PARTITIONS = Workload(
    name="partitions",
    title="a ledger of so many jobs that ended, plain and divided by days",
    jobs=1_000_000,
    quick_jobs=2_000,
    large_jobs=10_000_000,
    repeat=1,
    quick=False,
    usual=False,
    measures=tuple(_measures()),
    measure=partitions,
    applies=lambda entry: entry == CELERIAC,  # whose table is filled
)
