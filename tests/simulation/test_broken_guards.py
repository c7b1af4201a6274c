"""A guard that is broken on purpose is found: otherwise the silence of the tests would mean nothing.

By the simulation, where each broken function is the real one without one of its conditions; and by the
tests that are named for it, run again with the condition taken out of the ledger's own statement.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, literal, null, or_, select, update

from celeriac.ledger.limits.in_use import IN_LINE
from celeriac.ledger.limits.starts import Started
from celeriac.ledger.schema.columns import now
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.writes import claims, outcomes
from celeriac.ledger.writes.claims import MESSAGE_COLUMNS, Claimed, Message
from celeriac.ledger.writes.outcomes import Outcome
from tests.broken import VARIABLE
from tests.processes import run
from tests.simulation.ledger import Ledger
from tests.simulation.world import BAD_LINE, LIMITS, PACES, PAUSES, STORM, Rates, SimulationFailed, World
from tests.workers import PYTEST, ROOT

_c = JOBS.c


def _take(connection: Connection, ids: Sequence[UUID], worker: UUID, *conditions: Any) -> dict[UUID, Claimed]:
    rows = connection.execute(
        update(JOBS)
        .where(_c.id.in_(ids), _c.try_count < _c.max_tries, *conditions)
        .values(
            state=JobState.RUNNING,
            worker_id=worker,
            started=now(),
            finished=null(),
            try_count=_c.try_count + 1,
            dispatched=func.coalesce(_c.dispatched, now()),
        )
        .returning(
            _c.id,
            _c.try_count,
            _c.max_tries,
            _c.tries_before,
            _c.dispatch_count,
            _c.queue,
            _c.dispatched,
            _c.failure_info.is_not(None),
        )
    )
    return {row.id: Claimed(*row, waited=timedelta()) for row in rows}


def claim_without_state(connection: Connection, ids: Sequence[UUID], *, worker: UUID) -> dict[UUID, Claimed]:
    """Takes whatever is due, also what another holds or what has ended."""
    return _take(connection, ids, worker, _c.next_attempt_after <= now())


def claim_before_it_is_due(
    connection: Connection, ids: Sequence[UUID], *, worker: UUID
) -> dict[UUID, Claimed]:
    """Takes what waits, whatever it waits for."""
    return _take(connection, ids, worker, _c.state.in_(["pending", "error"]))


def record_whatever_attempt(
    connection: Connection, told: Sequence[Outcome], *, worker: UUID
) -> dict[UUID, JobState]:
    """Believes anybody, whatever attempt he speaks of."""
    accepted: dict[UUID, JobState] = {}
    for outcome in told:
        held = select(_c.worker_id, _c.try_count).where(_c.id == outcome.id, _c.worker_id.is_not(None))
        for row in connection.execute(held).all():
            present = replace(outcome, attempt=row.try_count)
            accepted |= outcomes.record(connection, [present], worker=row.worker_id)
    return accepted


def release_without_worker(
    connection: Connection, held: Sequence[tuple[UUID, int]], *, worker: UUID, delay: float = 0.0
) -> set[UUID]:
    """Gives back whoever's attempt it is."""
    given: set[UUID] = set()
    for job, attempt in held:
        holder = connection.execute(select(_c.worker_id).where(_c.id == job)).scalar_one_or_none()
        given |= claims.release(connection, [(job, attempt)], worker=holder or worker, delay=delay)
    return given


def release_uncertain_without_worker(connection: Connection, ids: Sequence[UUID], *, worker: UUID) -> None:
    rows = connection.execute(select(_c.id, _c.try_count).where(_c.id.in_(ids))).all()
    release_without_worker(connection, [(row.id, row.try_count) for row in rows], worker=worker)


def release_counted(
    connection: Connection, held: Sequence[tuple[UUID, int]], *, worker: UUID, delay: float = 0.0
) -> set[UUID]:
    """Keeps the try of an attempt that never ran."""
    given = claims.release(connection, held, worker=worker, delay=delay)
    connection.execute(update(JOBS).where(_c.id.in_(given)).values(try_count=_c.try_count + 1))
    return given


def cancel_that_is_forgotten(connection: Connection, ids: Sequence[UUID], **options: Any) -> dict[UUID, Any]:
    """Cancels what waits and lets the next delivery of it in."""
    answers = REAL.cancel(connection, ids, **options)
    cancelled = update(JOBS).where(_c.id.in_(ids), _c.state == JobState.CANCELLED)
    connection.execute(cancelled.values(state=literal("pending"), finished=null()))
    return answers


