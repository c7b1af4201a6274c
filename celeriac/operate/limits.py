"""Limits as operators see and change them: what is in use, what waits; set, pause, resume.

What an operator sets holds in place of the code's value, without a deploy, until it is taken back.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from celeriac.application import current_app
from celeriac.display import stamp
from celeriac.errors import BadArgument
from celeriac.ledger.limits import breakers, fair, in_use, limit_rows, lines, ordering
from celeriac.ledger.limits.limit_rows import KnownLimit
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.limits.breaker import BreakerState
from celeriac.limits.limit import ORDERED
from celeriac.limits.order import HOLD
from celeriac.limits.permits import is_order, limit_of
from celeriac.limits.rate import Rate
from celeriac.names import NAME_LENGTH
from celeriac.operate import actions
from celeriac.operate.actions import Actor

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from celeriac.application import Celeriac

#: Waiting jobs that are counted.
MOST = 10_000

_LARGEST = 1_000_000
_KEYS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitUse:
    """One key of a limit; of a limit without keys there is one."""

    permit: str
    running: int  # the weight of the jobs that run
    on_their_way: int  # and of those that are on their way to a worker
    waiting: int  # jobs, of the first 10,000 that wait for any limit


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatus:
    """A limit, as it is now."""

    name: str
    concurrency: int | None  # what holds; None: any number
    rate: str | None
    on_failure: str | None  # of an order: hold or step aside; None: it is a limit
    by_code: bool  # whether that is what the code says
    code_concurrency: int | None
    code_rate: str | None
    set_by: str | None
    paused: datetime | None
    paused_by: str | None
    pause_reason: str | None
    breaker: BreakerState | None  # what its circuit breaker is; None: it has none
    breaker_since: datetime | None  # None: it was never anything but closed
    breaker_why: str | None  # why it opened; None: it is closed, or somebody said so
    breaker_set_by: str | None  # who said what it is, whatever fails; None: it judges
    keys: tuple[PermitUse, ...]  # the busiest first, at most 50

    @property
    def running(self) -> int:
        return sum(key.running for key in self.keys)

    @property
    def on_their_way(self) -> int:
        return sum(key.on_their_way for key in self.keys)

    @property
    def waiting(self) -> int:
        return sum(key.waiting for key in self.keys)


def limits(*, app: Celeriac | None = None) -> list[LimitStatus]:
    """All limits, by name."""
    with current_app(app).database.reading() as connection:
        known = limit_rows.read(connection)
        used = in_use.by_permit(connection) if known else {}
        waits = in_use.waiting(connection, most=MOST) if known else {}
    return [_status(limit, used, waits) for limit in known.values()]


def limit(name: str, *, app: Celeriac | None = None) -> LimitStatus:
    """One limit.

    Raises:
        BadArgument: no worker has said that there is one of this name.
    """
    found = {each.name: each for each in limits(app=app)}
    if name not in found:
        raise _unknown(name, list(found))
    return found[name]


def set_limit(
    name: str,
    *,
    actor: Actor,
    concurrency: int | None = None,
    rate: str | None = None,
    reason: str | None = None,
    app: Celeriac | None = None,
) -> None:
    """Let other values hold in place of the code's; None leaves one as it is.

    Raises:
        BadArgument: there is no such limit, or the value can be none.
    """
    if concurrency is None and rate is None:
        raise BadArgument("limit", "wanted a concurrency or a rate")
    if concurrency is not None and not 1 <= concurrency <= _LARGEST:
        raise BadArgument("concurrency", f"wanted a whole number from 1 on, found {concurrency}; see pause")
    if rate is not None:
        Rate.parse(rate)
    if name.startswith(ORDERED):
        raise BadArgument("limit", f"{name!r} is an order: one at a time, whatever is set; see pause")
    values: dict[str, Any] = {"set_by": actor.who[:NAME_LENGTH]}
    values |= {} if concurrency is None else {"set_concurrency": concurrency}
    values |= {} if rate is None else {"set_rate": rate}
    given = {"concurrency": concurrency, "rate": rate}
    said = ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
    _change(
        name,
        lambda connection, _: limit_rows.change(connection, name, **values),
        action="limit set",
        subject=f"{name}: {said}",
        actor=actor,
        reason=reason,
        app=app,
    )


def unset_limit(name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None) -> None:
    """Let the code's values hold again.

    Raises:
        BadArgument: there is no such limit.
    """
    nothing: dict[str, Any] = {"set_concurrency": None, "set_rate": None, "set_by": None}
    _change(
        name,
        lambda connection, _: limit_rows.change(connection, name, **nothing),
        action="limit unset",
        subject=name,
        actor=actor,
        reason=reason,
        app=app,
    )


def pause_limit(name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None) -> bool:
    """Admit no job of the limit until it is resumed; False: it is paused already. What runs goes on.

    Raises:
        BadArgument: there is no such limit.
    """
    who = actor.who[:NAME_LENGTH]
    return _change(
        name,
        lambda connection, said: limit_rows.pause(connection, name, who=who, reason=said),
        action="limit pause",
        subject=name,
        actor=actor,
        reason=reason,
        app=app,
    )


def resume_limit(name: str, *, actor: Actor, reason: str | None = None, app: Celeriac | None = None) -> bool:
    """Admit jobs of the limit again; False: it was not paused.

    Raises:
        BadArgument: there is no such limit.
    """
    return _change(
        name,
        lambda connection, _: limit_rows.resume(connection, name),
        action="limit resume",
        subject=name,
        actor=actor,
        reason=reason,
        app=app,
    )


def switch_breaker(
    name: str,
    to: BreakerState | None,
    *,
    actor: Actor,
    reason: str | None = None,
    app: Celeriac | None = None,
) -> None:
    """Let the circuit breaker of a limit be open or closed, whatever fails; None: let it judge again.

    Raises:
        BadArgument: there is no such limit, or it has no breaker.
    """
    if to is BreakerState.HALF_OPEN:
        raise BadArgument("breaker", "wanted open, closed or auto, found half-open")

    def write(connection: Connection, _: str | None) -> bool:
        if limit_rows.read(connection)[name].breaker is None:
            raise BadArgument("breaker", f"the limit {name!r} has none; see pause")
        who = None if to is None else actor.who[:NAME_LENGTH]
        return breakers.switch(connection, name, to, who=who)

    _change(
        name,
        write,
        action="limit breaker",
        subject=f"{name}: {to or 'auto'}",
        actor=actor,
        reason=reason,
        app=app,
    )


def breaker_words(found: LimitStatus) -> str:
    """What its breaker is, and why; empty where it has none."""
    if found.breaker is None:
        return ""
    since = f" since {stamp(found.breaker_since)}" if found.breaker_since else ""
    if found.breaker_set_by is not None:
        return f"breaker {found.breaker} by {found.breaker_set_by}{since}"
    why = f": {found.breaker_why}" if found.breaker_why else ""
    return f"breaker {found.breaker}{since}{why}"


def reason_to_wait(connection: Connection, row: Any) -> tuple[str, str | None]:
    """Why a job waits in its line, as a sentence, and the command that helps."""
    if row.fair_key is not None:
        ahead = fair.before(connection, row, most=MOST)
        number = f"{ahead:,}" if ahead < MOST else f"more than {MOST:,}"
        whose = f"those of {row.fair_key!r}" if row.fair_key else "those of nobody"
        return (
            f"it waits for its turn in the fair queue {row.queue!r}, among {whose}; {number} go before it",
            None,
        )
    known = limit_rows.read(connection)
    permits = [name for name in (row.permit_1, row.permit_2, row.permit_3) if name]
    for name in permits:
        found = known.get(limit_of(name))
        if found is None:
            return f"no worker that was started knows the limit {limit_of(name)!r}", None
        if found.paused is not None:
            why = f": {found.pause_reason}" if found.pause_reason else ""
            text = f"the limit {found.name} was paused by {found.paused_by} at {stamp(found.paused)}{why}"
            return text, f"celery -A app limits resume {shlex.quote(found.name)}"
        if found.is_open or found.is_half_open:
            text = breaker_words(_status(found, {}, {}))
            text = f"the limit {found.name} has its {text}; few of its jobs are tried after a rest"
            return text, f"celery -A app limits breaker {shlex.quote(found.name)} closed"
    if row.ordered and (turn := _turn_of(connection, row, known[limit_of(permits[0])])) is not None:
        return turn
    ahead = in_use.before(connection, row, most=MOST)
    place = f"{ahead + 1:,}. in line" if ahead < MOST else f"behind more than {MOST:,} others in line"
    used = in_use.count(connection, permits)
    for name in permits:
        holds = known[limit_of(name)].holds
        if holds is not None and used[name] >= holds:
            return f"it waits for the limit {_shown(name)}: {used[name]} of {holds} in use; {place}", None
    return f"it waits for the limit {_shown(permits[0])} to let it go; {place}", None


def _turn_of(connection: Connection, row: Any, order: KnownLimit) -> tuple[str, str | None] | None:
    """Why a job of an order is not the next; None: it is, and waits for something else."""
    ahead, first = ordering.before(connection, row, most=MOST)
    if first is None:
        return None
    number = f"{ahead:,}" if ahead < MOST else f"more than {MOST:,}"
    text = f"it waits for its turn in {_shown(row.permit_1)}: {number} before it, the first is {first.id}"
    if first.state == JobState.ERROR and order.on_failure == HOLD:
        again = f"is tried again at {stamp(first.next_attempt_after)}"
        return f"{text}, which {again}: {first.failure_info}", f"celery -A app jobs show {first.id}"
    return text, None


def _shown(permit: str) -> str:
    return permit.removesuffix(":") if not is_order(permit) else permit.removeprefix(ORDERED)


def _change(
    name: str,
    write: Callable[[Connection, str | None], bool],
    *,
    action: str,
    subject: str,
    actor: Actor,
    reason: str | None,
    app: Celeriac | None,
) -> bool:
    said = actions.checked_reason(reason)

    def changed(connection: Connection) -> bool:
        known = limit_rows.read(connection)
        if name not in known:
            raise _unknown(name, list(known))
        if not write(connection, said):
            return False
        lines.wake_all(connection, name)
        actions.record(
            action, who=actor.who, via=actor.via, subject=subject, reason=said, done=0, connection=connection
        )
        return True

    return current_app(app).database.again(changed)


def _status(known: KnownLimit, used: dict[str, tuple[int, int]], waits: dict[str, int]) -> LimitStatus:
    names = {name for name in (*used, *waits) if limit_of(name) == known.name}
    keys = [
        PermitUse(
            permit=name,
            running=used.get(name, (0, 0))[0],
            on_their_way=used.get(name, (0, 0))[1],
            waiting=waits.get(name, 0),
        )
        for name in sorted(names)
    ]
    busiest = sorted(keys, key=lambda key: (-key.waiting, -key.running, key.permit))[:_KEYS]
    return LimitStatus(
        name=known.name,
        concurrency=known.holds,
        rate=known.rate if known.set_rate is None else known.set_rate,
        on_failure=known.on_failure,
        by_code=known.set_concurrency is None and known.set_rate is None,
        code_concurrency=known.concurrency,
        code_rate=known.rate,
        set_by=known.set_by,
        paused=known.paused,
        paused_by=known.paused_by,
        pause_reason=known.pause_reason,
        breaker=known.breaker_is,
        breaker_since=known.breaker_since,
        breaker_why=known.breaker_why if known.breaker_set is None else None,
        breaker_set_by=known.breaker_set_by,
        keys=tuple(busiest),
    )


def _unknown(name: str, known: list[str]) -> BadArgument:
    there = f"known: {', '.join(known)}" if known else "there is none; a worker writes them at its start"
    return BadArgument("limit", f"nobody knows a limit {name!r}: {there}")
