"""The servers for all trials: started once, emptied before each trial."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Self, TypeVar

import psycopg

from benchmarks import witness
from benchmarks.side_list import SIDES, Entry
from tests.processes import scratch
from tests.servers import PostgresServer, ValkeyServer

Size = TypeVar("Size")

_DATABASE, _SECOND = "benchmark", "benchmark_beside"
_NOT_INHERITED = ("CELERY", "CELERIAC", "DATABASE_URL", "PYTHON", "PG")

_SETTINGS = {
    "synchronous_commit": "on",
    # Loaded, and silent until a trial asks for it: see benchmarks/statements.py.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}


class Scale(Enum):
    """How much of everything."""

    QUICK = "quick"  # does it run at all?
    USUAL = "usual"
    LARGE = "large"

    def of(self, sizes: Mapping[Scale, Size]) -> Size:
        """The size for this one; the usual one where there is no other."""
        return sizes.get(self, sizes[Scale.USUAL])


class Stage:
    """A Valkey and a PostgreSQL server of our own; a context manager."""

    def __init__(self, scale: Scale = Scale.USUAL) -> None:
        self.scale = scale
        # Saves nothing, which is the lighter choice for the sides that have nothing but the broker.
        self.valkey = ValkeyServer(persistent=False)
        self.postgres = PostgresServer(durable=True, config=_SETTINGS)
        self._running = ExitStack()

    def cleared(self, entry: Entry) -> dict[str, str]:
        """Forget the last trial, whoever's it was; return the environment of a new one of ``entry``."""
        with self.valkey.client(timeout=60) as client:
            client.flushall()
        for name in (_DATABASE, _SECOND):
            self.postgres.drop_database(name)
        with self.postgres.connect() as connection:
            connection.execute("CHECKPOINT")  # or the last trial's dirty pages are written during this one
        return self._environment(entry, _DATABASE, SIDES.index(entry))

    def beside(self, entry: Entry) -> dict[str, str]:
        """The environment of a second trial on the servers of the current one, with data of its own."""
        return self._environment(entry, _SECOND, len(SIDES))

    def connect(self, *, second: bool = False) -> psycopg.Connection:
        """A connection to the current trial's database, or to the one beside it."""
        return self.postgres.connect(_SECOND if second else _DATABASE)

    @property
    def data(self) -> Path:
        """Where PostgreSQL keeps its data."""
        return self.postgres.home

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.valkey)
            stack.enter_context(self.postgres)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def _environment(self, entry: Entry, database: str, broker: int) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
        environment["CELERY_BROKER_URL"] = self.valkey.url(broker)
        environment[witness.VARIABLE] = str(scratch("witness"))
        if entry.recorded:
            environment["DATABASE_URL"] = self.postgres.create_database(database)
        return environment
