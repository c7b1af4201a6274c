"""A small model of the ledger, and the ledger beside it through any sequence of what is done to it.

P3: at most one attempt holds a job, and a late outcome is refused. P4: an attempt that never started
is not counted, and no job has more tries than it was given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, make_url, select, update

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.columns import after, now
from celeriac.ledger.schema.lifecycle import ENTERED_FROM, TERMINAL, WAITING, AttemptKind, JobState
from celeriac.ledger.schema.metadata.mapped import BackgroundJob, FailedAttempt
from celeriac.ledger.upkeep import dispatch
from celeriac.ledger.writes import cancel, claims, outcomes
from celeriac.ledger.writes.new_jobs import enqueue
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.replay import replay
from tests.integration.test_ledger import HOUR, new_job

#: Sequences of forty steps on SQLite; a seventh of them on PostgreSQL. `make chaos` tries more.
EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "50"))

WORKERS = (UUID(int=1), UUID(int=2))
PENDING, RUNNING, COMPLETED = JobState.PENDING, JobState.RUNNING, JobState.COMPLETED
ERROR, FAILED, CANCELLED = JobState.ERROR, JobState.FAILED, JobState.CANCELLED

_table = BackgroundJob.__table__
_attempts = FailedAttempt.__table__


@dataclass(frozen=True)
class Model:
    """What is believed of a job."""

    tries: int  # that it was given
    state: JobState = PENDING
    due: bool = True
    sent: bool = True
    attempt: int = 0  # the last that started
    before: int = 0  # attempts before its last replay
    holder: UUID | None = None
    cancel: bool = False
    failures: frozenset[int] = frozenset()

    @property
    def tries_left(self) -> int:
        return self.tries - (self.attempt - self.before)

    def waits(self) -> bool:
        return self.state in WAITING


@dataclass(frozen=True)
class Ticket:
    """An attempt that somebody won, and may believe to hold for ever."""

    job: UUID
    attempt: int
    worker: UUID

    def holds(self, model: Model) -> bool:
        return (model.state, model.attempt, model.holder) == (RUNNING, self.attempt, self.worker)


class LedgerMachine(RuleBasedStateMachine):
    """Runs inside of one transaction, which is given up at its end."""

    jobs = Bundle("jobs")
    tickets = Bundle("tickets")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.models: dict[UUID, Model] = {}
        self._transaction = _given_up(database)
        self.connection = self._transaction.__enter__()

    def teardown(self) -> None:
        self._transaction.__exit__(None, None, None)

    def any_in(self, states: Set[JobState]) -> bool:
        return any(model.state in states for model in self.models.values())

    def believe(self, job: UUID, **changes: object) -> None:
        self.models[job] = replace(self.models[job], **changes)  # type: ignore[arg-type]

    # ---- what is done

    @initialize(target=jobs)
    def begin(self) -> object:
        return multiple(*(self._enqueue(tries, send=True) for tries in (2, 3)))

    @precondition(lambda self: len(self.models) < 4)  # few jobs meet often
    @rule(target=jobs, tries=st.integers(1, 3), send=st.booleans())
    def enqueue(self, tries: int, send: bool) -> UUID:
        return self._enqueue(tries, send=send)

    def _enqueue(self, tries: int, *, send: bool) -> UUID:
        job = new_job(max_tries=tries, send=send)
        assert enqueue(self.connection, [job]) == 1
        assert enqueue(self.connection, [replace(job, max_tries=9)]) == 0
        self.models[job.id] = Model(tries, sent=send)
        return job.id

    @precondition(lambda self: self.any_in(WAITING))
    @rule(target=tickets, wanted=st.lists(jobs, min_size=1, max_size=4), worker=st.sampled_from(WORKERS))
    def claim(self, wanted: list[UUID], worker: UUID) -> object:
        won = claims.claim(self.connection, [*wanted, UUID(int=9)], worker=worker)
        expected = {job for job in wanted if self.models[job].waits() and self.models[job].due}
        assert set(won) == expected
        for job, claimed in won.items():
            model = self.models[job]
            assert model.tries_left > 0
            assert claimed.attempt == model.attempt + 1
            assert claimed.tries_before == model.before
            assert claimed.max_tries == model.before + model.tries
            self.believe(job, state=RUNNING, attempt=claimed.attempt, holder=worker, sent=True)
        # In the order of the model: the database's own would make no two runs the same.
        return multiple(*(Ticket(job, won[job].attempt, worker) for job in self.models if job in won))

    @rule(
        ticket=tickets, told=st.sampled_from([ERROR, ERROR, COMPLETED, FAILED, CANCELLED]), soon=st.booleans()
    )
    def record(self, ticket: Ticket, told: JobState, soon: bool) -> None:
        failure = None if told is COMPLETED else Failure(AttemptKind.ERROR, "ValueError", "x")
        outcome = Outcome(
            id=ticket.job, attempt=ticket.attempt, state=told, failure=failure, delay=0.0 if soon else HOUR
        )
        model = self.models[ticket.job]
        expected = {ticket.job: _led_to(told, model)} if ticket.holds(model) else {}
        assert outcomes.record(self.connection, [outcome], worker=ticket.worker) == expected
        if not expected:
            return
        state = expected[ticket.job]
        again = state is ERROR
        self.believe(
            ticket.job,
            state=state,
            holder=None,
            due=soon if again else model.due,
            sent=not again and model.sent,
            cancel=model.cancel and told is not COMPLETED,
            failures=model.failures | ({ticket.attempt} if failure else set()),
        )

    @rule(ticket=tickets, replaced=st.booleans())
    def give_back(self, ticket: Ticket, replaced: bool) -> None:
        """Release, or replace: both are uncounted, and cancel what shall be cancelled."""
        model = self.models[ticket.job]
        state = CANCELLED if model.cancel else PENDING
        if replaced:
            message = new_job(id=ticket.job)
            outcome = Outcome(id=ticket.job, attempt=ticket.attempt, state=PENDING, message=message)
            given = outcomes.record(self.connection, [outcome], worker=ticket.worker)
            assert given == ({ticket.job: state} if ticket.holds(model) else {})
        else:
            held = [(ticket.job, ticket.attempt)]
            given = claims.release(self.connection, held, worker=ticket.worker)
            assert given == ({ticket.job} if ticket.holds(model) else set())
        if ticket.holds(model):
            sent = state is CANCELLED
            self.believe(ticket.job, state=state, holder=None, attempt=model.attempt - 1, due=True, sent=sent)

    @precondition(lambda self: self.any_in({FAILED, CANCELLED}))
    @rule(wanted=st.lists(jobs, min_size=1, max_size=3))
    def replay(self, wanted: list[UUID]) -> None:
        expected = {job for job in wanted if self.models[job].state in (FAILED, CANCELLED)}
        assert replay(self.connection, wanted) == expected
        for job in expected:
            before = self.models[job].attempt
            self.believe(job, state=PENDING, due=True, sent=False, cancel=False, before=before)

    @rule(job=jobs)
    def cancel(self, job: UUID) -> None:
        model = self.models[job]
        answer = cancel.cancel(self.connection, [job])[job]
        if model.waits():
            assert answer is cancel.Answer.CANCELLED
            self.believe(job, state=CANCELLED, sent=True)
        elif model.state is RUNNING:
            assert answer is cancel.Answer.REQUESTED
            self.believe(job, cancel=True)
        else:
            assert answer in (cancel.Answer.FINISHED, cancel.Answer.ALREADY_CANCELLED)

    @precondition(lambda self: self.any_in(WAITING))
    @rule(most=st.integers(1, 3), failed=st.booleans())
    def dispatch(self, most: int, failed: bool) -> None:
        unsent = {job for job, model in self.models.items() if model.waits() and not model.sent and model.due}
        taken = [message.id for message in dispatch.take_due(self.connection, 10, limit=most)]
        assert len(taken) == min(most, len(unsent))
        assert set(taken) <= unsent
        if failed:
            dispatch.unmark(self.connection, [*self.models])
        for job, model in self.models.items():
            self.believe(job, sent=(model.sent or job in taken) and not (failed and model.waits()))

    @precondition(lambda self: self.any_in(WAITING))
    @rule(due=st.booleans())
    def time_passes(self, due: bool) -> None:
        for job, model in self.models.items():
            if model.waits():
                _set(self.connection, job, next_attempt_after=now() if due else after(HOUR))
                self.believe(job, due=due)

    # ---- what always holds

    @invariant()
    def the_ledger_is_as_believed(self) -> None:
        rows = {row.id: row for row in self.connection.execute(select(_table))}
        assert set(rows) == set(self.models)
        for job, model in self.models.items():
            row = rows[job]
            found = (row.state, row.worker_id, row.try_count, row.tries_before, row.dispatched is not None)
            assert found == (model.state, model.holder, model.attempt, model.before, model.sent)
            assert row.max_tries == model.before + model.tries
            assert (row.cancel_requested is not None) == model.cancel

    @invariant()
    def no_job_has_more_tries_than_it_was_given(self) -> None:
        for model in self.models.values():
            assert 0 <= model.attempt - model.before <= model.tries

    @invariant()
    def every_unsuccessful_attempt_is_on_record_once(self) -> None:
        written = [(row.job_id, row.attempt) for row in self.connection.execute(select(_attempts))]
        believed = {(job, attempt) for job, model in self.models.items() for attempt in model.failures}
        assert sorted(written) == sorted(believed)

    @invariant()
    def who_holds_a_job_is_one_worker_while_it_runs(self) -> None:
        for model in self.models.values():
            assert (model.holder is not None) == (model.state is RUNNING)
            assert model.state in TERMINAL | WAITING | {RUNNING}


def _led_to(told: JobState, model: Model) -> JobState:
    if told in (ERROR, FAILED) and model.cancel:
        return CANCELLED
    if told is ERROR and model.tries_left == 0:
        return FAILED
    return told


def _set(connection: Connection, job: UUID, **columns: object) -> None:
    connection.execute(update(_table).where(_table.c.id == job).values(**columns))


class _GivenUp(Exception):
    """Ends a transaction whose work nobody wants."""


@contextmanager
def _given_up(database: Database) -> Iterator[Connection]:
    try:
        with database.transaction() as connection:
            yield connection
            raise _GivenUp
    except _GivenUp:
        return


@pytest.mark.timeout(
    900
)  # it takes seconds, unless it fails: then the shortest way to the failure is looked for
@pytest.mark.parametrize(("name", "examples"), [("sqlite", EXAMPLES), ("postgres", EXAMPLES // 7)])
def test_the_ledger_does_what_the_model_says(
    request: pytest.FixtureRequest, name: str, examples: int
) -> None:
    database = Database(make_url(request.getfixturevalue(f"{name}_url")))
    bounds = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(lambda: LedgerMachine(database), settings=bounds)
    finally:
        database.close()


def test_the_model_knows_the_states_of_the_table() -> None:
    assert set(ENTERED_FROM) == TERMINAL | WAITING | {RUNNING} == set(JobState)
