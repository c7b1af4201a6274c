"""Enqueue many jobs of any kind at a time: on PostgreSQL by one statement, with the rows in one JSON text.

COPY (``copy_in.py``) is quicker, but fails on a row that exists. Values that all rows have in common are sent
once, because the server spends half of its time on reading the JSON.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Connection, Text, and_, cast, func, select, true
from sqlalchemy.sql.dml import ReturningInsert

from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import insert_of
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.turns import next_turn, turn_with
from celeriac.ledger.writes.new_jobs import (
    COPIED,
    FRESH,
    SOURCES,
    WRITTEN,
    NewJob,
    computed,
    conflicts,
    enqueue,
    more_columns,
    more_values,
)

_OWN = ("id", "payload", "headers")  # always sent for each row
_OTHERS = tuple(name for name in (*COPIED, *SOURCES) if name not in _OWN)
_fields = attrgetter(*("dispatch_count" if name == "sent" else name for name in _OTHERS))
_encode = json.JSONEncoder(check_circular=False).encode
_MISSING = object()


def enqueue_all(connection: Connection, jobs: Sequence[NewJob]) -> set[UUID]:
    """As ``celeriac.ledger.writes.new_jobs.enqueue``, for many at a time; return the ids that are new.

    Of jobs with the same id the first is written.
    """
    if not jobs:
        return set()
    if connection.dialect.name != "postgresql":
        return {job.id for job in jobs if enqueue(connection, [job])}
    jobs = [job.undecided() if job.unique else job for job in jobs]
    more, fair = more_columns(jobs), any(job.fair for job in jobs)
    return set(connection.execute(_insert_all(more, fair), _parameters(jobs, more, fair)).scalars())


def first_of_each(jobs: Sequence[NewJob]) -> list[NewJob]:
    """One job of each id: the first, which is the one whose row is written."""
    found: dict[UUID, NewJob] = {}
    for job in jobs:
        found.setdefault(job.id, job)
    return list(found.values())


@lru_cache
def _insert_all(more: tuple[str, ...], fair: bool) -> ReturningInsert[Any]:
    turns = ("step",) if fair else ()
    columns: dict[str, Any] = {**{name: JOBS.c[name].type for name in (*COPIED, *more)}, **SOURCES}
    columns |= {"payload": Text(), "headers": Text()} | dict.fromkeys(turns, JOBS.c.turn.type)
    shared = {name: columns[name] for name in (*_OTHERS, *more, *turns, "headers")}
    each, one = batch.as_table("postgresql", columns), batch.as_table("postgresql", shared, name="same")
    rows, same = each.c, one.c

    def value(name: str) -> Any:
        if name == "id":
            return rows.id
        if name == "payload":
            return func.decode(rows.payload, "base64")
        if name == "headers":
            return cast(same.headers + rows.headers, JSON)
        return func.coalesce(rows[name], same[name])

    given = (*map(value, COPIED), *computed(lambda name, _: value(name)), *FRESH, *map(value, more))
    source = each.join(one, true())
    if fair:
        source, turn = _with_turns(source, *map(value, ("line", "priority", "fair_key", "step")))
        given = (*given, turn)
    chosen = select(*given).select_from(source)
    if "unique_key" in more:  # two producers that took keys in different orders would wait in a circle
        chosen = chosen.order_by(value("unique_key"))
    written = (*WRITTEN, *more, *(("turn",) if fair else ()))
    insert = insert_of("postgresql")(JOBS).from_select(written, chosen)
    return insert.on_conflict_do_nothing(index_elements=conflicts(more)).returning(JOBS.c.id)


def _with_turns(source: Any, line: Any, priority: Any, key: Any, step: Any) -> tuple[Any, Any]:
    """``source`` beside the next turn of each tenant in it, and the turn of each of its rows."""
    told = select(
        line.label("line"), priority.label("priority"), key.label("key"), func.max(step).label("step")
    )
    tenants = (
        told.where(step.is_not(None)).select_from(source).group_by(line, priority, key).subquery("tenant")
    )
    t = tenants.c
    first = next_turn("postgresql", line=t.line, priority=t.priority, key=t.key, step=t.step).label("first")
    turns = select(t.line, t.priority, t.key, first).cte("turns")
    of_row = and_(turns.c.line == line, turns.c.priority == priority, turns.c.key == key)
    place = func.row_number().over(partition_by=(line, priority, key)) - 1
    return source.outerjoin(turns, of_row), turn_with(step, turns.c.first + place * step)


def _parameters(jobs: Sequence[NewJob], more: tuple[str, ...], fair: bool) -> dict[str, str]:
    rows: list[dict[str, Any]] = [
        {"id": str(job.id), "payload": b64encode(job.payload).decode()} for job in jobs
    ]
    same: dict[str, Any] = {}
    columns = dict(zip(_OTHERS, zip(*map(_fields, jobs), strict=True), strict=True))
    if more:
        found = [more_values(job) for job in jobs]
        columns |= {name: tuple(values[name] for values in found) for name in more}
    if fair:
        columns["step"] = tuple(job.step for job in jobs)
    for name, values in columns.items():
        first = values[0]
        if values.count(first) == len(values):
            if first is not None:
                same[name] = _written(first)
            continue
        for row, value in zip(rows, values, strict=True):
            if value is not None:
                row[name] = _written(value)
    same["headers"], own = _halves([job.headers for job in jobs])
    for row, text in zip(rows, own, strict=True):
        row["headers"] = text
    return {"batch": _encode(rows), "same": _encode([same])}


def _halves(headers: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The JSON text with which all headers begin, and the rest of each."""
    # Compared by identity, which copies of one model keep: 1 and True are equal, but differ in JSON.
    common = {
        name: value
        for name, value in headers[0].items()
        if all(other.get(name, _MISSING) is value for other in headers)
    }
    comma = ", " if common else ""
    own = [{name: value for name, value in one.items() if name not in common} for one in headers]
    return _encode(common)[:-1], [comma + _encode(one)[1:] if one else "}" for one in own]


def _written(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
