"""A paused queue or task: its jobs are held in the ledger, and all of them go on when it is resumed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection
from sqlalchemy import event, make_url, update

from celeriac.broker.message import Message, parse
from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import health, job_rows, queue_counts
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import dispatch, held, lost_messages, pause_rows, worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes import cancel, claims, purge, quarantine, replay
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.worker.counters import Meter
from celeriac.worker.duties.holder import Holder
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.pauses import Pauses
from celeriac.worker.watermarks import Watermarks
from tests.new_jobs import new_job

QUEUE, TASK = PauseKind.QUEUE, PauseKind.TASK
WORKER = UUID(new_id())
ME = WorkerStart(
    id=WORKER, hostname="celery@here", pid=1, pool="threads", concurrency=9, queues=[], tasks="", version="0"
)
_channel: Any = Connection("memory://").channel()


@dataclass
class Ledger:
    database: Database

    def row(self, *, sent: bool = False, queue: str = "low", task: str = "mail.send", **values: Any) -> UUID:
        """A job that waits and is due; its message was sent or not."""
        job = new_job(job_type=task, queue=queue, headers={"task": task})
        job.headers["id"] = str(job.id)
        with self.database.transaction() as connection:
            enqueue(connection, [job if sent else job.unsent()])
            if values:
                connection.execute(update(JOBS).where(JOBS.c.id == job.id).values(values))
        return job.id

    def pause(self, kind: PauseKind, name: str) -> None:
        self.do(lambda c: pause_rows.pause(c, kind, [name], who="ann", reason="smtp is down"))

    def resume(self, kind: PauseKind, name: str) -> None:
        self.do(lambda c: pause_rows.resume(c, kind, [name]))

    def do(self, work: Callable[[Any], Any]) -> Any:
        with self.database.transaction() as connection:
            return work(connection)

    def found(self, job: UUID) -> Any:
        found = self.do(lambda c: job_rows.find(c, job))
        assert found is not None
        return found

    def dispatch(self) -> tuple[set[UUID], int]:
        """What a look of the dispatcher sends, and how many rows it holds."""
        found, put_away = self.do(lambda c: dispatch.take_or_hold(c, 10, limit=100))
        return {message.id for message in found}, put_away


@dataclass
class Gate:
    """A worker's turn, with what it handed over and what it dropped."""

    ledger: Ledger
    won: list[Any] = field(default_factory=list)
    dropped: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pauses = Pauses(self.ledger.database)
        self.ledger.do(lambda c: worker_rows.sign_on(c, ME))
        self._turn = Turn(
            self.ledger.database,
            worker=WORKER,
            book=ClaimBook(),
            tasks={"mail.send", "mail.other"},
            max_tries=1,
            watermarks=Watermarks(0.0),
            callbacks=TurnCallbacks(
                hand_over=self.won.extend,
                drop=self.dropped.extend,
                fetch_results=lambda _: {},
                on_change=lambda: None,
            ),
            meter=Meter(),
            pauses=self.pauses,
        )

    def arrive(self, *jobs: UUID, queue: str = "low", task: str = "mail.send", foreign: bool = False) -> None:
        """Deliveries from ``queue``, taken in one turn."""
        self.take([self.message(job, queue=queue, task=task, foreign=foreign) for job in jobs])

    def take(self, messages: list[Any]) -> None:
        self._turn.take(TurnInput(arrived=messages), claim_limit=10)

    def message(
        self, job: UUID, *, queue: str = "low", task: str = "mail.send", foreign: bool = False
    ) -> Message:
        """The first message of a row as its producer sends it; or a plain producer's, without a stamp."""
        row = self.ledger.do(lambda c: job_rows.find(c, job))
        stamp = {} if foreign else {STAMP: {"dispatch": 1, "tag": row.message_tag}}
        return _message(queue, {"id": str(job), "task": task} | stamp)

    @property
    def started(self) -> list[UUID]:
        return [UUID(message.headers["id"]) for message in self.won]


def _message(queue: str, headers: dict[str, Any]) -> Message:
    raw = {
        "body": base64.b64encode(b"[[], {}, {}]").decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {"body_encoding": "base64", "delivery_tag": new_id(), "delivery_info": {}},
    }
    return Message(parse(json.dumps(raw).encode(), queue), channel=_channel)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with closing(Database(make_url(database_url), pool=2)) as database:
        yield Ledger(database)


@pytest.fixture
def gate(ledger: Ledger) -> Gate:
    return Gate(ledger)


# ---- the dispatcher


def test_the_dispatcher_holds_what_is_paused_and_sends_the_rest(ledger: Ledger) -> None:
    paused, other, of_task = (
        ledger.row(),
        ledger.row(queue="high"),
        ledger.row(queue="high", task="mail.other"),
    )
    ledger.pause(QUEUE, "low")
    ledger.pause(TASK, "mail.other")
    assert ledger.dispatch() == ({other}, 2)
    assert (ledger.found(paused).held, ledger.found(of_task).held) == ("queue:low", "task:mail.other")
    assert ledger.found(paused).dispatched is None
    assert ledger.found(paused).dispatch_count == 0


