"""Run what is due in this process, as a worker does: dispatch, claim, attempt, outcome."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery.concurrency.solo import TaskPool
from sqlalchemy import Connection

from celeriac.broker import wire
from celeriac.broker.message import Message
from celeriac.ids import new_uuid
from celeriac.ledger.limits import admission, limit_rows, lines
from celeriac.ledger.upkeep import dispatch, worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.claims import Message as Row
from celeriac.ledger.writes.outcomes import Outcome
from celeriac.limits.fairness import Windows
from celeriac.limits.limit import Limit, of_tasks
from celeriac.task.task_classes import request_class
from celeriac.worker.attempt_report import AttemptReport
from celeriac.worker.counters import Meter
from celeriac.worker.followers import Followers
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.pool.request import JobRequest
from celeriac.worker.watermarks import Watermarks

if TYPE_CHECKING:
    from celeriac.application import Celeriac


#: Jobs of a fair queue that may be on their way: here one is at a time.
_ROOM = 1_000

#: Lines, or permits, that one look takes in.
_LOOKED_AT = 1_000


class Drain:
    """A worker of one test: one job at a time, in the caller's thread."""

    def __init__(self, app: Celeriac) -> None:
        self._app = app
        self._worker = new_uuid()
        self._book = ClaimBook()
        self._reports: list[AttemptReport] = []
        self._ended: set[str] = set()
        self._limits: dict[str, Limit] = {}
        self._followers = Followers(app.database)
        self._pool = TaskPool(1, app=app)
        self._pool.start()
        self._turn = Turn(
            app.database,
            worker=self._worker,
            book=self._book,
            tasks=app.tasks,
            max_tries=app.settings.max_tries,
            declared=app.tasks,
            watermarks=Watermarks(0),
            callbacks=TurnCallbacks(
                hand_over=self._attempt,
                drop=_nothing,
                fetch_results=app.backend.stored_results if app.settings.keeps_results else None,
                on_change=lambda: None,
            ),
            meter=Meter(),
        )

    def run(self, *, limit: int) -> set[str]:
        """Run jobs until none is due; return the ids of all that were attempted.

        Raises:
            RuntimeError: more than ``limit`` attempts were made.
        """
        own, self._app.ledger_thread = getattr(self._app, "ledger_thread", None), self
        try:
            self._sign_on()
            for _ in range(limit):
                message = self._next()
                if message is None:
                    return self._ended
                self._claim(message)
                self._turn.take(TurnInput(reports=self._reports), claim_limit=0)
                self._reports = []
            raise RuntimeError(f"more than {limit} attempts: does a task enqueue itself for ever?")
        finally:
            self._app.ledger_thread = own

    # ---- what a request asks of the ledger thread

    def report(self, outcome: Outcome, request: JobRequest | None = None) -> None:
        self._book.ended(outcome.id)
        self._reports.append(AttemptReport.of(request, outcome))

    def started(self, job: UUID) -> None:
        self._book.started(job)

    # ---- a turn

    def _next(self) -> Message | None:
        """The message of the most important row that is due."""
        self._followers.sweep()
        with self._app.database.transaction() as connection:
            for level in dispatch.levels(connection):
                if level.due_in <= 0:
                    for row in dispatch.take_due(connection, level.priority, limit=1):
                        return Message(json.loads(wire.write(row)), channel=_Channel())
            for row in self._admitted(connection):
                return Message(json.loads(wire.write(row)), channel=_Channel())
        return None

    def _claim(self, message: Message) -> None:
        """Claim a job; one that has missed its start time at the next one."""
        left = self._turn.take(TurnInput(arrived=[message]), claim_limit=1)
        while left.timed:
            time.sleep(max(0.0, (left.next_due() or 0.0) - time.monotonic()))
            left.give_up_timed()
            left = self._turn.take(left, claim_limit=1)

    def _admitted(self, connection: Connection) -> list[Row]:
        """A job whose limits have room."""
        fairness = self._app.settings.fairness
        if not self._limits and not fairness.is_on:
            return []
        lines.find_forgotten(connection, beyond=None, most=_LOOKED_AT)
        blocked = lines.blocked_permits(connection, beyond="", most=_LOOKED_AT)
        lines.wake(
            connection, dict.fromkeys(blocked, _LOOKED_AT)
        )  # for what was given back: nobody else does
        known, windows = limit_rows.read(connection), Windows(otherwise=_ROOM)
        return admission.admit(
            connection, known, most=1, windows=windows, fairness=fairness, ahead=timedelta()
        )

    def _attempt(self, messages: list[Any]) -> None:
        for message in messages:
            task = self._app.tasks[message.headers["task"]]
            kind = request_class(task.Request, JobRequest)
            request = kind(message, app=self._app, task=task, hostname="drain", on_ack=_nothing)
            self._ended.add(request.id)
            request.execute_using_pool(self._pool)

    def _sign_on(self) -> None:
        start = WorkerStart(
            id=self._worker,
            hostname="drain",
            pid=0,
            pool="solo",
            concurrency=1,
            queues=[],
            tasks="",
            version="",
            code_version=self._app.settings.code_version,
        )
        self._limits = of_tasks(self._app.tasks)[0]
        with self._app.database.transaction() as connection:
            worker_rows.sign_on(connection, start)
            limit_rows.declare(connection, self._limits.values())
            for name in self._limits:
                lines.wake_all(connection, name)


class _Channel:
    """Where a message's acknowledgement goes: there is no broker."""

    def basic_ack(self, *_: Any, **__: Any) -> None: ...

    def message_to_python(self, message: Any) -> Any:
        return message

    body_encoding = None

    @staticmethod
    def decode_body(body: str, encoding: str | None = None) -> bytes:
        from base64 import b64decode

        return b64decode(body) if encoding == "base64" else body.encode()


def _nothing(*_: object) -> None: ...
