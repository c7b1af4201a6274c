"""A whole platform to be broken: servers of its own, workers, a producer. With its default settings."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import redis
from sqlalchemy import make_url, select
from sqlalchemy.exc import SQLAlchemyError

import tests.jobs  # noqa: F401  # the producer knows the tasks, too
from celeriac.application import Celeriac
from celeriac.ledger.connection.database import Database
from celeriac.ledger.migrate import upgrade
from celeriac.ledger.schema.models import WORKERS
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.servers import PgBouncerServer, PostgresServer, ValkeyServer
from tests.support import wait_until
from tests.workers import Worker, environment

_numbers = itertools.count(1)


class House:
    """A broker, a ledger, and what runs on them.

    Args:
        postgres: None for a ledger in an SQLite file.
        bouncer: what stands between the database and everybody else.
        settings: see ``tests.workers.environment``; for workers and producers.
    """

    def __init__(
        self,
        broker: ValkeyServer,
        postgres: PostgresServer | None,
        directory: Path,
        *,
        settings: Mapping[str, object] | None = None,
        pool: str = "burst",
        concurrency: int = 2,
        bouncer: PgBouncerServer | None = None,
    ) -> None:
        self.broker = broker
        self._postgres = postgres
        self._bouncer = bouncer
        self.directory = directory
        self.settings = dict(settings or {})
        self.pool = pool
        self.concurrency = concurrency
        self.workers: list[Worker] = []
        self._stack = ExitStack()

    @property
    def postgres(self) -> PostgresServer:
        assert self._postgres is not None, "this house keeps its ledger in SQLite"
        return self._postgres

    def __enter__(self) -> Self:
        self.mend()
        with self.broker.client() as client:
            client.flushall()
        direct = self._new_database()
        self.url = self._bouncer.url(str(make_url(direct).database)) if self._bouncer else direct
        upgrade(direct)
        self.app = self.producer()
        # Its own, so that what is read does not depend on what the producer has been through.
        self.database = Database(make_url(direct), pool=2)
        self._stack.callback(self.database.close)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.mend()
        self._stack.close()

    def mend(self) -> None:
        """Thaw and start the servers, where a drill left them otherwise."""
        for server in (self.broker, self._postgres):
            if server is not None:
                server.thaw()
                if not server.running:
                    server.restart()

    def producer(self) -> Celeriac:
        """A producer in this process."""
        known: dict[str, Any] = {"broker_url": self.broker.url(), "database_url": self.url}
        known["prepared_statements"] = self._bouncer is None
        app = build(Settings(task_modules=("tests.jobs",), **known), set_as_current=False)
        self._stack.callback(app.close)
        self._stack.callback(app.database.close)
        return app

    def environment(self) -> dict[str, str]:
        """Of a process that shall speak to this house."""
        return environment(self.broker.url(), self.url, self.settings)

    def man(self, count: int, **options: Any) -> list[Worker]:
        """Have ``count`` workers that are ready; the oldest first."""
        self.workers = [worker for worker in self.workers if worker.running]
        new = [self._worker(**options) for _ in range(count - len(self.workers))]
        self.workers += new
        for worker in new:
            worker.ready(within=60)
        return self.workers[:count]

    def hire(self, **options: Any) -> Worker:
        """One more worker; not waited for."""
        worker = self._worker(**options)
        self.workers.append(worker)
        return worker

    def worker_id(self, worker: Worker) -> UUID:
        """Under which id the ledger knows the start of a worker."""
        query = (
            select(WORKERS.c.id).where(WORKERS.c.hostname == worker.node).order_by(WORKERS.c.started.desc())
        )
        with self.database.reading() as connection:
            return UUID(str(connection.execute(query).scalars().first()))

    def declared_dead(self) -> list[str]:
        """Node names of the workers that are written off, or have signed off."""
        query = select(WORKERS.c.hostname).where(WORKERS.c.stopped.is_not(None))
        with self.database.reading() as connection:
            return list(connection.execute(query).scalars())

    def queued(self) -> int:
        """How many messages lie in the broker; -1 when it does not answer."""
        try:
            with self.broker.client(timeout=1) as client:
                return sum(int(client.llen(queue)) for queue in ("critical", "high", "normal", "low"))
        except redis.RedisError:
            return -1

    def _worker(self, **options: Any) -> Worker:
        given = {"pool": self.pool, "concurrency": self.concurrency, "settings": self.settings} | options
        return self._stack.enter_context(Worker(self.broker.url(), self.url, **given))

    def _new_database(self) -> str:
        if self._postgres is None:
            return f"sqlite:///{self.directory / f'ledger-{next(_numbers)}.db'}"
        return self._postgres.create_database(f"ledger_{next(_numbers)}")


def reachable(database: Database) -> bool:
    """Whether the database answers a question."""
    try:
        with database.reading() as connection:
            connection.exec_driver_sql("SELECT 1")
        return True
    except SQLAlchemyError:
        return False


def until_reachable(database: Database, *, within: float = 30) -> None:
    wait_until(lambda: reachable(database), within=within, saying="the database answers")