def test_a_held_row_is_not_met_again(ledger: Ledger) -> None:
    ledger.row()
    ledger.pause(QUEUE, "low")
    assert ledger.dispatch() == (set(), 1)
    assert ledger.dispatch() == (set(), 0)
    assert ledger.do(dispatch.levels) == []
    assert ledger.do(lambda c: dispatch.take_due(c, 10, limit=9)) == []


def test_an_expired_job_is_sent_to_be_cancelled(ledger: Ledger) -> None:
    expired = ledger.row(expires=datetime.now(UTC) - timedelta(minutes=1))
    ledger.pause(QUEUE, "low")
    assert ledger.dispatch() == ({expired}, 0)


def test_a_job_that_is_not_due_is_not_held(ledger: Ledger, gate: Gate) -> None:
    later = ledger.row(next_attempt_after=datetime.now(UTC) + timedelta(hours=1))
    ledger.pause(QUEUE, "low")
    assert ledger.dispatch() == (set(), 0)
    gate.arrive(later)
    assert (ledger.found(later).held, gate.started) == (None, [])


# ---- the gate


def test_a_delivery_of_a_paused_queue_is_put_away(ledger: Ledger, gate: Gate) -> None:
    ledger.pause(QUEUE, "low")
    paused, other = ledger.row(sent=True), ledger.row(sent=True, queue="high")
    gate.arrive(paused)
    gate.arrive(other, queue="high")
    row = ledger.found(paused)
    assert (row.state, row.held, row.dispatched, row.try_count) == (JobState.PENDING, "queue:low", None, 0)
    assert (gate.started, len(gate.dropped)) == ([other], 1)


def test_what_comes_with_it_is_claimed_in_the_same_turn(ledger: Ledger, gate: Gate) -> None:
    ledger.pause(TASK, "mail.other")
    jobs = [ledger.row(sent=True), ledger.row(sent=True, task="mail.other")]
    gate.take([gate.message(jobs[0]), gate.message(jobs[1], task="mail.other")])
    assert gate.started == jobs[:1]
    assert ledger.found(jobs[1]).held == "task:mail.other"


def test_a_plain_producers_message_is_adopted_and_held(ledger: Ledger, gate: Gate) -> None:
    ledger.pause(QUEUE, "low")
    job = UUID(new_id())
    gate.arrive(job, foreign=True)
    assert (ledger.found(job).held, gate.started, len(gate.dropped)) == ("queue:low", [], 1)


def test_a_stale_copy_of_a_held_job_does_not_start_it(ledger: Ledger, gate: Gate) -> None:
    ledger.pause(QUEUE, "low")
    job = ledger.row(sent=True)
    for _ in range(2):
        gate.arrive(job)
    assert (ledger.found(job).state, ledger.found(job).held, gate.started) == ("pending", "queue:low", [])


def test_a_copy_from_another_queue_does_not_start_it(ledger: Ledger, gate: Gate) -> None:
    """The job was moved since: its row says where it waits."""
    ledger.pause(QUEUE, "low")
    job = ledger.row(sent=True, dispatch_count=2)
    gate.arrive(job, queue="high")
    row = ledger.found(job)
    assert (row.state, row.try_count, gate.started, len(gate.dropped)) == ("pending", 0, [], 1)
    assert ledger.dispatch() == (set(), 1)


def test_a_worker_that_has_not_heard_of_the_resume_holds_nothing(ledger: Ledger, gate: Gate) -> None:
    ledger.pause(QUEUE, "low")
    gate.pauses.look()
    ledger.resume(QUEUE, "low")
    job = ledger.row(sent=True)
    gate.arrive(job)
    assert gate.started == [job]


def test_the_first_turn_of_a_worker_knows_what_is_paused(ledger: Ledger) -> None:
    ledger.pause(QUEUE, "low")
    job = ledger.row(sent=True)
    fresh = Gate(ledger)
    fresh.arrive(job)
    assert fresh.started == []


def test_without_a_pause_a_turn_asks_nothing_more(ledger: Ledger, gate: Gate) -> None:
    gate.pauses.look()
    job = ledger.row(sent=True)
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        asked.append(statement)

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    gate.arrive(job)
    assert gate.started == [job]
    assert not [statement for statement in asked if "background_pauses" in statement]


# ---- resume


