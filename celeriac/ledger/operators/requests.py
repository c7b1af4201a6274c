"""Requests that may come again: each has a key, and its row keeps the answer for the next time.

They are rows of actions, so that they are pruned with them; the record of what was done is another row.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select, update

from celeriac.ledger.operators.actions import REQUEST
from celeriac.ledger.schema.columns import insert_of, now
from celeriac.ledger.schema.operator_tables import ACTIONS


def begin(connection: Connection, key: str, *, id: UUID, who: str, subject: str, digest: str) -> bool:
    """Write that the request has begun. False: it has before."""
    insert = insert_of(connection.dialect.name)
    values = {"id": id, "who": who, "via": "api", "action": REQUEST, "subject": subject, "request_key": key}
    moments = {"began": now(), "touched": now(), "ended": now()}  # nothing of it is to be carried on
    statement = insert(ACTIONS).values(**values, **moments, parameters={"digest": digest})
    made = statement.on_conflict_do_nothing().returning(ACTIONS.c.id)
    return connection.execute(made).first() is not None


def find(connection: Connection, key: str) -> dict[str, Any] | None:
    """The digest of what was asked, and ``status`` and ``answer`` if it has ended; None: it has not begun."""
    found = connection.execute(select(ACTIONS.c.parameters).where(ACTIONS.c.request_key == key)).first()
    return None if found is None else dict(found.parameters or {})


def keep(connection: Connection, key: str, answer: dict[str, Any]) -> None:
    """Keep the answer for the next time."""
    kept = update(ACTIONS).where(ACTIONS.c.request_key == key).values(parameters=answer, touched=now())
    connection.execute(kept)


def forget(connection: Connection, key: str) -> None:
    """Forget a request that was refused: the same one may come again and be right."""
    connection.execute(delete(ACTIONS).where(ACTIONS.c.request_key == key))
