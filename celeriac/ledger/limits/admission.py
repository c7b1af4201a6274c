"""Admission: let jobs go whose limits have room. One transaction; their messages are sent after its commit.

A permit is held by being dispatched, so there is nothing to write but the dispatch mark. What is in use is
counted in a statement of its own, behind the lock of the permits' keys: a count in the statement that locks
would be older than the lock that it waited for, and the limit would be exceeded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, Update, and_, bindparam, case, null, select, true, update
from sqlalchemy import cast as sql_cast

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.limits import fair, in_use, limit_rows, lines
from celeriac.ledger.limits.in_use import IN_LINE, NUMBERS
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.ordering import Orders
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, microseconds, now
from celeriac.ledger.schema.holding import is_to_hold, word_of_row
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message
from celeriac.limits.admission import Candidate, Decision, Room, decide
from celeriac.limits.breaker import Probes
from celeriac.limits.fairness import Fairness, Windows, queue_of
from celeriac.limits.permits import Permit, is_fair, limit_of
from celeriac.limits.rate import AHEAD

#: Lines that one transaction looks at, and jobs that it admits.
MOST_LINES, MOST_JOBS = 50, 100

#: Where no queue is fair.
_NO_WINDOWS, _UNFAIR = Windows(), Fairness.parse((), ())

#: Where no limit is half-open.
_NO_PROBES: Mapping[str, Probes] = MappingProxyType({})

#: Candidates of each line, at least.
_OF_A_LINE = 4


@dataclass(frozen=True, slots=True)
class TimedMessage(Message):
    """The message of a job that has a rate: its worker keeps it until its start.

    Attributes:
        start: when it is to start by the database's clock, in microseconds since 1970.
    """

    start: int = 0


def admit(
    connection: Connection,
    limits: Mapping[str, KnownLimit],
    *,
    most: int = MOST_JOBS,
    windows: Windows = _NO_WINDOWS,
    fairness: Fairness = _UNFAIR,
    ahead: timedelta = AHEAD,
    crowded: set[str] | None = None,
    probes: Mapping[str, Probes] = _NO_PROBES,
) -> list[Message]:
    """Admit up to ``most`` jobs from lines that are due; return their messages, the most important first.

    Commit before they are sent.

    Args:
        limits: as the caller knows them, for what no operator changes. What they hold is read again behind
            the locks: somebody may have lowered or paused one since.
        windows: how many jobs of fair queues may be on their way; it learns from what it sees.
        fairness: the weights of tenants.
        ahead: how long before their start jobs with a rate are admitted.
        probes: of half-open limits that the caller may try.
        crowded: takes the permits of rates that wait until workers begin what was sent.
    """
    due = connection.execute(_due_lines(), {"most": MOST_LINES}).all()
    if not due:
        return []
    orders = Orders.among(due, limits)
    permits = sorted(
        {name for line in due for name in line[1:4] if name is not None} | orders.permits(connection)
    )
    keys = lines.lock_keys(connection, permits)
    limits = limit_rows.read(connection)
    moment = clock(connection)
    used = in_use.count(connection, permits)
    turns = {line.id: str(line.permit_1) for line in due if is_fair(line.permit_1)}
    for permit in turns.values():
        windows.note(queue_of(permit), used=used[permit], now=moment)
    paced = [name for name in permits if (limit := limits.get(limit_of(name))) and limit.pace]
    waits = in_use.on_way(connection, paced)
    rooms = _rooms({**limits, **fair.known(turns.values(), windows)}, keys, used, waits, probes, moment)
    plain = [line for line in due if line.id not in orders.lines and line.id not in turns]
    found = _candidates(connection, plain)
    found |= fair.candidates(connection, turns, fairness=fairness, most=MOST_JOBS)
    found |= orders.candidates(connection, known=rooms, now=moment)
    decision = decide([found[line.id] for line in due], rooms, now=moment, most=most, ahead=ahead)
    if crowded is not None:
        crowded |= decision.crowded
    for permit in turns.values():
        if not rooms[permit].takes(1):
            windows.is_full(queue_of(permit), now=moment)
    messages = _mark(connection, decision)
    orders.note(decision, [message.id for message in messages])
    _write_lines(connection, due, found, decision, moment)
    return messages


def _rooms(
    limits: Mapping[str, KnownLimit],
    keys: Mapping[str, Any],
    used: Mapping[str, int],
    waits: Mapping[str, int],
    probes: Mapping[str, Probes],
    moment: Any,
) -> dict[str, Room]:
    found: dict[str, Room] = {}
    for name, key in keys.items():
        limit = limits.get(limit_of(name))
        if limit is None or limit.paused is not None or limit.is_open:  # nobody knows it, or it is stopped
            found[name] = Room(is_shut=True)
            continue
        rests = key.rests_until is not None and key.rests_until > moment
        found[name] = Room(
            concurrency=limit.holds,
            used=used.get(name, 0),
            rate=limit.pace,
            next_start=key.next_start,
            on_way=waits.get(name, 0),
            shut=key.rests_until if rests else None,
            is_shut=rests or (limit.is_half_open and limit.name not in probes),
            probes=probes.get(limit.name) if limit.is_half_open else None,
        )
    return found


def _candidates(connection: Connection, due: Sequence[Any]) -> dict[UUID, list[Candidate]]:
    """The first due jobs of each line, as they go."""
    if not due:
        return {}
    most = max(_OF_A_LINE, MOST_JOBS // len(due))
    found: dict[UUID, list[Candidate]] = {line.id: [] for line in due}
    names = {line.id: [name for name in line[1:4] if name is not None] for line in due}
    for row in _first_of(connection, [line.id for line in due], most):
        weights = [row.weight_1, row.weight_2, row.weight_3]
        takes = tuple(
            Permit(name, weight or 1) for name, weight in zip(names[row.line], weights, strict=False)
        )
        found[row.line].append(Candidate(row.id, row.line, row.priority, takes))
    return found


def _first_of(connection: Connection, ids: Sequence[UUID], most: int) -> list[Any]:
    dialect = connection.dialect.name
    if dialect != "postgresql":
        return [row for line in ids for row in connection.execute(_first(), {"of": line, "most": most})]
    rows = [{"id": line} for line in ids]
    parameters = batch.table_parameters(dialect, _IDS, rows) | {"most": most}
    return list(connection.execute(_first_of_each(dialect), parameters))


def _mark(connection: Connection, decision: Decision) -> list[Message]:
    if not decision.admitted:
        return []
    ids = [job.id for job in decision.admitted]
    dialect = connection.dialect.name
    rows = connection.execute(_mark_all(dialect), batch.id_parameters(dialect, ids)).all()
    sent: dict[UUID, Message] = {}
    for row in rows:
        values = dict(row._mapping)
        if values.pop("held") is not None:
            continue  # it is paused elsewhere
        start = decision.starts.get(row.id)
        sent[row.id] = TimedMessage(**values, start=microseconds(start)) if start else Message(**values)
    return [sent[job] for job in ids if job in sent]


def _write_lines(
    connection: Connection,
    due: Sequence[Any],
    candidates: Mapping[UUID, Sequence[Candidate]],
    decision: Decision,
    moment: Any,
) -> None:
    got = {job.line for job in decision.admitted}
    turn, rows = microseconds(moment), []
    for line in sorted(due, key=lambda line: str(line.id)):
        later = decision.later.get(line.id)
        if line.id not in decision.blocked and line.id not in decision.idle and later is None:
            later = moment if candidates[line.id] else _head_is_due(connection, line.id)
        rows.append(
            {
                "id": line.id,
                "due": later,
                "blocked_on": decision.blocked.get(line.id),
                "turn": turn if line.id in got else line.turn,
            }
        )
    dialect = connection.dialect.name
    connection.execute(_write_all_lines(dialect), batch.table_parameters(dialect, _LOOKED_AT, rows))


def _head_is_due(connection: Connection, line: UUID) -> Any:
    """When the first job of a line is due; None: nothing waits in it."""
    return connection.execute(_soonest(), {"of": line}).scalar()


_IDS: dict[str, Any] = {"id": LINES.c.id.type}
_LOOKED_AT: dict[str, Any] = {name: LINES.c[name].type for name in ("id", "due", "blocked_on", "turn")}


@lru_cache
def _due_lines() -> Select[Any]:
    c = LINES.c
    return (
        select(c.id, c.permit_1, c.permit_2, c.permit_3, c.turn)
        .where(c.due <= now())
        .order_by(c.turn)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


def _waiting(line: Any) -> Select[Any]:
    c = JOBS.c
    columns = (c.id, c.line, c.priority, *(c[f"weight_{number}"] for number in NUMBERS))
    due = and_(IN_LINE, c.line == line, c.next_attempt_after <= select(now()).scalar_subquery())
    order = (c.priority.desc(), c.next_attempt_after, c.id)
    return select(*columns).where(due).order_by(*order).limit(bindparam("most"))


@lru_cache
def _first() -> Select[Any]:
    return _waiting(bindparam("of", type_=JOBS.c.line.type))


@lru_cache
def _first_of_each(dialect: str) -> Select[Any]:
    given = batch.as_table(dialect, _IDS)
    each = _waiting(given.c.id).correlate(given).lateral("each")
    return select(*each.c).select_from(given.join(each, true()))


@lru_cache
def _mark_all(dialect: str) -> Update:
    waiting = in_order(batch.id_in(dialect, JOBS.c.id), IN_LINE, skip=True)
    hold = is_to_hold()
    return (
        update(JOBS)
        .where(JOBS.c.id.in_(waiting))
        .values(
            dispatched=case((hold, sql_cast(null(), Instant)), else_=now()),
            dispatch_count=JOBS.c.dispatch_count + case((hold, 0), else_=1),
            held=case((hold, word_of_row())),
        )
        .returning(*MESSAGE_COLUMNS, JOBS.c.held)
    )


@lru_cache
def _write_all_lines(dialect: str) -> Update:
    given = batch.as_table(dialect, _LOOKED_AT).c
    written = {"due": given.due, "blocked_on": given.blocked_on, "turn": given.turn, "touched": now()}
    return update(LINES).where(LINES.c.id == given.id).values(written)


@lru_cache
def _soonest() -> Select[Any]:
    return lines.soonest(JOBS.c.line == bindparam("of", type_=JOBS.c.line.type))
