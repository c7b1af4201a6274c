"""Admission: let jobs go whose limits have room. One transaction; their messages are sent after its commit.

A permit is held by being dispatched, so there is nothing to write but the dispatch mark. What is in use is
counted in a statement of its own, behind the lock of the permits' keys: a count in the statement that locks
would be older than the lock that it waited for, and the limit would be exceeded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    null,
    select,
    true,
    update,
)
from sqlalchemy import cast as sql_cast

from celeriac.ledger.limits import fair, in_use, limit_rows, lines
from celeriac.ledger.limits.in_use import IN_LINE, NUMBERS
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.ordering import Orders
from celeriac.ledger.schema import batch
from celeriac.ledger.schema.columns import Instant, evaluated_once, from_microseconds, microseconds, now
from celeriac.ledger.schema.holding import is_to_hold, word_of_row
from celeriac.ledger.schema.limit_tables import LINES
from celeriac.ledger.schema.locking import in_order
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Message
from celeriac.limits.admission import Candidate, Decision, Room, decide
from celeriac.limits.breaker import Probes
from celeriac.limits.fairness import Fairness, Windows, queue_of
from celeriac.limits.permits import Permit, is_fair, limit_of
from celeriac.limits.rate import AHEAD, ON_TIME

#: Lines that one transaction looks at, and jobs that it admits. What a transaction costs beside its rows is
#: shared by that many; its locks are held for some ten milliseconds.
MOST_LINES, MOST_JOBS = 100, 250

#: Where no queue is fair.
_NO_WINDOWS, _UNFAIR = Windows(), Fairness.parse((), ())

#: Where no limit is half-open.
_NO_PROBES: Mapping[str, Probes] = MappingProxyType({})

#: Candidates of each line, at least: the first that may go, and the one that tells that its line is full.
_OF_A_LINE = 2

#: Candidates of all lines together, if each has that many: some do not get what they are to take.
_SHARED_OUT = 2 * MOST_JOBS

#: Lines that became due before the last look may be committed after it: for so long. Seconds between two
#: looks from the very beginning, for what took longer.
_LATE, _FROM_THE_START = timedelta(seconds=1), 5.0

_EPOCH = from_microseconds(0)


@dataclass(frozen=True, slots=True)
class TimedMessage(Message):
    """The message of a job that has a rate: its worker keeps it until its start.

    Attributes:
        start: when it is to start by the database's clock, in microseconds since 1970.
    """

    start: int = 0


class Front:
    """The moment from which on lines are due, as far as one who looks again and again knows.

    While a transaction is open that began long ago, entries of lines that were due stay in the index. A look
    from the beginning would read all of them each time.

    Attributes:
        is_more: whether the last look may have left something that may go now.
    """

    def __init__(self) -> None:
        self._since, self._began_at = _EPOCH, float("-inf")
        self.is_more = False

    def since(self) -> datetime:
        """From where to look now."""
        if time.monotonic() - self._began_at >= _FROM_THE_START:
            self._since, self._began_at = _EPOCH, time.monotonic()
        return self._since

    def seen(self, lines: Sequence[Any]) -> None:
        """Note the lines of the last look, in the order in which they became due."""
        if lines:
            self._since = max(self._since, lines[0].due - _LATE)
        self.is_more = len(lines) >= MOST_LINES


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
    front: Front | None = None,
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
        front: of whoever looks again and again.
    """
    due = _due_lines(connection, front)
    if not due:
        return []
    orders = Orders.among(due, limits)
    permits = sorted(
        {name for line in due for name in line[1:4] if name is not None} | orders.permits(connection)
    )
    keys = lines.lock_known_keys(connection, permits)
    limits, moment = limit_rows.read_with_clock(connection)
    used = in_use.count(connection, permits)
    turns = {line.id: str(line.permit_1) for line in due if is_fair(line.permit_1)}
    for permit in turns.values():
        windows.note(queue_of(permit), used=used[permit], now=moment)
    paced = [name for name in permits if (limit := limits.get(limit_of(name))) and limit.pace]
    waits = in_use.on_way(connection, paced, lately=ON_TIME.total_seconds())
    rooms = _rooms({**limits, **fair.known(turns.values(), windows)}, keys, used, waits, probes, moment)
    plain = [line for line in due if line.id not in orders.lines and line.id not in turns]
    found = _candidates(connection, plain, rooms)
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
    if front is not None:
        front.is_more |= len(decision.admitted) >= most
    return messages


def _rooms(
    limits: Mapping[str, KnownLimit],
    keys: Mapping[str, Any],
    used: Mapping[str, int],
    waits: Mapping[str, tuple[int, int]],
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
            on_way=limit.pace.in_front(*waits[name]) if limit.pace else 0,
            shut=key.rests_until if rests else None,
            is_shut=rests or (limit.is_half_open and limit.name not in probes),
            probes=probes.get(limit.name) if limit.is_half_open else None,
        )
    return found


