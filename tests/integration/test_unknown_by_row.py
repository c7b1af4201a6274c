"""What a turn believes of a message: whether its task is unknown, how old it is. The row decides."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection
from sqlalchemy import make_url

from celeriac.broker.message import Message, parse
from celeriac.headers import STAMP
from celeriac.ids import new_id
from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import worker_rows
from celeriac.ledger.upkeep.worker_rows import WorkerStart
from celeriac.ledger.writes.new_jobs import NewJob, enqueue
from celeriac.worker.counters import Meter
from celeriac.worker.gate.claim_book import ClaimBook
from celeriac.worker.gate.turn import Turn
from celeriac.worker.gate.turn_callbacks import TurnCallbacks
from celeriac.worker.gate.turn_input import TurnInput
from celeriac.worker.watermarks import Watermarks
from tests.new_jobs import new_job

WORKER = UUID(new_id())
ME = WorkerStart(
    id=WORKER, hostname="celery@here", pid=1, pool="threads", concurrency=9, queues=[], tasks="", version="0"
)
KNOWN, UNKNOWN = "tests.noop", "nobody.knows"


@dataclass
class Gate:
    """A turn, with what it handed over and what it dropped."""

    database: Database
    signs: bool
    won: list[Any] = field(default_factory=list)
    dropped: list[Any] = field(default_factory=list)
    states: dict[UUID, str] = field(default_factory=dict)  # in the result store
    book: ClaimBook = field(default_factory=ClaimBook)
    watermarks: Watermarks = field(default_factory=lambda: Watermarks(0.0))

    def __post_init__(self) -> None:
        with self.database.transaction() as connection:
            worker_rows.sign_on(connection, ME)
        self._turn = Turn(
            self.database,
            worker=WORKER,
            book=self.book,
            tasks={KNOWN},
            max_tries=1,
            watermarks=self.watermarks,
            callbacks=TurnCallbacks(
                hand_over=self.won.extend,
                drop=self.dropped.extend,
                fetch_results=lambda _: {},
                on_change=lambda: None,
                fetch_states=lambda ids: {id: self.states[id] for id in ids if id in self.states},
            ),
            meter=Meter(),
            signs=self.signs,
        )

    def row(self, task: str) -> UUID:
        """A row that waits, and whose message was sent."""
        job: NewJob = new_job(job_type=task, headers={"task": task})
        job.headers["id"] = str(job.id)
        with self.database.transaction() as connection:
            enqueue(connection, [job])
        return job.id

    def arrives(
        self, job: UUID, *, saying: str, given: Mapping[str, Any] | None = None, **stamp: Any
    ) -> None:
        """A delivery of ``job`` that says that its task is ``saying``; foreign without a ``dispatch``."""
        properties = {"body_encoding": "base64", "delivery_tag": new_id(), "delivery_info": {}}
        raw = {
            "body": base64.b64encode(b"[[], {}, {}]").decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": str(job), "task": saying, STAMP: stamp, **(given or {})},
            "properties": properties,
        }
        message = Message(parse(json.dumps(raw).encode(), "normal"), channel=_channel)
        self._turn.take(TurnInput(arrived=[message]), claim_limit=10)

    def found(self, job: UUID) -> Any:
        with self.database.reading() as connection:
            found = job_rows.find(connection, job)
        assert found is not None
        return found


_channel: Any = Connection("memory://").channel()


@pytest.fixture(params=[True, False], ids=["signed", "unsigned"])
def gate(database_url: str, request: pytest.FixtureRequest) -> Iterator[Gate]:
    with closing(Database(make_url(database_url), pool=2)) as database:
        yield Gate(database, signs=request.param)


def test_a_copy_that_names_an_unknown_task_does_not_postpone_its_row(gate: Gate) -> None:
    job = gate.row(KNOWN)
    gate.arrives(job, saying=UNKNOWN, dispatch=1)
    found = gate.found(job)
    assert (found.state, found.failure_info) == (JobState.RUNNING, None)
    (won,) = gate.won  # with the row's own message
    assert won.headers["task"] == KNOWN


def test_a_row_of_an_unknown_task_waits_for_a_worker_that_knows_it(gate: Gate) -> None:
    job = gate.row(UNKNOWN)
    gate.arrives(job, saying=UNKNOWN, dispatch=1)
    assert (gate.found(job).state, gate.won, len(gate.dropped)) == (JobState.PENDING, [], 1)


@pytest.mark.parametrize("gate", [True], ids=["signed"], indirect=True)
def test_a_copy_that_names_a_known_task_does_not_fail_its_row(gate: Gate) -> None:
    """What was won under a false name is given back, uncounted."""
    job = gate.row(UNKNOWN)
    gate.arrives(job, saying=KNOWN, dispatch=1)
    found = gate.found(job)
    assert (found.state, found.try_count, gate.won, len(gate.dropped)) == (JobState.PENDING, 0, [], 1)
    assert job not in gate.book


@pytest.mark.parametrize("gate", [False], ids=["unsigned"], indirect=True)
def test_an_adopted_message_says_nothing_of_those_before_it(gate: Gate) -> None:
    """Its row is dispatched when it is adopted: a backlog behind it would be taken for lost."""
    gate.arrives(UUID(new_id()), saying=KNOWN)
    assert (len(gate.won), gate.watermarks.reached("normal")) == (1, None)
    gate.arrives(gate.row(KNOWN), saying=KNOWN, dispatch=1)
    assert gate.watermarks.reached("normal") is not None


@pytest.mark.parametrize("gate", [False], ids=["unsigned"], indirect=True)
@pytest.mark.parametrize(
    ("state", "given", "runs"),
    [
        ("SUCCESS", {"redelivered": True}, 0),
        ("SUCCESS", {"redelivered": True, "retries": 2}, 0),
        ("RETRY", {"redelivered": True, "retries": 0}, 0),
        ("RETRY", {"redelivered": True, "retries": 1}, 1),  # it may be the state after the first
        ("FAILURE", {"redelivered": True}, 1),
        ("STARTED", {"redelivered": True}, 1),
        (None, {"redelivered": True}, 1),
        ("SUCCESS", {}, 1),
    ],
)
def test_what_a_plain_worker_gave_back_after_it_had_run_does_not_run_again(
    gate: Gate, state: str | None, given: dict[str, Any], runs: int
) -> None:
    job = UUID(new_id())
    gate.states = {} if state is None else {job: state}
    gate.arrives(job, saying=KNOWN, given=given)
    assert (len(gate.won), len(gate.dropped)) == (runs, 1 - runs)
    with gate.database.reading() as connection:
        assert (job_rows.find(connection, job) is not None) == bool(runs)
