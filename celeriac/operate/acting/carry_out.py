"""Carry out an action on many jobs, in batches; each moves the action's row in the transaction of its jobs.

So a process that takes it over goes on behind the last batch, and no job is met twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celeriac.display import safe
from celeriac.errors import LedgerUnfit
from celeriac.ids import new_uuid
from celeriac.ledger.connection.database import UNREACHABLE
from celeriac.ledger.operators import actions
from celeriac.ledger.operators import operations as ledger
from celeriac.ledger.operators.replayed_jobs import verdicts
from celeriac.operate.acting.acts import Batch
from celeriac.operate.acting.canary import Watch, decide
from celeriac.operate.acting.operations import Operation, Plan, begin, operation_of
from celeriac.operate.actions import Actor, Via

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from celeriac.application import Celeriac

_TOUCH_EVERY = 2.0
_RETRY = 1.0  # seconds before the database is tried again
_BATCH = 200
_PER_BATCH = 0.5  # seconds: with a rate, about so much of the work is one batch
_WATCH_EVERY = 0.5  # seconds between two looks at the jobs of a canary
_LAST_LOOKS = 60.0  # seconds for which a canary watches its last jobs


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of one batch.

    Attributes:
        over: nothing more is to be done here.
        total: jobs that the action has met, all together.
        rest: seconds to wait before the next batch.
        idle: nothing is left but to watch.
    """

    over: bool
    total: int = 0
    rest: float = 0.0
    idle: bool = False


def carry_out(
    app: Celeriac,
    id: UUID,
    runner: UUID,
    *,
    stopping: threading.Event,
    patient: bool = True,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Carry out the action until it has ended, another takes it, or ``stopping`` is set.

    Returns:
        how many jobs it has met.

    Args:
        patient: wait for a database that does not answer, instead of raising.
        progress: called after each batch with the number of jobs so far.

    Raises:
        Exception: what a batch raised; the action has ended with it.
    """
    total, idle_since = 0, None
    while not stopping.is_set():
        last = idle_since is not None and time.monotonic() - idle_since > _LAST_LOOKS
        began = time.monotonic()
        turn = _tried(app, id, runner, last=last, patient=patient)
        if turn is None:
            stopping.wait(_RETRY)
            continue
        total = max(total, turn.total)
        if progress:
            progress(total)
        if turn.over:
            return total
        idle_since = (idle_since or time.monotonic()) if turn.idle else None
        _rest(app, id, runner, turn.rest - (time.monotonic() - began), stopping)
    return total


def run_here(
    app: Celeriac,
    plan: Plan,
    *,
    by: Actor,
    counted: int,
    reason: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[int, str | None]:
    """Carry out an action in this process, as a command does; it ends with the process.

    Returns:
        how many jobs it met, and why it ended early; None: it did not.
    """
    runner = new_uuid()
    id = UUID(begin(plan, by=by, counted=counted, reason=reason, runner=runner, app=app))
    try:
        done = carry_out(app, id, runner, stopping=threading.Event(), patient=False, progress=progress)
    except KeyboardInterrupt:
        app.database.again(lambda connection: ledger.end(connection, id, stopped_by=by.who))
        raise
    with app.database.reading() as connection:
        row = actions.find(connection, id)
    return done, None if row is None else row.error


def _tried(app: Celeriac, id: UUID, runner: UUID, *, last: bool, patient: bool) -> Turn | None:
    """One batch; None: the database does not answer."""
    try:
        return app.database.again(lambda connection: _batch(connection, app, id, runner, last=last))
    except UNREACHABLE as exc:
        if isinstance(exc, LedgerUnfit) or not patient:
            raise
        return None
    except Exception as exc:  # its row says why it ended, whatever it was
        sentence = safe(str(getattr(exc, "orig", None) or exc).partition("\n")[0], length=300)
        app.database.again(lambda connection: ledger.end(connection, id, error=sentence))
        raise


def _batch(connection: Connection, app: Celeriac, id: UUID, runner: UUID, *, last: bool) -> Turn:
    row = ledger.lock(connection, id, runner)
    if row is None:
        return Turn(over=True)
    if row.stopped_by is not None:
        ledger.end(connection, id)
        return Turn(over=True, total=row.done)
    one = operation_of(row)
    limit, watch = _size(one), one.canary
    if watch is not None:
        step = decide(watch.seen(verdicts(connection, watch.open)), batch=limit)
        watch, limit = step.watch, step.limit
        if step.stop is not None:
            _note(connection, row, one, watch, met=0, position=one.position)
            ledger.end(connection, id, error=step.stop, stopped_by="the canary")
            return Turn(over=True, total=row.done)
    if not limit:
        _note(connection, row, one, watch, met=0, position=one.position)
        return Turn(over=False, total=row.done, rest=_WATCH_EVERY)
    ids, position = one.selection.next_ids(connection, one.act.find, position=one.position, limit=limit)
    if position is None and watch is not None and not last and (watch.open or watch.phase == "first"):
        # all were replayed: how they end decides whether it went well
        _note(connection, row, one, _without_more(watch), met=0, position=one.position)
        return Turn(over=False, total=row.done, rest=_WATCH_EVERY, idle=True)
    if position is None:
        _note(connection, row, one, watch, met=0, position=one.position)
        ledger.end(connection, id)
        return Turn(over=True, total=row.done)
    by = Actor(row.who, Via(row.via))
    batch = Batch(app=app, ids=ids, wanted=one.selection.wanted, options=one.options, by=by)
    met = one.act.do(connection, batch)
    _note(connection, row, one, watch.after(ids) if watch else None, met=met, position=position)
    rest = met / one.rate if one.rate else _WATCH_EVERY / 5 if watch else 0.0
    return Turn(over=False, total=row.done + met, rest=rest)


def _without_more(watch: Watch) -> Watch:
    """The canary of a group that is no larger than what goes first."""
    return Watch.of(watch.plain() | {"first": watch.begun}) if watch.phase == "first" else watch


def _size(one: Operation) -> int:
    """How many jobs a batch has."""
    return _BATCH if one.rate is None else min(_BATCH, max(1, round(one.rate * _PER_BATCH)))


def _note(
    connection: Connection,
    row: Row[Any],
    one: Operation,
    watch: Watch | None,
    *,
    met: int,
    position: str | None,
) -> None:
    parameters = dict(row.parameters)
    if watch is not None:
        parameters["canary"] = watch.plain()
    ledger.advance(connection, UUID(one.action.id), position=position, done=met, parameters=parameters)


def _rest(app: Celeriac, id: UUID, runner: UUID, seconds: float, stopping: threading.Event) -> None:
    """Wait, and say meanwhile that it goes on; a stop ends the wait."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not stopping.wait(min(left, _TOUCH_EVERY)):
        if ends - time.monotonic() > 0 and not _touched(app, id, runner):
            return


def _touched(app: Celeriac, id: UUID, runner: UUID) -> bool:
    try:
        return app.database.again(lambda connection: ledger.touch(connection, id, runner))
    except UNREACHABLE:
        return True
