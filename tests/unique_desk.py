"""A producer with unique tasks, and what workers do with their jobs: for tests of keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import redis
from celery import Celery, current_app
from sqlalchemy import Engine, func, select, text

from celeriac import Unique, dead_letters, jobs
from celeriac.application import Celeriac
from celeriac.broker.message import Message
from celeriac.ids import new_uuid
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.ledger.writes.replay import replay_free
from celeriac.operate.job import Job, job
from celeriac.settings.platform import Settings
from celeriac.testing.drain import Drain, _Channel
from celeriac.testing.kit import NoBroker
from celeriac.worker.gate.turn_input import TurnInput
from tests.apps import build
from tests.support import wait_until

ME = new_uuid()


class Desk:
    """A producer with unique tasks, and what workers do with their jobs."""

    def __init__(self, app: Celeriac) -> None:
        self.app = app
        self.database = app.database
        self.calls: list[tuple[str, Any]] = []

        def add(name: str, unique: Unique, **options: Any) -> Any:
            @app.task(name=name, unique=unique, shared=False, **{"max_tries": 1, **options})
            def run(order: int = 0, note: str = "") -> list[Any]:
                self.calls.append((name, (order, note)))
                if note == "fail":
                    raise ValueError("on purpose")
                return [order, note]

            return run

        by_order = {"args": ("order",)}
        self.active = add("active", Unique(**by_order))
        self.waiting = add("waiting", Unique(**by_order, while_="waiting"))
        self.hourly = add("hourly", Unique(**by_order, while_=timedelta(hours=1)))
        self.strict = add("strict", Unique(**by_order, on_conflict="reject"))
        self.latest = add("latest", Unique(**by_order, on_conflict="replace"))

        @app.task(name="total", shared=False)
        def total(parts: list[Any]) -> int:
            return sum(part[0] for part in parts)

        @app.task(name="plain", shared=False)
        def plain(value: Any = None) -> Any:
            return value

        self.total, self.plain = total, plain

    def claim(self, id: str) -> int:
        with self.database.transaction() as connection:
            return claims.claim(connection, [UUID(id)], worker=ME)[UUID(id)].attempt

    def end(self, id: str, state: JobState, *, attempt: int = 1, **more: Any) -> None:
        with self.database.transaction() as connection:
            done = Outcome(id=UUID(id), attempt=attempt, state=state, **more)
            assert outcomes.record(connection, [done], worker=ME)

    def job(self, id: str) -> Job:
        return job(id, app=self.app)

    def jobs(self, task: str | None = None) -> list[Job]:
        return jobs(task=task, app=self.app)

    def dead_letter(self, order: int) -> str:
        made: str = self.active.delay(order).id
        self.claim(made)
        self.end(made, JobState.FAILED)
        return made

    def replay(self, *ids: str) -> tuple[set[str], dict[str, str | None]]:
        with self.database.transaction() as connection:
            found = replay_free(connection, [UUID(id) for id in ids])
        return {str(id) for id in found.jobs}, {str(id): why.holder for id, why in found.kept_back.items()}

    def replayed_by_cause(self, task: str) -> int:
        return dead_letters.replay(dead_letters.Cause(task=task), app=self.app)

    def messages(self) -> list[dict[str, Any]]:
        """What lies in the broker; nothing does any more then."""
        with closing(redis.Redis.from_url(self.app.settings.broker)) as client:
            lists = [name for name in ("normal", "celery") if client.exists(name)]
            found = [json.loads(text) for name in lists for text in client.lrange(name, 0, -1)]
            client.flushdb()
        return found

    def deliver(self, message: dict[str, Any]) -> None:
        """As a worker does that draws it."""
        before = current_app._get_current_object()
        self.app.set_current()
        try:
            Worker(self.app).draw(message)
        finally:
            before.set_current()

    def deliver_foreign(self, task: str, *args: Any) -> str:
        """A message of a producer that does not know the ledger, drawn by a worker; its id."""
        with closing(Celery("plain", broker=self.app.settings.broker, set_as_current=False)) as plain:
            id = str(plain.send_task(task, args).id)
        (message,) = self.messages()
        self.deliver(message)
        return id

    def count(self) -> int:
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).select_from(JOBS)).scalar_one()

    def drain(self) -> set[str]:
        before = current_app._get_current_object()
        self.app.set_current()  # as it is in a worker
        try:
            return Drain(self.app).run(limit=100)
        finally:
            before.set_current()

    def wait_for_a_lock(self) -> None:
        """Until a connection to the database waits for a transaction of another one."""
        waits = "wait_event_type = 'Lock' AND datname = current_database()"
        asked = text(f"SELECT count(*) FROM pg_stat_activity WHERE {waits}")
        with self.database.reading() as connection:
            wait_until(lambda: connection.execute(asked).scalar_one() > 0, within=10, saying="somebody waits")

    def follows(self, id: str) -> str | None:
        with self.database.reading() as connection:
            found = connection.execute(select(JOBS.c.follows).where(JOBS.c.id == UUID(id))).scalar_one()
        return None if found is None else str(found)


@contextmanager
def disposing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


class Worker(Drain):
    """A worker that draws one message."""

    def draw(self, message: dict[str, Any]) -> None:
        self._app.ledger_thread = self
        try:
            self._sign_on()
            self._turn.take(TurnInput(arrived=[Message(message, channel=_Channel())]), claim_limit=1)
            self._turn.take(TurnInput(reports=self._reports), claim_limit=0)
        finally:
            self._app.ledger_thread = None


def app_of(broker: str, database: str, *, patience: float = 30) -> Celeriac:
    """With more time to enqueue than even a busy machine takes."""
    settings = Settings(database_url=database, broker_url=broker, enqueue_timeout=patience)
    made = build(settings, set_as_current=False)
    made.broker_state = NoBroker()  # whoever drains finds what is due in the ledger
    return made