def _due_lines(connection: Connection, front: Front | None) -> list[Any]:
    """The lines that are due for the longest time, by turn."""
    since = _EPOCH if front is None else front.since()
    due = connection.execute(_due_for_longest(), {"most": MOST_LINES, "since": since}).all()
    if front is not None:
        front.seen(due)
    return sorted(due, key=lambda line: int(line.turn))


def _candidates(
    connection: Connection, due: Sequence[Any], rooms: Mapping[str, Room]
) -> dict[UUID, list[Candidate]]:
    """The first due jobs of each line, as they go: as many as there is room for, and one more."""
    if not due:
        return {}
    most = min(MOST_JOBS + 1, max(_OF_A_LINE, _SHARED_OUT // len(due)))
    found: dict[UUID, list[Candidate]] = {line.id: [] for line in due}
    names = {line.id: [name for name in line[1:4] if name is not None] for line in due}
    mosts = {line: min(most, 1 + min(rooms[name].slots for name in names[line])) for line in found}
    for job, line, priority, *weights in _first_of(connection, mosts):
        takes = tuple(Permit(name, weight or 1) for name, weight in zip(names[line], weights, strict=False))
        found[line].append(Candidate(job, line, priority, takes))
    return found


def _first_of(connection: Connection, mosts: Mapping[UUID, int]) -> list[Any]:
    dialect = connection.dialect.name
    if dialect != "postgresql":
        each = ({"of": line, "most": most} for line, most in mosts.items())
        return [row for one in each for row in connection.execute(_first(), one)]
    rows = [{"id": line, "most": most} for line, most in mosts.items()]
    found = connection.execute(_first_of_each(dialect), batch.table_parameters(dialect, _WANTED, rows))
    return list(found.all())


def _mark(connection: Connection, decision: Decision) -> list[Message]:
    if not decision.admitted:
        return []
    ids = [job.id for job in decision.admitted]
    dialect = connection.dialect.name
    rows = connection.execute(_mark_all(dialect), batch.id_parameters(dialect, ids)).all()
    sent: dict[UUID, Message] = {}
    for held, *values in rows:
        if held is not None:
            continue  # it is paused elsewhere
        job = values[0]
        start = decision.starts.get(job)
        sent[job] = TimedMessage(*[*values, microseconds(start)]) if start else Message(*values)
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
            later = moment if candidates[line.id] else _head_is_due(connection, line.id, moment)
        elif later is not None and later <= moment and line.id not in got:
            later = line.due  # there was no time for it: it keeps its place
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


def _head_is_due(connection: Connection, line: UUID, moment: datetime) -> datetime | None:
    """When the first job of a line is due, now at the earliest; None: nothing waits in it."""
    due = connection.execute(_soonest(), {"of": line}).scalar()
    return None if due is None else max(due, moment)


_WANTED: dict[str, Any] = {"id": LINES.c.id.type, "most": Integer()}
_LOOKED_AT: dict[str, Any] = {name: LINES.c[name].type for name in ("id", "due", "blocked_on", "turn")}


@lru_cache
def _due_for_longest() -> Select[Any]:
    """One search of the index by ``due``, however many lines are due or will be."""
    c = LINES.c
    since = bindparam("since", type_=c.due.type)
    return (
        select(c.id, c.permit_1, c.permit_2, c.permit_3, c.turn, c.due)
        .where(c.due >= since, c.due <= evaluated_once(now()))
        .order_by(c.due)
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


def _waiting(line: Any, most: Any) -> Select[Any]:
    c = JOBS.c
    columns = (c.id, c.line, c.priority, *(c[f"weight_{number}"] for number in NUMBERS))
    due = and_(IN_LINE, c.line == line, c.next_attempt_after <= select(now()).scalar_subquery())
    order = (c.priority.desc(), c.next_attempt_after, c.id)
    return select(*columns).where(due).order_by(*order).limit(most)


@lru_cache
def _first() -> Select[Any]:
    return _waiting(bindparam("of", type_=JOBS.c.line.type), bindparam("most"))


@lru_cache
def _first_of_each(dialect: str) -> Select[Any]:
    given = batch.as_table(dialect, _WANTED)
    each = _waiting(given.c.id, given.c.most).correlate(given).lateral("each")
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
        .returning(JOBS.c.held, *MESSAGE_COLUMNS)
    )


@lru_cache
def _write_all_lines(dialect: str) -> Update:
    given = batch.as_table(dialect, _LOOKED_AT).c
    written = {"due": given.due, "blocked_on": given.blocked_on, "turn": given.turn, "touched": now()}
    return update(LINES).where(LINES.c.id == given.id).values(written)


@lru_cache
def _soonest() -> Select[Any]:
    return lines.soonest(JOBS.c.line == bindparam("of", type_=JOBS.c.line.type))
