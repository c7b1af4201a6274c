"""A small ledger in which there is a job in every state, for tests of what people are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert

from celeriac import Celeriac
from celeriac.ids import new_id
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKER_TASKS, WORKERS
from celeriac.ledger.upkeep.roll_up import roll_up

SECOND = timedelta(seconds=1)
WORKER = UUID("0192d3a4-0000-7000-8000-00000000000a")
NASTY = "boom\x1b[2J\r\nforged line [red]\u202e"


def before(seconds: float) -> datetime:
    """So many seconds ago."""
    return datetime.now(UTC) - seconds * SECOND


def job(**values: Any) -> dict[str, Any]:
    """A row: completed, unless ``values`` say more."""
    queued = values.get("queued", before(60))
    given = {
        "id": UUID(new_id()),
        "job_type": "mail.send",
        "queue": "normal",
        "priority": 10,
        "payload": b'[["you@example.org"], {"password": "hunter2"}, {}]',
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {},
        "user_id": "u1",
        "schedule": None,
        "queued": queued,
        "next_attempt_after": queued,
        "dispatched": queued,
        "dispatch_count": 1,
        "started": queued + SECOND,
        "finished": queued + 3 * SECOND,
        "state": "completed",
        "try_count": 1,
        "max_tries": 5,
        "worker_id": None,
        "last_worker_id": WORKER,
        "cancel_requested": None,
        "group_id": None,
        "expires": None,
        "unknown_since": None,
        "result": '"sent"',
        "failure_info": None,
    }
    return given | values


def pending(**values: Any) -> dict[str, Any]:
    unrun = {"started": None, "finished": None, "try_count": 0, "result": None, "last_worker_id": None}
    return job(**({"state": "pending"} | unrun | values))


def running(**values: Any) -> dict[str, Any]:
    return job(**({"state": "running", "finished": None, "worker_id": WORKER, "result": None} | values))


def failed(**values: Any) -> dict[str, Any]:
    given = {"state": "failed", "result": None, "failure_info": f"KeyError: {NASTY}"}
    return job(**(given | values))


def failure(of: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The last attempt of a job that failed."""
    given = {
        "job_id": of["id"],
        "attempt": of["try_count"],
        "worker_id": WORKER,
        "started": of["started"],
        "finished": of["started"] + SECOND,
        "kind": "error",
        "exception_type": "KeyError",
        "exception": NASTY,
        "frame": "mail.py:send",
        "traceback": f'Traceback (most recent call last):\n  File "mail.py", in send\nKeyError: {NASTY}',
    }
    return given | values


def worker(**values: Any) -> dict[str, Any]:
    """A worker that lives."""
    given = {
        "id": WORKER,
        "hostname": "celery@one",
        "pid": 7,
        "pool": "prefork",
        "concurrency": 2,
        "queues": ["critical", "high", "normal", "low"],
        "tasks": "",
        "version": "0.1.0",
        "code_version": "v7",
        "started": before(60),
        "heartbeat": before(0),
        "stopped": None,
    }
    return given | values


def sign_on(connection: Connection) -> None:
    """A worker that knows the jobs' task."""
    made = worker()
    connection.execute(insert(WORKERS), [made])
    connection.execute(insert(WORKER_TASKS), [{"tasks": made["tasks"], "name": "mail.send"}])


def rolled_up(app: Celeriac) -> None:
    """Count what ended, as a keeper does, until nothing is left."""
    due_in = 0.0
    while not due_in:
        with app.database.transaction() as connection:
            due_in = roll_up(connection).due_in


class Stock:
    """One job of every sort, written to a ledger; the attributes are their rows."""

    def __init__(self) -> None:
        self.completed = job(queued=before(900))
        self.running = running(queued=before(800), queue="high", priority=20)
        self.failed = failed(queued=before(700), schedule="nightly")
        self.waiting = pending(queued=before(600), user_id="u2")
        self.later = pending(
            queued=before(500),
            state="error",
            try_count=1,
            dispatched=None,
            next_attempt_after=before(-3600),
            failure_info="OSError: 100%_away",
        )
        self.parked = pending(queued=before(400), dispatched=None, next_attempt_after=PARKED)
        self.cancelled = job(queued=before(30), state="cancelled", job_type=NASTY, result=None)
        self.jobs = [value for value in vars(self).values() if isinstance(value, dict)]

    def write(self, connection: Connection) -> None:
        sign_on(connection)
        connection.execute(insert(JOBS), self.jobs)
        connection.execute(insert(FAILURES), [failure(self.failed)])


def filled(app: Celeriac) -> Stock:
    """What is now in the ledger of ``app``."""
    made = Stock()
    with app.database.transaction() as connection:
        made.write(connection)
    return made
