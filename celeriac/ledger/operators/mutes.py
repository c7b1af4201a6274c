"""The rows of muted groups of dead letters: who muted which, since when, until when and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, or_, select

from celeriac.ledger.schema.columns import after, insert_of, now
from celeriac.ledger.schema.operator_tables import MUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """A muted group of dead letters."""

    key: str  # of the group
    since: datetime
    until: datetime | None  # None: it does not end by itself at a time
    who: str
    reason: str | None
    size: int  # dead letters that the group had then


def put(
    connection: Connection, key: str, *, lasts: float | None, who: str, reason: str | None, size: int
) -> None:
    """Mute a group anew, whether it is muted or not; those that have ended go.

    Args:
        lasts: seconds; None: it has no end.
    """
    connection.execute(delete(MUTES).where(MUTES.c.until <= now()))
    insert = insert_of(connection.dialect.name)
    until = None if lasts is None else after(lasts)
    values = {"since": now(), "until": until, "who": who, "reason": reason, "size": size}
    made = insert(MUTES).values(key=key, **values)
    connection.execute(made.on_conflict_do_update(index_elements=["key"], set_=values))


def remove(connection: Connection, key: str) -> bool:
    """End a mute; False: there is none, or it has ended by itself."""
    gone = (
        delete(MUTES).where(MUTES.c.key == key).returning(or_(MUTES.c.until.is_(None), MUTES.c.until > now()))
    )
    return bool(connection.execute(gone).scalar_one_or_none())


def rows(connection: Connection) -> list[Mute]:
    """Every mute whose time has not ended, the newest first."""
    c = MUTES.c
    columns = (c.key, c.since, c.until, c.who, c.reason, c.size)
    going = or_(c.until.is_(None), c.until > now())
    found = connection.execute(select(*columns).where(going).order_by(c.since.desc(), c.key))
    return [Mute(**row._mapping) for row in found]
