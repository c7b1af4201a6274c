"""The rows of alerts: what is wrong and was told, and whose turn it is to look."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from celeriac.ledger.schema.columns import after, insert_of, now
from celeriac.ledger.schema.operator_tables import ALERTS

#: The row that says when somebody looked last. No alert's key is without a colon.
TURN = "turn"


def take_turn(connection: Connection, *, seconds: float) -> bool:
    """Whether it is this process's turn to look: nobody has begun within so many seconds."""
    mine = update(ALERTS).where(ALERTS.c.key == TURN, ALERTS.c.seen <= after(-seconds)).values(seen=now())
    if connection.execute(mine).rowcount:
        return True
    first = {"key": TURN, "kind": TURN, "sentence": "", "path": "", "size": 0}
    return put(connection, first)


def put(connection: Connection, values: dict[str, Any]) -> bool:
    """Write a new alert, as told now. False: it is there already.

    Args:
        values: key, kind, sentence, path, size.
    """
    insert = insert_of(connection.dialect.name)
    statement = insert(ALERTS).values(since=now(), seen=now(), told=now(), **values)
    made = statement.on_conflict_do_nothing().returning(ALERTS.c.key)
    return connection.execute(made).first() is not None


def listing(connection: Connection) -> Sequence[Row[Any]]:
    """Every alert, the newest first."""
    chosen = select(ALERTS).where(ALERTS.c.kind != TURN)
    return connection.execute(chosen.order_by(ALERTS.c.since.desc(), ALERTS.c.key)).all()


def grow(connection: Connection, key: str, *, size: int, from_size: int, sentence: str) -> bool:
    """Note that it was told again because it grew. False: another process did."""
    guard = (ALERTS.c.key == key, ALERTS.c.size == from_size)
    values = {"size": size, "sentence": sentence, "told": now(), "seen": now()}
    return bool(connection.execute(update(ALERTS).where(*guard).values(values)).rowcount)


def still(connection: Connection, keys: Collection[str]) -> None:
    """Note that these are still so."""
    if keys:
        connection.execute(update(ALERTS).where(ALERTS.c.key.in_(sorted(keys))).values(seen=now()))


def end(connection: Connection, key: str, *, unseen: float) -> bool:
    """Delete what was not seen for so many seconds. False: it was, or another process was first."""
    gone = delete(ALERTS).where(ALERTS.c.key == key, ALERTS.c.seen <= after(-unseen))
    return bool(connection.execute(gone).rowcount)
