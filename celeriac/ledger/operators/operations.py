"""Actions on many jobs: the row says which jobs, how far it is and who carries it out.

A batch moves the row in the transaction of its jobs, so that nothing is done twice. A process that is silent
for long has died, and another takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Update, and_, bindparam, case, insert, null, or_, select, update

from celeriac.ledger.schema.columns import Seconds, after, evaluated_once, now
from celeriac.ledger.schema.operator_tables import ACTIONS

_C = ACTIONS.c
_OPEN = and_(_C.ended.is_(None), _C.parameters.is_not(None))


def begin(connection: Connection, values: Mapping[str, Any]) -> None:
    """Write an action that is to be carried out.

    Args:
        values: id, who, via, action, subject, parameters, reason, counted, runner.
    """
    connection.execute(insert(ACTIONS).values({**values, "began": now(), "touched": now()}))


def take(connection: Connection, runner: UUID, *, silent: float, but: str) -> UUID | None:
    """Take over one action that nobody carries out; None when there is none.

    Args:
        silent: seconds after which a runner is gone.
        but: leave out actions that came from there: they end with their process.
    """
    found = {"by": runner, "silent": -silent, "but": but}
    return connection.execute(_take(), found).scalar_one_or_none()


def is_waiting(connection: Connection, *, silent: float) -> bool:
    """Whether an action is there that nobody carries out. It takes no lock."""
    chosen = select(_C.id).where(_OPEN, _is_left()).limit(1)
    return connection.execute(chosen, {"silent": -silent}).first() is not None


def end_left(connection: Connection, *, via: str, silent: float, error: str) -> int:
    """End actions that came from ``via`` and whose process has been silent; return how many."""
    left = update(ACTIONS).where(_OPEN, _C.via == via, _is_left()).values(ended=now(), error=error)
    return connection.execute(left, {"silent": -silent}).rowcount


def lock(connection: Connection, id: UUID, runner: UUID) -> Row[Any] | None:
    """The action, locked until the transaction ends; None: it has ended, or another carries it out."""
    mine = select(ACTIONS).where(_C.id == id, _C.runner == runner, _OPEN)
    return connection.execute(mine.with_for_update()).one_or_none()


def advance(
    connection: Connection, id: UUID, *, position: str | None, done: int, parameters: Mapping[str, Any]
) -> None:
    """Note how far it is; in the transaction of the batch.

    Args:
        done: jobs of this batch.
    """
    values = {"position": position, "done": _C.done + done, "parameters": parameters, "touched": now()}
    connection.execute(update(ACTIONS).where(_C.id == id).values(values))


def touch(connection: Connection, id: UUID, runner: UUID) -> bool:
    """Say that it is still carried out; False: it has ended, is to stop, or another carries it out."""
    mine = and_(_C.id == id, _C.runner == runner, _OPEN, _C.stopped_by.is_(None))
    return bool(connection.execute(update(ACTIONS).where(mine).values(touched=now())).rowcount)


def end(connection: Connection, id: UUID, *, error: str | None = None, stopped_by: str | None = None) -> None:
    """End it.

    Args:
        error: why it ended early.
        stopped_by: who or what stopped it; it keeps who did before.
    """
    values: dict[str, Any] = {"ended": now(), "touched": now(), "error": error}
    if stopped_by is not None:
        values["stopped_by"] = stopped_by
    connection.execute(update(ACTIONS).where(_C.id == id, _C.ended.is_(None)).values(values))


def release(connection: Connection, id: UUID, runner: UUID) -> None:
    """Leave it to another process, at once."""
    mine = and_(_C.id == id, _C.runner == runner, _OPEN)
    connection.execute(update(ACTIONS).where(mine).values(runner=null()))


def stop(connection: Connection, id: UUID, *, who: str) -> bool:
    """Have it stopped after the batch that it is at; False: it has ended, or is being stopped.

    One that nobody carries out now ends here.
    """
    going = and_(_C.id == id, _OPEN, _C.stopped_by.is_(None))
    values = {"stopped_by": who, "ended": case((_C.runner.is_(None), now()))}
    return bool(connection.execute(update(ACTIONS).where(going).values(values)).rowcount)


def _is_left() -> Any:
    cutoff = evaluated_once(after(bindparam("silent", type_=Seconds)))
    return or_(_C.runner.is_(None), _C.touched < cutoff)


@lru_cache
def _take() -> Update:
    left = select(_C.id).where(_OPEN, _is_left(), _C.via != bindparam("but"))
    chosen = left.order_by(_C.began).limit(1).with_for_update(skip_locked=True).scalar_subquery()
    return (
        update(ACTIONS)
        .where(_C.id == chosen)
        .values(runner=bindparam("by", type_=_C.runner.type), touched=now())
        .returning(_C.id)
    )