def test_resuming_gives_back_what_waits_for_nothing_else(ledger: Ledger, gate: Gate) -> None:
    both, one = ledger.row(task="mail.other"), ledger.row()
    ledger.pause(QUEUE, "low")
    ledger.pause(TASK, "mail.other")
    assert ledger.dispatch() == (set(), 2)
    ledger.resume(QUEUE, "low")
    poked: list[int] = []
    holder = Holder(ledger.database, gate.pauses, on_change=lambda: poked.append(1))
    assert holder.run() is None
    assert (ledger.found(one).held, ledger.found(both).held, poked) == (None, None, [1])
    assert ledger.dispatch() == ({one}, 1)
    assert ledger.found(both).held == "task:mail.other"
    assert (holder.run(), poked) == (None, [1])


def test_many_are_given_back_in_batches(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from celeriac.worker.duties import holder

    monkeypatch.setattr(holder, "BATCH", 2)
    monkeypatch.setattr(holder, "_LONGEST", 0.0)
    jobs = {ledger.row() for _ in range(5)}
    ledger.pause(QUEUE, "low")
    ledger.dispatch()
    ledger.resume(QUEUE, "low")
    duty = Holder(ledger.database, Pauses(ledger.database), on_change=lambda: None)
    assert [duty.run() for _ in range(4)] == [0.0, 0.0, None, None]
    assert ledger.dispatch() == (jobs, 0)


def test_a_row_that_is_held_for_another_reason_is_left(ledger: Ledger, gate: Gate) -> None:
    job = ledger.row(held="limit:smtp")
    Holder(ledger.database, gate.pauses, on_change=lambda: None).run()
    assert ledger.found(job).held == "limit:smtp"


# ---- other keepers, other writes


def test_a_held_job_is_never_lost(ledger: Ledger) -> None:
    """Its mark was cleared while its queue was paused: it is held, and not found as lost again."""
    ledger.row(sent=True, dispatched=datetime.now(UTC) - timedelta(hours=1))
    ledger.pause(QUEUE, "low")

    def clear() -> int:
        return int(ledger.do(lambda c: lost_messages.clear_dispatch_marks(c, {"low": None}, grace=10)))

    assert (clear(), ledger.dispatch()) == (1, (set(), 1))
    assert (clear(), ledger.dispatch()) == (0, (set(), 0))


def test_who_knows_its_task_does_not_collect_it(ledger: Ledger) -> None:
    job = ledger.row(unknown_since=datetime.now(UTC))
    ledger.pause(QUEUE, "low")

    def collect() -> Sequence[Any]:
        found: Sequence[Any] = ledger.do(
            lambda c: quarantine.collect(c, tasks=["mail.send"], queues=["low"], limit=9)
        )
        return found

    ledger.dispatch()
    assert collect() == []
    ledger.do(lambda c: held.give_back(c, "queue:low", limit=9))
    assert [message.id for message in collect()] == [job]


def test_a_job_that_ends_is_not_held(ledger: Ledger) -> None:
    jobs = [ledger.row() for _ in range(3)]
    ledger.pause(QUEUE, "low")
    ledger.dispatch()
    ledger.do(lambda c: cancel.cancel(c, [jobs[0]]))
    ledger.do(
        lambda c: c.execute(
            update(JOBS).where(JOBS.c.id == jobs[1]).values(expires=datetime.now(UTC) - timedelta(1))
        )
    )
    ledger.do(lambda c: claims.expire(c, [jobs[1]]))
    ledger.do(lambda c: purge.purge(c, "low", before=datetime.now(UTC), limit=9))
    rows = [ledger.found(job) for job in jobs]
    assert [(row.state, row.held) for row in rows] == [("cancelled", None)] * 3
    ledger.do(lambda c: replay.replay(c, [jobs[0]]))
    assert ledger.dispatch() == (set(), 1)


def test_a_claim_of_an_old_worker_leaves_nothing_held(ledger: Ledger) -> None:
    job = ledger.row()
    ledger.pause(QUEUE, "low")
    ledger.dispatch()
    assert set(ledger.do(lambda c: claims.claim(c, [job], worker=WORKER))) == {job}
    assert ledger.found(job).held is None


def test_held_jobs_are_counted_apart(ledger: Ledger) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    ledger.row(next_attempt_after=hour)
    ledger.pause(QUEUE, "low")
    ledger.dispatch()
    (depth,) = ledger.do(queue_counts.depths)
    assert (depth.held, depth.due, depth.later, depth.parked, depth.oldest) == (1, 0, 0, 0, None)
    assert ledger.do(lambda c: health.unsent(c, since=timedelta(minutes=1))) == 0
    assert ledger.do(health.oldest_due) is None


def test_a_pause_keeps_who_was_first(ledger: Ledger) -> None:
    ledger.pause(QUEUE, "low")
    again = ledger.do(lambda c: pause_rows.pause(c, QUEUE, ["low", "high"], who="bob", reason=None))
    assert again == ["high"]
    found = {row.name: (row.who, row.reason) for row in ledger.do(pause_rows.rows)}
    assert found == {"low": ("ann", "smtp is down"), "high": ("bob", None)}
    assert ledger.do(lambda c: pause_rows.resume(c, QUEUE, ["low", "normal"])) == ["low"]
