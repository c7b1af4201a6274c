"""What a circuit breaker is from now on, and what it may be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac.errors import BadArgument
from celeriac.ids import new_uuid
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.limits.breaker import Breaker, BreakerState, Tally, next_state
from celeriac.limits.limit import Limit, together
from celeriac.worker.attempt_report import AttemptReport, Freed

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLOSED, OPEN, HALF = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


@pytest.mark.parametrize(
    ("state", "tally", "age", "after"),
    [
        (CLOSED, Tally(19, 19), 0, CLOSED),
        (CLOSED, Tally(20, 9), 0, CLOSED),
        (CLOSED, Tally(20, 10), 0, OPEN),
        (OPEN, Tally(99, 0), 29, OPEN),
        (OPEN, Tally(0, 0), 30, HALF),
        (HALF, Tally(2, 1), 5, HALF),
        (HALF, Tally(2, 2), 5, OPEN),
        (HALF, Tally(3, 1), 5, CLOSED),
        (HALF, Tally(0, 0), 999, HALF),
    ],
)
def test_a_breaker_goes_from_state_to_state(
    state: BreakerState, tally: Tally, age: int, after: BreakerState
) -> None:
    since = NOON - timedelta(seconds=age)
    assert next_state(Breaker(), state, tally, since=since, now=NOON) is after


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.1}, "share"),
        ({"share": True}, "share"),
        ({"window": 0.5}, "window"),
        ({"window": 4000}, "window"),
        ({"rest": "soon"}, "rest"),
        ({"least": 0}, "least"),
        ({"probes": 1.5}, "probes"),
    ],
)
def test_a_breaker_that_can_mean_nothing_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArgument, match=words):
        Breaker(**values)


def test_a_limit_takes_a_breaker_and_nothing_else_for_one() -> None:
    with pytest.raises(BadArgument, match="wanted a Breaker"):
        Limit("x", 1, breaker=0.5)  # type: ignore[arg-type]  # what somebody may well write


def test_tasks_that_share_a_limit_must_agree_on_its_breaker() -> None:
    _, problems = together([("one", [Limit("x", 1)]), ("two", [Limit("x", 1, breaker=Breaker())])])
    assert len(problems) == 1


def test_a_failure_is_what_the_task_did_not_ask_for() -> None:
    def report(state: JobState, kind: AttemptKind | None = None) -> AttemptReport:
        outcome = Outcome(id=new_uuid(), attempt=1, state=state, failure=Failure(kind) if kind else None)
        return AttemptReport(outcome=outcome, permits=(kind or "done",))

    kinds = (AttemptKind.ERROR, AttemptKind.TIMEOUT, AttemptKind.LOST, AttemptKind.SNOOZED)
    found = Freed.by([report(JobState.COMPLETED), *(report(JobState.ERROR, kind) for kind in kinds)])
    assert list(found.succeeded) == ["done"]
    assert list(found.failed) == ["error", "timeout", "lost"]
    assert len(found.permits) == 5
