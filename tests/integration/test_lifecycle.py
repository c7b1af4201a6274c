"""Every move from every state: a job moves if and only if ``ENTERED_FROM`` says that it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url

from celeriac.ledger.connection.database import Database
from celeriac.ledger.reads import job_rows
from celeriac.ledger.schema.columns import PARKED, after, now
from celeriac.ledger.schema.lifecycle import ENTERED_FROM, TERMINAL, WAITING, JobState
from celeriac.ledger.upkeep import dispatch, lost_messages, parked
from celeriac.ledger.upkeep.prune import prune
from celeriac.ledger.writes import cancel, claims, dead_letters, quarantine
from celeriac.ledger.writes.existing import renew
from celeriac.ledger.writes.new_jobs import enqueue, unpark
from celeriac.ledger.writes.replay import replay
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


def give_up_parked(ledger: Ledger, job: UUID) -> object:
    if ledger.row(job).state == PENDING:
        ledger.set(job, dispatched=None)  # as a parked row is
    return ledger.do(parked.fail_parked, [job], reason="what it waited for never came")


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
    "give up a parked job": Move(
        to=FAILED, leaves=frozenset({PENDING}), make=give_up_parked, given={"next_attempt_after": PARKED}
    ),
    "replay": Move(to=PENDING, leaves=frozenset({FAILED, CANCELLED}), make=on_ids(replay)),
    "make anew": Move(
        to=PENDING,
        leaves=frozenset({FAILED, CANCELLED}),
        make=lambda ledger, job: ledger.do(renew, new_job(id=job)),
    ),
}

#: What is done to a job without moving it.
OTHERS: dict[str, Callable[[Ledger, UUID], object]] = {
    "enqueue again": lambda ledger, job: ledger.do(enqueue, [new_job(id=job)]),
    "send": lambda ledger, job: ledger.do(dispatch.take_due, 10, limit=9),
    "unmark": on_ids(dispatch.unmark),
    "unpark": lambda ledger, job: ledger.do(unpark, new_job(id=job)),
    "put back an unknown task": postpone,
    "give back a claim without an answer": lambda ledger, job: ledger.do(
        claims.release_uncertain, [job], worker=UUID(int=9)
    ),
    "let a parked one run": lambda ledger, job: ledger.do(
        parked.fire, job, payload=b"[[], {}, {}]", headers={}
    ),
    "edit a dead letter": lambda ledger, job: ledger.do(
        dead_letters.edit, job, payload=b"", headers={}, key=None
    ),
    "look for lost messages": lambda ledger, job: ledger.do(
        lost_messages.clear_dispatch_marks, {"normal": None}, grace=-HOUR
    ),
    "make a dead letter of a copy": on_ids(
        lambda connection, ids: quarantine.write_dead_letters(connection, [_copy(ids[0])])
    ),
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
        assert moved[state] or found.state == state
        if not moved[state] and move.make not in (give_up_parked, MOVES["cancel"].make):  # they leave a mark
            assert found == before
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
        assert name in ("replay", "make anew") or not move.leaves & TERMINAL
    assert COMPLETED not in frozenset().union(*ENTERED_FROM.values())


def deletes(ledger: Ledger, delete: Callable[[UUID], object]) -> set[JobState]:
    """The states in which a job is gone afterwards."""
    jobs = {state: in_state(ledger, state) for state in JobState}
    for job in jobs.values():
        delete(job)
    return {state for state, job in jobs.items() if ledger.do(job_rows.find, job) is None}


def test_only_a_dead_letter_is_discarded(ledger: Ledger) -> None:
    assert deletes(ledger, lambda job: ledger.do(dead_letters.discard, [job])) == {FAILED}


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_only_what_ended_so_and_long_ago_is_pruned(ledger: Ledger, state: JobState) -> None:
    assert deletes(ledger, lambda job: ledger.do(prune, state, age=HOUR, limit=9)) == set()
    assert deletes(ledger, lambda job: ledger.do(prune, state, age=-HOUR, limit=9)) == {state}


@pytest.mark.parametrize("state", sorted(set(JobState) - TERMINAL))
def test_what_has_not_ended_is_never_pruned(ledger: Ledger, state: JobState) -> None:
    with pytest.raises(ValueError, match="only terminal"):
        ledger.do(prune, state, age=-HOUR, limit=9)


@pytest.mark.parametrize("state", [PENDING, ERROR])
def test_a_job_in_every_waiting_state_can_be_claimed(ledger: Ledger, state: JobState) -> None:
    assert {PENDING, ERROR} == WAITING
    job = in_state(ledger, state)
    assert job in ledger.claim(job)
