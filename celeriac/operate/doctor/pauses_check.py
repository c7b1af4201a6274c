"""What holds jobs up: a pause that was forgotten, a job that failed and is the first of its order."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from celeriac.display import length, stamp
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.limits import fair, limit_rows, ordering, taken_back
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.limits.ordering import HeldUp
from celeriac.ledger.limits.taken_back import Undrawn
from celeriac.ledger.upkeep import pause_rows
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.limits.limit import ORDERED
from celeriac.limits.permits import limit_of
from celeriac.operate import pauses
from celeriac.operate.doctor.finding import Area, Finding, ok, warn

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

_LONG = timedelta(minutes=15)  # after which somebody may have forgotten it
_SOON = 60.0  # seconds: an attempt that follows sooner holds nobody up for long
_KEYS, _COUNTED = 20, 1000  # that are told, and jobs of each that are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    paused: Sequence[PauseRow]
    clock: datetime
    limits: Sequence[KnownLimit] = ()  # those that are paused
    open: Sequence[KnownLimit] = ()  # those whose breaker is not closed
    held_up: Sequence[HeldUp] = ()  # keys of orders
    undrawn: Sequence[Undrawn] = ()  # permits that do not arrive


def read(app: Celeriac) -> Facts:
    with app.database.reading() as connection:
        known = limit_rows.read(connection).values()
        stopped = [limit for limit in known if limit.paused is not None]
        return Facts(
            paused=pause_rows.rows(connection),
            clock=clock(connection),
            limits=stopped,
            open=[limit for limit in known if limit.is_open or limit.is_half_open],
            held_up=ordering.held_up(connection, beyond=_SOON, keys=_KEYS, most=_COUNTED),
            undrawn=taken_back.undrawn(connection, drawn=_drawn(app, connection), older=_SOON, most=_KEYS),
        )


def _drawn(app: Celeriac, connection: Connection) -> set[str]:
    return set(fair.children(connection, within=app.settings.worker_timeout))


def judge(facts: Facts) -> list[Finding]:
    found = [_of(row, facts.clock - row.since) for row in facts.paused]
    found += [_of_limit(limit, facts.clock) for limit in facts.limits]
    found += [_of_breaker(limit) for limit in facts.open]
    found += [_of_order(key) for key in facts.held_up]
    found += [_of_permits(each) for each in facts.undrawn]
    return found or [ok(Area.LEDGER, "pauses", "no queue, no task and no limit is paused")]


def _of(row: PauseRow, age: timedelta) -> Finding:
    return _found(f"the {row.kind} {row.name!r} is {pauses.in_words(row)}", age, pauses.remedy(row))


def _of_limit(limit: KnownLimit, now: datetime) -> Finding:
    since = limit.paused or now
    why = f": {limit.pause_reason}" if limit.pause_reason else ""
    sentence = f"the limit {limit.name!r} is paused by {limit.paused_by} since {stamp(since)}{why}"
    return _found(sentence, now - since, f"celery -A app limits resume {shlex.quote(limit.name)}")


def _of_breaker(limit: KnownLimit) -> Finding:
    since = f" since {stamp(limit.breaker_since)}" if limit.breaker_since else ""
    who = (
        f"by {limit.breaker_set_by}" if limit.breaker_set is not None else limit.breaker_why or "it is tried"
    )
    sentence = f"the breaker of the limit {limit.name!r} is {limit.breaker_is}{since}: {who}"
    remedy = f"celery -A app limits breaker {shlex.quote(limit.name)} closed"
    return warn(Area.LEDGER, "breakers", sentence, remedy=remedy)


def _of_order(key: HeldUp) -> Finding:
    number = f"more than {_COUNTED:,}" if key.others >= _COUNTED else f"{key.others:,}"
    waits = "job waits" if key.others == 1 else "jobs wait"
    name = key.permit.removeprefix(ORDERED)
    sentence = f"{number} {waits} in the order {name} behind {key.job}, which is tried again at"
    sentence = f"{sentence} {stamp(key.again)}: {key.failure}"
    return warn(Area.LEDGER, "orders", sentence, remedy=f"celery -A app jobs cancel {key.job}")


def _of_permits(each: Undrawn) -> Finding:
    number = f"{each.jobs:,} {'job' if each.jobs == 1 else 'jobs'}"
    sentence = f"{number} of the limit {limit_of(each.permit)!r} on the way into the queue {each.queue!r}"
    sentence = f"{sentence}, which no live worker draws from: they hold permits for nothing"
    return warn(Area.LEDGER, "limits", sentence, remedy=f"celery -A app worker -Q {shlex.quote(each.queue)}")


def _found(sentence: str, age: timedelta, remedy: str) -> Finding:
    sentence = f"{sentence} ({length(max(age, timedelta()))})"
    if age > _LONG:
        return warn(Area.LEDGER, "pauses", sentence, remedy=remedy)
    return ok(Area.LEDGER, "pauses", sentence)