def replay_of_anything(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Sets back also what was completed."""
    done = update(JOBS).where(_c.id.in_(ids), _c.state == JobState.COMPLETED)
    connection.execute(done.values(state=literal("failed")))
    return REAL.replay(connection, ids)


def clear_no_marks(*args: Any, **options: Any) -> int:
    return 0


def hold_nothing(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Lets in what a paused queue has in the broker."""
    return set()


def give_nothing_back(connection: Connection, word: str, *, limit: int) -> int:
    return 0


def bury_without_rescue(connection: Connection, workers: Sequence[UUID]) -> list[Any]:
    """Sees nothing in the hands of the dead."""
    return []


def admit_whatever_is_in_use(
    connection: Connection, limits: Any, *, most: int, **options: Any
) -> list[Message]:
    """Lets go what is first, without a count."""
    first = select(_c.id).where(IN_LINE, _c.next_attempt_after <= now()).order_by(_c.id).limit(most)
    sent = update(JOBS).where(_c.id.in_(first))
    rows = connection.execute(
        sent.values(dispatched=now(), dispatch_count=_c.dispatch_count + 1).returning(*MESSAGE_COLUMNS)
    )
    return [Message(*row) for row in rows]


def claim_what_was_not_admitted(
    connection: Connection, ids: Sequence[UUID], *, worker: UUID
) -> dict[UUID, Claimed]:
    """Starts what waits in a line, when an old message of it comes along."""
    due = _c.next_attempt_after <= now(), or_(_c.expires.is_(None), _c.expires > now())
    return _take(connection, ids, worker, _c.state.in_(["pending", "error"]), *due)


def find_nothing_forgotten(connection: Connection, **options: Any) -> None:
    """Trusts that whoever ends a job wakes those that wait for it."""


def see_no_blocked_permits(connection: Connection, **options: Any) -> list[str]:
    return []


def start_whatever_piled_up(
    connection: Connection, jobs: Mapping[UUID, int | None], *, worker: UUID
) -> Started:
    """Starts all that admission has sent, as a worker that was frozen finds it."""
    return Started(won=claims.claim(connection, list(jobs), worker=worker))


REAL = Ledger()

#: What is broken, what is said of it, in which weather, and the seed that is known to find it.
BROKEN: dict[str, tuple[Ledger, str, Rates, int]] = {
    "claim without state": (
        Ledger(claim=claim_without_state),
        "taken from its holder|was left by turn",
        Rates(),
        1,
    ),
    "claim before it is due": (
        Ledger(claim=claim_before_it_is_due),
        "before it was due|had expired",
        Rates(),
        1,
    ),
    "attempt number ignored": (
        Ledger(record=record_whatever_attempt),
        "does not hold it|outcome of another",
        STORM,
        6,
    ),
    "release without worker": (
        Ledger(release=release_without_worker, release_uncertain=release_uncertain_without_worker),
        "does not hold it",
        BAD_LINE,
        1,
    ),
    "release that counts": (Ledger(release=release_counted), "never ran was counted|tries changed", STORM, 1),
    "cancel that is forgotten": (Ledger(cancel=cancel_that_is_forgotten), "was left by cancel", Rates(), 1),
    "replay of what is done": (
        Ledger(replay=replay_of_anything),
        "was left by replay|a replay of",
        Rates(),
        1,
    ),
    "no search for lost messages": (Ledger(clear_dispatch_marks=clear_no_marks), "never ended", STORM, 1),
    "gate that knows no pause": (Ledger(hold=hold_nothing), "while its queue was paused", PAUSES, 1),
    "nothing is given back": (Ledger(give_back=give_nothing_back), "never ended", PAUSES, 1),
    "admission without a count": (
        Ledger(admit=admit_whatever_is_in_use),
        "in use of|accepted before it|was paused",
        LIMITS,
        1,
    ),
    "claim without admission": (
        Ledger(claim=claim_what_was_not_admitted),
        "nobody has admitted it",
        LIMITS,
        1,
    ),
    "nobody looks for what was forgotten": (
        Ledger(find_forgotten=find_nothing_forgotten, blocked_permits=see_no_blocked_permits),
        "never ended",
        LIMITS,
        1,
    ),
    "starts whatever piled up": (
        Ledger(start=start_whatever_piled_up),
        "starts in 10 s",
        PACES,
        1,
    ),
    "no rescue": (Ledger(held_by=bury_without_rescue), "never ended", STORM, 1),
}

STEPS = 3_000
PATIENCE = 20_000  # steps after which "never" is said; the real guards need less in the same seed
SEEDS = range(1, 25)  # until one finds it


@pytest.mark.parametrize("guard", BROKEN)
def test_a_broken_guard_is_found(guard: str) -> None:
    ledger, reason, rates, first = BROKEN[guard]
    with pytest.raises(SimulationFailed, match=reason) as failure:
        for seed in sorted(SEEDS, key=lambda seed: (seed != first, seed)):
            _run(ledger, rates, seed)
    assert 0 < len(failure.value.events) <= 30
    assert f"SIMULATION_SEED={failure.value.seed}" in str(failure.value)
    if "never" in reason:
        _run(REAL, rates, failure.value.seed)  # or it would only have been too early to say so


def _run(ledger: Ledger, rates: Rates, seed: int) -> None:
    with World(seed, ledger=ledger, rates=rates, patience=PATIENCE) as world:
        world.run(STEPS)


#: What is broken, in ``tests.broken``, and the tests that must turn red. That they are green otherwise is
#: said by the run to which they belong.
NAMED = {
    "attempt number ignored": (
        "test_a_late_outcome_is_refused[sqlite-of_another_attempt]",
        "test_a_late_outcome_is_refused[sqlite-after_a_replay]",
    ),
    "claim without state": (
        "test_a_claim_is_refused[sqlite]",
        "test_of_two_workers_that_claim_a_job_one_wins[sqlite]",
    ),
}


@pytest.mark.parametrize("guard", NAMED)
def test_a_broken_guard_turns_named_tests_red(guard: str) -> None:
    tests = [f"tests/integration/test_ledger.py::{name}" for name in NAMED[guard]]
    assert _red(tests, broken=guard) == set(tests)


def _red(tests: Sequence[str], *, broken: str) -> set[str]:
    """Those of ``tests`` that fail in a run of their own."""
    command = [sys.executable, "-m", *PYTEST, "--tb=line", "-p", "tests.broken", *tests]
    ran = run(command, cwd=ROOT, env={**os.environ, VARIABLE: broken})
    assert f"{len(tests)} failed" in ran.stdout.splitlines()[-1], ran.stdout
    return {test for test in tests if f"FAILED {test}" in ran.stdout}
