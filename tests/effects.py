"""What jobs did in a table of the ledger's own database: a witness inside of their transactions.

The table takes the same job any number of times: that it has each of them once is for the jobs to see to.
"""

from __future__ import annotations

import os
import time

from sqlalchemy import Column, Connection, Engine, Float, Integer, MetaData, String, Table, insert, select
from sqlalchemy.orm import Session

from tests.witness import END, START, Mark, Witness

_EFFECTS = Table(
    "effects",
    MetaData(),
    Column("job_id", String(36)),
    Column("attempt", Integer),
    Column("pid", Integer),
    Column("at", Float),
)


def prepare(connection: Connection) -> None:
    """Make the table."""
    _EFFECTS.create(connection)


def write(session: Session, job: str, attempt: int) -> None:
    """Write one effect, in the transaction of ``session``."""
    row = {"job_id": job, "attempt": attempt, "pid": os.getpid(), "at": time.time()}
    session.execute(insert(_EFFECTS).values(row))


class Effects(Witness):
    """The reader of the table: each effect is a job's start and its end."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(os.devnull)
        self._engine = engine

    def marks(self) -> list[Mark]:
        with self._engine.connect() as connection:
            rows = connection.execute(select(_EFFECTS)).all()
        return [
            Mark(row.job_id, row.attempt, event, row.pid, row.at) for row in rows for event in (START, END)
        ]
