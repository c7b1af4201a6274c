"""Admission: let jobs go whose limits have room. One transaction; their messages are sent after its commit.

A permit is held by being dispatched, so there is nothing to write but the dispatch mark. What is in use is
counted in a statement of its own, behind the lock of the permits' keys: a count in the statement that locks
would be older than the lock that it waited for, and the limit would be exceeded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from celeriac.ledger.connection.one_trip import in_one_trip
from celeriac.ledger.limits import candidates, due_lines, fair, in_use, locked
from celeriac.ledger.limits.due_lines import MOST_LINES, MOST_WOKEN, DueLine, Front, Woken
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.locked import Locked
from celeriac.ledger.limits.marking import mark_step, messages_of
from celeriac.ledger.limits.ordering import Orders
from celeriac.ledger.writes.claims import Message
from celeriac.limits.admission import Candidate, Decision, Room, decide
from celeriac.limits.breaker import Probes
from celeriac.limits.fairness import Fairness, Windows, queue_of
from celeriac.limits.permits import is_fair, limit_of
from celeriac.limits.rate import AHEAD, ON_TIME

__all__ = ["MOST_JOBS", "MOST_LINES", "MOST_WOKEN", "Front", "admit"]

#: Jobs that one transaction admits. What it costs beside its rows is shared by that many; its locks are held
#: for some twenty-five milliseconds.
MOST_JOBS = 500

#: Where no queue is fair.
_NO_WINDOWS, _UNFAIR = Windows(), Fairness.parse((), ())

#: Where no limit is half-open.
_NO_PROBES: Mapping[str, Probes] = MappingProxyType({})

#: Candidates of all lines together, if each has that many: some do not get what they are to take.
_SHARED_OUT = 2 * MOST_JOBS


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
    freed: Collection[str] = (),
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
        freed: permits that jobs have given back, whose lines are woken first. In such a transaction others'
            locks are not waited for, since it may hold what they wait for; those lines have the next look.
    """
    woken = _wake(connection, front, freed, limits) if freed else None
    due = due_lines.take(connection, front) if woken is None else woken.due
    if not due:
        return []
    orders = Orders.among(due, limits)
    permits = sorted({name for line in due for name in line.permits} | orders.permits(connection))
    plain = [line for line in due if line.id not in orders.lines and not is_fair(line.permit_1)]
    known, first = _behind_locks(connection, woken, permits, plain, limits)
    is_all = all(name in known.keys for name in permits)
    if not is_all:
        due = _of_keys(known, due)
    turns = {line.id: line.permit_1 for line in due if is_fair(line.permit_1)}
    for permit in turns.values():
        windows.note(queue_of(permit), used=known.used[permit], now=known.moment)
    rooms = _rooms(connection, known, fair.known(turns.values(), windows), probes)
    found = first
    if found is None:
        plain = plain if is_all else _of_keys(known, plain)
        mosts = candidates.with_room(plain, rooms, most=_SHARED_OUT)
        found = candidates.by_line(candidates.find(connection, mosts), plain)
    found |= fair.candidates(connection, turns, fairness=fairness, most=MOST_JOBS)
    found |= orders.candidates(connection, known=rooms, now=known.moment)
    decision = decide([found[line.id] for line in due], rooms, now=known.moment, most=most, ahead=ahead)
    if crowded is not None:
        crowded |= decision.crowded
    for permit in turns.values():
        if not rooms[permit].takes(1):
            windows.is_full(queue_of(permit), now=known.moment)
    if front is not None:
        front.is_more |= len(decision.admitted) >= most or not is_all
    return _carry_out(connection, due, found, decision, orders, known.moment)


def _wake(
    connection: Connection, front: Front | None, freed: Collection[str], limits: Mapping[str, KnownLimit]
) -> Woken:
    most = candidates.of_each_line(freed, limits) if connection.dialect.name == "postgresql" else None
    return due_lines.wake_and_take(connection, front, freed, most=most)


def _behind_locks(
    connection: Connection,
    woken: Woken | None,
    permits: Sequence[str],
    plain: Sequence[DueLine],
    limits: Mapping[str, KnownLimit],
) -> tuple[Locked, dict[UUID, list[Candidate]] | None]:
    """What is known behind the locks of ``permits``; the candidates of ``plain``, if they were read along."""
    if woken is not None and all(name in woken.locked.keys for name in permits):
        if woken.first is None:
            return woken.locked, None
        read = [(place, *row) for place, line in enumerate(plain) for row in woken.first[line.id]]
        return woken.locked, candidates.by_line(read, plain)
    mosts = candidates.whatever_is_in_use(plain, limits) if connection.dialect.name == "postgresql" else None
    along = [candidates.step(mosts)] if mosts else []
    known, rows = locked.lock(connection, permits, *along, wait=woken is None)
    return known, candidates.by_line(rows, plain) if along else None


def _of_keys(known: Locked, due: Sequence[DueLine]) -> list[DueLine]:
    """Those of ``due`` whose permits' keys are locked, all of them."""
    return [line for line in due if all(name in known.keys for name in line.permits)]


def _carry_out(
    connection: Connection,
    due: Sequence[DueLine],
    found: Mapping[UUID, Sequence[Candidate]],
    decision: Decision,
    orders: Orders,
    moment: datetime,
) -> list[Message]:
    """Mark what was admitted, and write when to look at the lines again."""
    ids, dialect = [job.id for job in decision.admitted], connection.dialect.name
    marks = [mark_step(dialect, ids)] if ids else []
    if orders.lines:  # whether their jobs were marked decides when to look again
        rows = in_one_trip(connection, *marks)
        messages = messages_of(rows[0], ids, decision.starts) if ids else []
        orders.note(decision, [message.id for message in messages])
        write = due_lines.write_step(connection, due, found, decision, moment)
        in_one_trip(connection, write, commit=True)
        return messages
    write = due_lines.write_step(connection, due, found, decision, moment)
    rows = in_one_trip(connection, *marks, write, commit=True)
    return messages_of(rows[0], ids, decision.starts) if ids else []


def _rooms(
    connection: Connection,
    known: Locked,
    windows: Mapping[str, KnownLimit],
    probes: Mapping[str, Probes],
) -> dict[str, Room]:
    limits, moment = {**known.limits, **windows}, known.moment
    paces = {name: pace for name, limit in limits.items() if (pace := limit.pace)}
    stopped = {name for name, limit in limits.items() if limit.paused is not None or limit.is_open}
    half_open = {name for name, limit in limits.items() if limit.is_half_open}
    paced = [name for name in known.keys if limit_of(name) in paces] if paces else []
    waits = in_use.on_way(connection, paced, lately=ON_TIME.total_seconds())
    found: dict[str, Room] = {}
    for name, key in known.keys.items():
        of = limit_of(name)
        if of not in limits or of in stopped:  # nobody knows it, or it is stopped
            found[name] = Room(is_shut=True)
            continue
        rests, pace = key.rests_until is not None and key.rests_until > moment, paces.get(of)
        found[name] = Room(
            concurrency=limits[of].holds,
            used=known.used.get(name, 0),
            rate=pace,
            next_start=key.next_start,
            on_way=pace.in_front(*waits[name]) if pace else 0,
            shut=key.rests_until if rests else None,
            is_shut=rests or (of in half_open and of not in probes),
            probes=probes.get(of) if of in half_open else None,
        )
    return found
