"""Every move from every state: a job moves if and only if ``ENTERED_FROM`` says that it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url

from app.ledger import cancel, claims, dispatch, quarantine
from app.ledger.columns import after, now
from app.ledger.database import Database
from app.ledger.jobs import enqueue, unpark
from app.ledger.lifecycle import ENTERED_FROM, TERMINAL, WAITING, JobState
from app.ledger.replay import replay
from tests.integration.test_ledger import HOUR, WORKER, Ledger, new_job

PENDING, RUNNING, COMPLETED = JobState.PENDING, JobState.RUNNING, JobState.COMPLETED
ERROR, FAILED, CANCELLED = JobState.ERROR, JobState.FAILED, JobState.CANCELLED


@dataclass(frozen=True, kw_only=True)
class Move:
    """One way from state to state.

    Attributes:
        to: the state that it leads to.
        leaves: the states that it may be made from.
        make: makes it, as the worker WORKER of the attempt that the row says.
        given: what has to be so of a row, beside its state, for the move to be possible.
    """

    to: JobState
    leaves: frozenset[JobState]
    make: Callable[[Ledger, UUID], object]
    given: Mapping[str, Any] = field(default_factory=dict)


def record(state: JobState) -> Callable[[Ledger, UUID], object]:
    return lambda ledger, job: ledger.record(job, ledger.row(job).try_count, state)


def release(ledger: Ledger, job: UUID) -> object:
    return ledger.release(job, ledger.row(job).try_count)


def postpone(ledger: Ledger, job: UUID) -> object:
    return ledger.do(quarantine.postpone, [job], delay=0.0, limit=HOUR)


def on_ids(function: Callable[..., Any], **options: Any) -> Callable[[Ledger, UUID], object]:
    return lambda ledger, job: ledger.do(function, [job], **options)


HELD = frozenset({RUNNING})
SENT = {"dispatched": now()}

MOVES: dict[str, Move] = {
    "claim": Move(to=RUNNING, leaves=WAITING, make=on_ids(claims.claim, worker=WORKER)),
    "complete": Move(to=COMPLETED, leaves=HELD, make=record(COMPLETED)),
    "error": Move(to=ERROR, leaves=HELD, make=record(ERROR)),
    "fail": Move(to=FAILED, leaves=HELD, make=record(FAILED)),
    "error on the last try": Move(
        to=FAILED, leaves=HELD, make=record(ERROR), given={"try_count": 5, "max_tries": 5}
    ),
    "end cancelled": Move(to=CANCELLED, leaves=HELD, make=record(CANCELLED)),
    "error of what shall be cancelled": Move(
        to=CANCELLED, leaves=HELD, make=record(ERROR), given={"cancel_requested": "soft"}
    ),
    "replace": Move(to=PENDING, leaves=HELD, make=record(PENDING)),
    "release": Move(to=PENDING, leaves=HELD, make=release),
    "release of what shall be cancelled": Move(
        to=CANCELLED, leaves=HELD, make=release, given={"cancel_requested": "soft"}
    ),
    "cancel": Move(to=CANCELLED, leaves=WAITING, make=on_ids(cancel.cancel)),
    "expire": Move(to=CANCELLED, leaves=WAITING, make=on_ids(claims.expire), given={"expires": after(-1.0)}),
    "give up an unknown task": Move(
        to=FAILED, leaves=WAITING, make=postpone, given=SENT | {"unknown_since": after(-HOUR - 1)}
    ),
    "replay": Move(to=PENDING, leaves=frozenset({FAILED, CANCELLED}), make=on_ids(replay)),
}

#: What is done to a job without moving it.
OTHERS: dict[str, Callable[[Ledger, UUID], object]] = {
    "enqueue again": lambda ledger, job: ledger.do(enqueue, [new_job(id=job)]),
    "send": lambda ledger, job: ledger.do(dispatch.take_due, 10, limit=9),
    "unmark": on_ids(dispatch.unmark),
    "unpark": lambda ledger, job: ledger.do(unpark, new_job(id=job)),
    "put back an unknown task": postpone,
    "give back a claim without an answer": lambda ledger, job: ledger.do(
        claims.release_unsure, [job], worker=UUID(int=9)
    ),
    "bury a copy": on_ids(lambda connection, ids: quarantine.bury(connection, [_copy(ids[0])])),
}


def _copy(job: UUID) -> quarantine.Unreadable:
    return quarantine.Unreadable(job, "normal", "(unreadable)", b"", "unknown", "not a message")


def in_state(ledger: Ledger, state: JobState) -> UUID:
    """A job that came into ``state`` on the usual way, after one attempt where it had one."""
    job = ledger.enqueued()
    if state is PENDING:
        return job
    assert ledger.claim(job) == {job: 1}
    if state is not RUNNING:
        assert ledger.record(job, 1, state) is state
    return job


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    database = Database(make_url(database_url))
    yield Ledger(database)
    database.close()


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_job_moves_if_and_only_if_it_may(ledger: Ledger, move: Move) -> None:
    moved = {}
    for state in JobState:
        job = in_state(ledger, state)
        if move.given:
            ledger.set(job, **move.given)
        before = ledger.row(job)
        assert before.state == state
        move.make(ledger, job)
        found = ledger.row(job)
        moved[state] = found.state == move.to != state
        assert moved[state] or found == before or (move.make is MOVES["cancel"].make and state is RUNNING)
        assert moved[state] or found.state == state
    assert moved == {state: state in move.leaves for state in JobState}


@pytest.mark.parametrize("act", OTHERS.values(), ids=OTHERS)
def test_nothing_else_moves_a_job(ledger: Ledger, act: Callable[[Ledger, UUID], object]) -> None:
    for state in JobState:
        job = in_state(ledger, state)
        act(ledger, job)
        assert ledger.row(job).state == state


@pytest.mark.parametrize("state", JobState)
def test_the_moves_are_those_of_the_table(state: JobState) -> None:
    leading_here = [move.leaves for move in MOVES.values() if move.to is state]
    assert frozenset().union(*leading_here) == ENTERED_FROM[state]


def test_what_is_terminal_is_left_by_a_replay_only() -> None:
    for name, move in MOVES.items():
        assert name == "replay" or not move.leaves & TERMINAL
    assert COMPLETED not in frozenset().union(*ENTERED_FROM.values())


@pytest.mark.parametrize("state", [PENDING, ERROR])
def test_a_job_in_every_waiting_state_can_be_claimed(ledger: Ledger, state: JobState) -> None:
    assert {PENDING, ERROR} == WAITING
    job = in_state(ledger, state)
    assert job in ledger.claim(job)
