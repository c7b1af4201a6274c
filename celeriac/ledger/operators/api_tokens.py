"""The rows of API tokens: made, found by their digest, marked as used, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, delete, or_, select, update

from celeriac.ledger.schema.columns import after, insert_of, now
from celeriac.ledger.schema.operator_tables import API_TOKENS

_MINUTE = 60.0  # seconds between two marks of use

_SHOWN: tuple[Any, ...] = (
    API_TOKENS.c.name,
    API_TOKENS.c.role,
    API_TOKENS.c.created,
    API_TOKENS.c.created_by,
    API_TOKENS.c.expires,
    API_TOKENS.c.last_used,
    case((API_TOKENS.c.expires <= now(), 1), else_=0).label("expired"),
)


def add(
    connection: Connection, *, name: str, digest: bytes, role: str, created_by: str, lasts: float
) -> bool:
    """Write a token's row. False: another token has the name.

    Args:
        lasts: seconds until it expires.
    """
    insert = insert_of(connection.dialect.name)
    values = {"name": name, "digest": digest, "role": role, "created_by": created_by}
    statement = insert(API_TOKENS).values(created=now(), expires=after(lasts), **values)
    made = statement.on_conflict_do_nothing().returning(API_TOKENS.c.name)
    return connection.execute(made).first() is not None


def find(connection: Connection, digest: bytes) -> Row[Any] | None:
    """The token with this digest, also when it has expired."""
    return connection.execute(select(*_SHOWN).where(API_TOKENS.c.digest == digest)).first()


def listing(connection: Connection) -> Sequence[Row[Any]]:
    """Every token, by name."""
    return connection.execute(select(*_SHOWN).order_by(API_TOKENS.c.name)).all()


def mark_used(connection: Connection, name: str) -> bool:
    """Note that it was used now, unless that was noted within a minute."""
    old = or_(API_TOKENS.c.last_used.is_(None), API_TOKENS.c.last_used <= after(-_MINUTE))
    marked = update(API_TOKENS).where(API_TOKENS.c.name == name, old).values(last_used=now())
    return bool(connection.execute(marked).rowcount)


def remove(connection: Connection, name: str) -> bool:
    """Delete the row. False: there is none."""
    return bool(connection.execute(delete(API_TOKENS).where(API_TOKENS.c.name == name)).rowcount)
