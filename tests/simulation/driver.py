"""The database of the simulation: SQLite on a simulated clock, behind a driver that may fail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, event, make_url

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.metadata import METADATA
from celeriac.ledger.schema.models import WORKERS
from celeriac.ledger.upkeep import pause_rows
from tests.simulation.audit import COLUMNS, Audit

#: Where files are memory: the simulation makes a transaction in most of its steps.
MEMORY = Path("/dev/shm")

#: When the simulated clock begins, in seconds since 1970. Any moment that is not the real one.
BEGIN = 2_000_000_000


class DriverFault(Exception):
    """The connection was lost: the caller does not know what became of its transaction."""


class Clock:
    """Simulated time, in microseconds since 1970; it only moves when it is told to."""

    def __init__(self) -> None:
        self.us = BEGIN * 1_000_000
        self._ahead = 0  # microseconds that the database's clock is ahead

    @property
    def database_us(self) -> int:
        """What the database's clock shows, which may be set."""
        return self.us + self._ahead

    def step(self, seconds: float) -> None:
        self._ahead += int(seconds * 1_000_000)

    @property
    def seconds(self) -> float:
        """The clock that nobody sets."""
        return self.us / 1_000_000 - BEGIN

    def advance(self, seconds: float) -> None:
        self.us += max(0, int(seconds * 1_000_000))


class Driver:
    """Transactions on the real ledger, some of which fail before or after their commit.

    Args:
        faults: the share of transactions that fail, to be changed at will.
    """

    def __init__(self, folder: Path, *, random: Random, clock: Clock, audit: Audit, faults: float) -> None:
        self.faults = faults
        self._random = random
        self._audit = audit
        self._database = Database(make_url(f"sqlite:///{folder / 'ledger.db'}"), pool=1)
        event.listen(
            self._database.engine, "connect", lambda connection, _: _prepare(connection, clock, audit)
        )
        METADATA.create_all(self._database.engine)
        with self._database.statement() as connection:
            for statement in _triggers():
                connection.exec_driver_sql(statement)

    @contextmanager
    def transaction(
        self, actor: UUID | None, doing: str, *, presenting: Mapping[UUID, int] | None = None
    ) -> Iterator[Connection]:
        """One transaction of ``actor``; may raise ``DriverFault`` before, at or after its commit."""
        fails = self._random.random() < self.faults
        when = self._random.choice(("begin", "commit", "answer")) if fails else ""
        if when == "begin":
            raise DriverFault(when)
        self._audit.begin(actor, doing, presenting or {})
        try:
            with self._database.transaction() as connection:
                yield connection
                if when == "commit":
                    raise DriverFault(when)
        except BaseException:
            self._audit.rolled_back()
            raise
        self._audit.committed()
        if when == "answer":
            raise DriverFault(when)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        if self._random.random() < self.faults:
            raise DriverFault("begin")
        with self._database.reading() as connection:
            yield connection

    def forget_worker(self, worker: UUID) -> None:
        with self._database.statement() as connection:
            connection.execute(delete(WORKERS).where(WORKERS.c.id == worker))

    @contextmanager
    def setting(self) -> Iterator[Connection]:
        """A transaction that does not fail: what an operator sets, and the world must know to be so."""
        with self._database.transaction() as connection:
            yield connection

    def pause(self, queue: str) -> None:
        with self._database.statement() as connection:
            pause_rows.pause(connection, PauseKind.QUEUE, [queue], who="ann", reason=None)

    def resume(self, queue: str) -> None:
        with self._database.statement() as connection:
            pause_rows.resume(connection, PauseKind.QUEUE, [queue])

    def table(self) -> set[tuple[Any, ...]]:
        """The rows as they are, to be compared with what the audit saw."""
        with self._database.reading() as connection:
            return {
                tuple(row) for row in connection.exec_driver_sql(f"SELECT {_listed('')} FROM background_jobs")
            }

    def close(self) -> None:
        self._database.close()


def memory() -> str | None:
    """A folder in memory, where there is one."""
    return str(MEMORY) if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None


def _prepare(connection: Any, clock: Clock, audit: Audit) -> None:
    connection.create_function("clock_us", 0, lambda: clock.database_us)
    connection.create_function("witness", -1, audit.witness)
    connection.execute("PRAGMA synchronous=OFF").close()


def _listed(prefix: str) -> str:
    return ", ".join(f"{prefix}{column}" for column in COLUMNS)


def _triggers() -> list[str]:
    """What tells the audit of every row that changes, whichever statement changes it."""
    told = {"INSERT": _listed("new."), "UPDATE": _listed("new."), "DELETE": "old.id"}
    return [
        f"CREATE TEMP TRIGGER witness_{verb} AFTER {verb} ON main.background_jobs "
        f"BEGIN SELECT witness({what}); END"
        for verb, what in told.items()
    ]
