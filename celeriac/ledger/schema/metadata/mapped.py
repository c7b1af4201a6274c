"""The jobs' rows as classes of SQLAlchemy's ORM, for sessions. The platform itself builds on the tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, and_
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase

from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS, METADATA
from celeriac.ledger.schema.state_conditions import is_in


class Base(DeclarativeBase):
    metadata = METADATA


class BackgroundJob(Base):
    """One request to run a task; the columns are those of ``models.JOBS``."""

    __table__: ClassVar[Any] = JOBS

    def __repr__(self) -> str:
        """Which job and its state. It loads no column, and shows no argument: that could be a secret."""
        known = vars(self)
        tries = f"{known.get('try_count', 0)} of {known.get('max_tries', '?')} tries"
        return f"<BackgroundJob {known.get('id')} {known.get('job_type')} {known.get('state')}, {tries}>"

    @hybrid_property
    def ready_for_retry(self) -> bool:
        """Whether an attempt failed and the next one is due."""
        row: Any = self
        return bool(row.state == JobState.ERROR and row.next_attempt_after <= datetime.now(UTC))

    @ready_for_retry.inplace.expression
    @classmethod
    def _ready_for_retry(cls) -> ColumnElement[bool]:
        return and_(is_in(JobState.ERROR), JOBS.c.next_attempt_after <= now())


class FailedAttempt(Base):
    """An attempt that was not successful; the columns are those of ``models.FAILURES``."""

    __table__: ClassVar[Any] = FAILURES
