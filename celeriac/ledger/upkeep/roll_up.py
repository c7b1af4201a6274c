"""Roll up what ended: counts by minute and by hour, which stay when the jobs are pruned.

The last ten full minutes are counted anew each time, since a transaction that was open for long commits an
end that lies behind, and a replay or a discard takes one away. A minute older than that stays as it was then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Delete,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.reads.ended_rows import Ended, ended_sums
from celeriac.ledger.schema.columns import Instant, insert_of, span_start
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS, RUNS, WAITS

MINUTE, HOUR = 60, 3600  # the spans, in seconds

#: Groups of task, queue and outcome in one span, at most; the smallest are put together under the task "".
MOST_GROUPS = 500

#: How long minutes and hours are kept.
KEPT = {MINUTE: timedelta(days=2), HOUR: timedelta(days=90)}

#: Minutes that are counted anew, and those that one transaction counts at most.
_ANEW, _AT_ONCE = timedelta(minutes=10), timedelta(minutes=20)

#: Spans that one transaction prunes at most.
_PRUNED = 20

#: Key of the advisory lock of whoever rolls up; any fixed number that no other lock of ours has.
_LOCK = 7_031_202_512_018

_ONE = {span: timedelta(seconds=span) for span in (MINUTE, HOUR)}


@dataclass(frozen=True, slots=True)
class RolledUp:
    """
    Attributes:
        counted: whether this call counted anything; False: another has done it, or is doing it.
        due_in: seconds until there is more to count.
    """

    counted: bool
    due_in: float


def roll_up(connection: Connection) -> RolledUp:
    """Count the minutes that have ended since the last time, ten before them, and the running one.

    A ledger that nobody rolled up for long is caught up with in steps: more is due at once then.
    """
    if connection.dialect.name == "postgresql" and not connection.execute(_take_lock()).scalar_one():
        return RolledUp(counted=False, due_in=1.0)
    now = clock(connection)
    running = start_of(now, MINUTE)
    reached = connection.execute(_reached(), {"running": running}).scalar_one()
    if reached == running:
        return RolledUp(counted=False, due_in=(running + _ONE[MINUTE] - now).total_seconds())
    first = _first(connection, reached, running)
    end = min(first + _AT_ONCE, running + _ONE[MINUTE])
    _count(connection, MINUTE, first, end)
    _count(connection, HOUR, start_of(first, HOUR), start_of(end - _ONE[MINUTE], HOUR) + _ONE[HOUR])
    for span, kept in KEPT.items():
        _prune(connection, span, before=end - kept, after=running)
    left = (running + _ONE[MINUTE] - now).total_seconds() if end > running else 0.0
    return RolledUp(counted=True, due_in=left)


def start_of(moment: datetime, seconds: int) -> datetime:
    """The first moment of the span of so many seconds in which ``moment`` lies.

    >>> from datetime import UTC
    >>> start_of(datetime(2030, 1, 1, 12, 34, 56, 7, tzinfo=UTC), 3600)
    datetime.datetime(2030, 1, 1, 12, 0, tzinfo=datetime.timezone.utc)
    """
    return moment - timedelta(microseconds=moment.microsecond, seconds=moment.timestamp() // 1 % seconds)


def _first(connection: Connection, reached: datetime | None, running: datetime) -> datetime:
    """The first minute to count."""
    if reached is None:
        oldest = connection.execute(select(func.min(JOBS.c.finished))).scalar_one()
        reached = running if oldest is None else start_of(oldest, MINUTE)
    return max(min(reached, running) - _ANEW, running - KEPT[HOUR])


def _count(connection: Connection, span: int, first: datetime, end: datetime) -> None:
    """Write the counts of the spans from ``first`` to before ``end``; groups that are gone go."""
    given = {"first": first, "end": end, "last": end - _ONE[span], "most": MOST_GROUPS}
    if connection.dialect.name == "postgresql":
        connection.execute(_write_over(span), given)
    else:  # it has the only write lock, and SQLite cannot do both at once
        connection.execute(_clear(span), given)
        connection.execute(_write(span), given)


def _prune(connection: Connection, span: int, *, before: datetime, after: datetime) -> None:
    """Delete the oldest spans that began before that, a few at a time, and what lies in the future.

    The clock went wrong if there is any of that.
    """
    connection.execute(_clear_beyond(span), {"beyond": after})
    oldest = connection.execute(_oldest(span)).scalar_one()
    if oldest is not None and oldest < before:
        connection.execute(_clear(span), {"first": oldest, "end": min(before, oldest + _PRUNED * _ONE[span])})


@lru_cache
def _take_lock() -> Any:
    """For this transaction: a pooler between us and the server keeps transactions together."""
    return select(func.pg_try_advisory_xact_lock(_LOCK))


@lru_cache
def _reached() -> Any:
    """The newest minute that was counted. There is a row even if nothing ended in it."""
    c = ENDED_COUNTS.c
    return select(func.max(c.began)).where(
        c.span == MINUTE, c.began <= bindparam("running", type_=c.began.type)
    )


@lru_cache
def _oldest(span: int) -> Any:
    return select(func.min(ENDED_COUNTS.c.began)).where(ENDED_COUNTS.c.span == span)


@lru_cache
def _clear(span: int) -> Delete:
    return delete(ENDED_COUNTS).where(*_within(span))


@lru_cache
def _clear_beyond(span: int) -> Delete:
    began = ENDED_COUNTS.c.began
    return delete(ENDED_COUNTS).where(
        ENDED_COUNTS.c.span == span, began > bindparam("beyond", type_=began.type)
    )


@lru_cache
def _write(span: int) -> Any:
    kept = _kept(span).subquery("kept")
    return insert_of("sqlite")(ENDED_COUNTS).from_select(_NAMES, select(literal(span), *kept.c))


@lru_cache
def _write_over(span: int) -> Any:
    """Only rows that differ are written, so that ten minutes do not become dead rows every minute."""
    kept, c = _kept(span).cte("kept"), ENDED_COUNTS.c
    same = and_(*(c[key.name] == key for key in kept.c if key.name in _KEY))
    gone = delete(ENDED_COUNTS).where(*_within(span), ~exists(select(kept).where(same))).cte("gone")
    made = insert_of("postgresql")(ENDED_COUNTS).from_select(_NAMES, select(literal(span), *kept.c))
    differs = [c[name].is_distinct_from(made.excluded[name]) for name in _NUMBERS]
    return made.on_conflict_do_update(
        index_elements=["span", *_KEY],
        set_={name: made.excluded[name] for name in _NUMBERS},
        where=or_(*differs),
    ).add_cte(gone)


_KEY, _NUMBERS = ("began", "task", "queue", "outcome"), ("attempts", "ran", "longest", *WAITS, *RUNS)
_NAMES = ["span", *_KEY, *_NUMBERS]


def _within(span: int) -> tuple[Any, ...]:
    began, kind = ENDED_COUNTS.c.began, ENDED_COUNTS.c.began.type
    first, end = bindparam("first", type_=kind), bindparam("end", type_=kind)
    return ENDED_COUNTS.c.span == span, began >= first, began < end


def _kept(span: int) -> Any:
    """The groups of each span, the largest by name; at most ``:most`` in each.

    The last span has a row even if nothing ended in it: it says how far the counts go.
    """
    counts = ENDED_COUNTS.c
    source = ended_sums(MINUTE) if span == MINUTE else _minutes(span)
    place = literal("").label("task"), literal("").label("queue"), literal(str(Ended.COMPLETED))
    last = bindparam("last", type_=Instant).label("began")
    empty = select(
        last, *place, literal(0), literal(0.0), literal(0.0), *(literal(0) for _ in (*WAITS, *RUNS))
    )
    groups = _together(union_all(source, empty).subquery("ended"))
    size = groups.c.attempts.desc()
    order = func.row_number().over(
        partition_by=groups.c.began, order_by=(size, groups.c.task, groups.c.queue, groups.c.outcome)
    )
    ranked = select(*groups.c, order.label("place")).subquery("ranked")
    fits = ranked.c.place <= cast(bindparam("most"), BigInteger) - len(Ended)
    named = select(
        ranked.c.began,
        case((fits, ranked.c.task), else_="").label("task"),
        case((fits, ranked.c.queue), else_="").label("queue"),
        *(ranked.c[name] for name in ("outcome", *_NUMBERS)),
    ).subquery("named")
    kept = _together(named)
    return select(*(kept.c[name] for name in _KEY), *(cast(kept.c[n], counts[n].type) for n in _NUMBERS))


def _together(rows: Any) -> Any:
    """``rows`` by key, their numbers put together."""
    keys, c = [rows.c[name] for name in _KEY], rows.c
    sums = [(func.max if name == "longest" else func.sum)(c[name]).label(name) for name in _NUMBERS]
    return select(*keys, *sums).group_by(*keys).subquery()


def _minutes(span: int) -> Any:
    c = ENDED_COUNTS.c
    return select(
        span_start(literal(span), c.began).label("began"),
        *(c[name] for name in ("task", "queue", "outcome", "attempts", "ran", "longest")),
        *(func.coalesce(c[name], 0).label(name) for name in (*WAITS, *RUNS)),  # null of an older version
    ).where(*_within(MINUTE))
