"""Why a job is not running: every reason, decided from facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from celeriac.headers import CHORD
from celeriac.ledger.reads.position import MOST_AHEAD, Position
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.holding import PauseKind
from celeriac.ledger.upkeep.pause_rows import PauseRow
from celeriac.ledger.upkeep.worker_rows import WorkerSeen
from celeriac.operate.explain import Facts, Reason, decide

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
WORKER = UUID(int=7)
NOBODY = Position(sent=0, unsent=0, drawn_first=0)


def a_job(**values: Any) -> Any:
    """A job that is due and whose message was sent two seconds ago."""
    given = {
        "id": UUID(int=1),
        "job_type": "mail.send",
        "state": "pending",
        "queue": "normal",
        "priority": 10,
        "headers": {},
        "next_attempt_after": NOW - 9 * SECOND,
        "fair_key": None,
        "dispatched": NOW - 2 * SECOND,
        "dispatch_count": 1,
        "started": None,
        "finished": None,
        "expires": None,
        "unknown_since": None,
        "held": None,
        "worker_id": None,
        "cancel_requested": None,
        "try_count": 0,
        "failure_info": None,
    }
    return SimpleNamespace(**(given | values))


def a_worker(*queues: str, running: int = 0) -> WorkerSeen:
    return WorkerSeen(
        id=WORKER,
        hostname="celery@one",
        pid=1,
        pool="prefork",
        concurrency=2,
        queues=queues or ("normal", "low"),
        version="1",
        started=NOW,
        heartbeat=NOW,
        stopped=None,
        silent=SECOND,
        running=running,
    )


def said(
    *,
    workers: Any = None,
    position: Position = NOBODY,
    in_broker: int | None = 1,
    members_left: int = 0,
    pause: PauseRow | None = None,
    limited: tuple[str, str | None] | None = None,
    followed: str | None = None,
    **job: Any,
) -> tuple[Reason, str, str | None]:
    facts = Facts(
        job=a_job(**job),
        clock=NOW,
        workers=[a_worker()] if workers is None else workers,
        position=position,
        in_broker=in_broker,
        members_left=members_left,
        pause=pause,
        limited=limited,
        followed=followed,
    )
    found = decide(facts)
    return found.reason, found.sentence, found.remedy


PAUSED = PauseRow(PauseKind.QUEUE, "normal", NOW - 60 * SECOND, "ann", "smtp is down")
OF_TASK = PauseRow(PauseKind.TASK, "mail.send", NOW, "bob", None)
RUNS = {"state": "running", "started": NOW - 90 * SECOND, "worker_id": WORKER, "try_count": 2}


@pytest.mark.parametrize(
    ("facts", "reason", "words"),
    [
        ({"state": "completed", "finished": NOW}, Reason.ENDED, "was completed at 2030-01-01 00:00:00 UTC"),
        ({"state": "failed", "finished": NOW, "failure_info": "KeyError: 1"}, Reason.ENDED, "KeyError: 1"),
        ({"state": "cancelled", "finished": NOW}, Reason.ENDED, "was cancelled"),
        (RUNS, Reason.RUNNING, "runs on celery@one for 1 min 30 s, attempt 2"),
        (RUNS | {"cancel_requested": "soft"}, Reason.CANCELLING, "asked to stop (soft)"),
        (RUNS | {"workers": []}, Reason.LOST, "silent"),
        (RUNS | {"worker_id": UUID(int=8)}, Reason.LOST, "silent"),
        ({"expires": NOW}, Reason.EXPIRED, "expired"),
        (
            {"next_attempt_after": PARKED, "headers": {CHORD: {"size": 3}}, "members_left": 2},
            Reason.WAITS_FOR_MEMBERS,
            "waits for 2 of its members",
        ),
        ({"next_attempt_after": PARKED}, Reason.WAITS_FOR_REPLACEMENT, "replaced itself"),
        (
            {"followed": "it takes the result of job 7", "follows": UUID(int=7), "workers": []},
            Reason.FOLLOWS,
            "it takes the result of job 7",
        ),
        (
            {"pause": PAUSED, "dispatched": None, "held": "queue:normal", "workers": []},
            Reason.PAUSED,
            "its queue 'normal' is paused by ann since 2029-12-31 23:59:00 UTC: smtp is down",
        ),
        (
            {"pause": OF_TASK},
            Reason.PAUSED,
            "its task 'mail.send' is paused by bob since 2030",
        ),
        (
            {"unknown_since": NOW - 60 * SECOND, "next_attempt_after": NOW + SECOND},
            Reason.UNKNOWN_TASK,
            "knows the task 'mail.send'",
        ),
        ({"next_attempt_after": NOW + 60 * SECOND}, Reason.NOT_DUE, "another 1 min"),
        (
            {"next_attempt_after": NOW + SECOND, "state": "error", "try_count": 1, "failure_info": "OSError"},
            Reason.NOT_DUE,
            "after attempt 1 failed: OSError",
        ),
        ({"workers": []}, Reason.NO_WORKER, "no worker lives"),
        ({"workers": [a_worker("high")]}, Reason.NO_WORKER, "only from high"),
        (
            {"dispatched": None, "limited": ("it waits for the limit stripe", None)},
            Reason.LIMITED,
            "it waits for the limit stripe",
        ),
        (
            {"dispatched": None, "fair_key": "ann", "limited": ("it waits for its turn", None)},
            Reason.BEHIND_OTHERS,
            "it waits for its turn; 0 of 2 places of its workers are taken",
        ),
        ({"dispatched": None}, Reason.NOT_SENT, "within a second"),
        ({"dispatched": None, "in_broker": None}, Reason.NOT_SENT, "broker cannot be reached"),
        (
            {"dispatched": None, "position": Position(sent=1, unsent=2, drawn_first=4)},
            Reason.BEHIND_OTHERS,
            "7 more important or earlier jobs go before it; 0 of 2 places",
        ),
        (
            {
                "position": Position(sent=MOST_AHEAD, unsent=0, drawn_first=0),
                "workers": [a_worker(running=2)],
            },
            Reason.BEHIND_OTHERS,
            "more than 10,000 jobs go before it; 2 of 2 places of its workers are taken",
        ),
        ({"dispatched": NOW - 30 * SECOND, "in_broker": 0}, Reason.STRANDED, "sent 30 s ago"),
        ({"dispatched": NOW - 30 * SECOND, "in_broker": 1}, Reason.IN_BROKER, "next in the queue 'normal'"),
        ({"dispatched": NOW - 30 * SECOND, "in_broker": None}, Reason.IN_BROKER, "cannot be asked"),
        ({"in_broker": 0}, Reason.WITH_WORKER, "about to claim"),
    ],
)
def test_a_reason_is_decided_from_the_facts(facts: dict[str, Any], reason: Reason, words: str) -> None:
    found = said(**facts)
    assert found[0] is reason
    assert words in found[1]


def test_every_reason_is_reached() -> None:
    cases = test_a_reason_is_decided_from_the_facts.pytestmark[0].args[1]
    assert {case[1] for case in cases} == set(Reason)


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        ({"workers": []}, "celery -A app worker -Q normal"),
        ({"state": "failed", "finished": NOW}, f"celery -A app dead-letters replay {UUID(int=1)}"),
        (RUNS | {"cancel_requested": "soft"}, f"celery -A app jobs cancel --hard {UUID(int=1)}"),
        (RUNS | {"cancel_requested": "hard"}, None),
        (RUNS, None),
        ({"pause": PAUSED}, "celery -A app queues resume normal"),
        ({"pause": OF_TASK}, "celery -A app tasks resume mail.send"),
        (RUNS | {"pause": PAUSED}, None),
        ({"expires": NOW, "held": "queue:normal", "pause": PAUSED}, "celery -A app queues resume normal"),
        ({"expires": NOW, "pause": PAUSED}, None),
    ],
)
def test_a_remedy_is_a_command_where_there_is_one(facts: dict[str, Any], remedy: str | None) -> None:
    assert said(**facts)[2] == remedy


def test_what_holds_a_job_back_for_longest_is_said_first() -> None:
    """A job that waits for tomorrow does not need a worker today."""
    assert said(next_attempt_after=NOW + SECOND, workers=[], in_broker=None)[0] is Reason.NOT_DUE
    assert said(pause=PAUSED, next_attempt_after=NOW + SECOND, workers=[])[0] is Reason.PAUSED
    assert said(expires=NOW, next_attempt_after=NOW + SECOND)[0] is Reason.EXPIRED
