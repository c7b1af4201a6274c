"""The database's clock, by which all moments are told apart."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, cast, select

from celeriac.ledger.schema.columns import Instant, now


def clock(connection: Connection) -> datetime:
    """The moment that it is now."""
    moment: datetime = connection.execute(select(cast(now(), Instant))).scalar_one()
    return moment
