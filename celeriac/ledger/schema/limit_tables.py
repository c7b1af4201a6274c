"""The tables of flow control: limits, the permits' keys, and the lines in which jobs wait for permits.

Whether a job holds its permits is no table's: it does while it is dispatched and not finished. What is in use
is counted in the jobs' rows, through an index. Nobody but keepers writes permits' keys and lines.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast
from uuid import UUID

from sqlalchemy import BigInteger, Index, String, Table, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from celeriac.ledger.schema.models import Base
from celeriac.names import NAME_LENGTH


class LimitRow(Base):
    """A limit: what the code says, and what an operator says instead."""

    __tablename__ = "background_limits"

    # set by workers that start, from their tasks
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    concurrency: Mapped[int | None]  # null: any number
    rate: Mapped[str | None] = mapped_column(String(32))  # as "100/m"; null: any number
    burst: Mapped[int | None]  # null: that of the rate
    on_failure: Mapped[str | None] = mapped_column(String(16))  # of an order; null: it is none
    declared: Mapped[datetime]  # when a worker wrote that
    declared_by: Mapped[str | None] = mapped_column(String(64))  # its version of the code; null: not said

    # set by operators; null: what the code says
    set_concurrency: Mapped[int | None]
    set_rate: Mapped[str | None] = mapped_column(String(32))
    set_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    paused: Mapped[datetime | None]  # since when no job is admitted; null: it is not paused
    paused_by: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    pause_reason: Mapped[str | None] = mapped_column(Text)

    # moved by the worker that looks for new jobs of limits, in the first row
    looker: Mapped[UUID | None]
    looks_until: Mapped[datetime | None]  # another may take over then


class PermitKey(Base):
    """One permit name, such as ``tenant:42``: the row that admission locks."""

    __tablename__ = "background_permit_keys"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    next_start: Mapped[datetime | None]  # of a rate, if starts were evenly spaced; null: none was yet
    rests_until: Mapped[datetime | None]  # a task asked that nothing starts before; null: nobody has
    touched: Mapped[datetime]  # when it was last written


class Line(Base):
    """Jobs that take the same permits wait in one line."""

    __tablename__ = "background_lines"

    id: Mapped[UUID] = mapped_column(primary_key=True)  # made from the names of the permits
    permit_1: Mapped[str] = mapped_column(String(NAME_LENGTH))
    permit_2: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    permit_3: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    due: Mapped[datetime | None]  # when to look at it again; null: nothing waits, or it is blocked
    blocked_on: Mapped[str | None] = mapped_column(String(NAME_LENGTH))  # the permit that is used up
    turn: Mapped[int] = mapped_column(BigInteger)  # lines of the same level go in this order
    touched: Mapped[datetime]

    __table_args__ = (
        Index(
            "background_lines_due",
            "due",
            postgresql_where=text("due IS NOT NULL"),
            sqlite_where=text("due IS NOT NULL"),
        ),
        Index(
            "background_lines_blocked",
            "blocked_on",
            "turn",
            postgresql_where=text("blocked_on IS NOT NULL"),
            sqlite_where=text("blocked_on IS NOT NULL"),
        ),
    )


class UniqueKey(Base):
    """A unique key that is held for a time, whatever becomes of its job. Producers write it."""

    __tablename__ = "background_unique_keys"

    key: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    job: Mapped[UUID]  # whose it is
    until: Mapped[datetime]

    __table_args__ = (Index("background_unique_keys_until", "until"),)


UNIQUE_KEYS = cast(Table, UniqueKey.__table__)
LIMITS = cast(Table, LimitRow.__table__)
PERMIT_KEYS = cast(Table, PermitKey.__table__)
LINES = cast(Table, Line.__table__)
