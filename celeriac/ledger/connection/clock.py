"""Read the database's clock. Every comparison of times uses it, because workers' clocks differ."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, cast, select

from celeriac.ledger.schema.columns import Instant, now


def clock(connection: Connection) -> datetime:
    """The current time of the database."""
    moment: datetime = connection.execute(select(cast(now(), Instant))).scalar_one()
    return moment
