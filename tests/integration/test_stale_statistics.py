"""Plans of the writes of a batch, when PostgreSQL believes that nothing waits or runs, and much does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, make_url, text

from celeriac.ledger.connection.database import Database
from celeriac.ledger.migrate import upgrade
from celeriac.ledger.schema.lifecycle import AttemptKind, JobState
from celeriac.ledger.upkeep import dispatch
from celeriac.ledger.writes import cancel, claims, dead_letters, outcomes, quarantine, replay
from celeriac.ledger.writes.outcomes import Failure, Outcome
from celeriac.ledger.writes.turn.complete_and_claim import complete_and_claim
from tests.servers import create_database, drop_database

WORKER = UUID(int=7)

_FILL = """
INSERT INTO background_jobs (id, job_type, queue, priority, payload, content_type, content_encoding, headers,
    queued, max_tries, state, next_attempt_after, dispatched, dispatch_count, try_count, worker_id, started,
    finished)
SELECT lpad(to_hex(:base + n), 32, '0')::uuid, 'task', 'normal', 10, '', 'application/json', 'utf-8', '{}',
    now(), 5, state, now(), now(), 1, CASE state WHEN 'pending' THEN 0 ELSE 1 END,
    CASE state WHEN 'running' THEN CAST(:worker AS uuid) END, now(),
    CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN now() END
FROM generate_series(1, :rows) n, (SELECT CAST(:state AS text) AS state) given
"""
BASES = {"completed": 0, "pending": 1_000_000, "running": 2_000_000, "failed": 3_000_000}
ROWS = {"completed": 20_000, "pending": 5_000, "running": 3_000, "failed": 3_000}


@pytest.fixture(scope="module")
def crowded(postgres: str) -> Iterator[Database]:
    """All that is not completed came after the statistics were taken."""
    url = create_database(postgres, "celeriac_crowded")
    upgrade(url)
    database = Database(make_url(url), pool=1)
    with closing(database):
        with database.statement() as connection:
            connection.execute(text("ALTER TABLE background_jobs SET (autovacuum_enabled = false)"))
            for state, base in BASES.items():
                given = {"state": state, "base": base, "rows": ROWS[state], "worker": str(WORKER)}
                connection.execute(text(_FILL), given)
                if state == "completed":
                    connection.execute(text("VACUUM ANALYZE background_jobs"))
        yield database
    drop_database(postgres, "celeriac_crowded")


def some(state: str, count: int = 50) -> list[UUID]:
    return [UUID(int=BASES[state] + n) for n in range(1, count + 1)]


def held() -> list[tuple[UUID, int]]:
    return [(job, 1) for job in some("running")]


LOST = Failure(AttemptKind.LOST, "Lost", "gone")
WRITES: dict[str, Callable[[Connection], object]] = {
    "claim": lambda c: claims.claim(c, some("pending"), worker=WORKER),
    "release": lambda c: claims.release(c, held(), worker=WORKER),
    "release of uncertain claims": lambda c: claims.release_uncertain(c, some("running"), worker=WORKER),
    "expire": lambda c: claims.expire(c, some("pending")),
    "unmark": lambda c: dispatch.unmark(c, some("pending")),
    "postpone": lambda c: quarantine.postpone(c, some("pending"), delay=1, limit=9),
    "complete": lambda c: outcomes.record(
        c, [Outcome(id=job, attempt=1, state=JobState.COMPLETED) for job, _ in held()], worker=WORKER
    ),
    "fail": lambda c: outcomes.record(
        c,
        [Outcome(id=job, attempt=1, state=JobState.ERROR, failure=LOST) for job, _ in held()],
        worker=WORKER,
    ),
    "cancel": lambda c: cancel.cancel(c, some("pending"), mode=cancel.Mode.SOFT),
    "replay": lambda c: replay.replay(c, some("failed")),
    "discard": lambda c: dead_letters.discard(c, some("failed")),
}


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", WRITES)
def test_a_batch_finds_its_rows_by_their_key(crowded: Database, name: str, plans: str) -> None:
    told: list[str] = []
    with crowded.statement() as connection:
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: told.append(notice.message_primary))
        connection.execute(text("LOAD 'auto_explain'"))
        connection.execute(text("BEGIN"))
        for setting, value in {**LOGGED, "plan_cache_mode": plans}.items():
            connection.execute(text(f"SET LOCAL {setting} = {value}"))
        WRITES[name](connection)
        connection.execute(text("ROLLBACK"))
    of_jobs = "\n".join(plan for plan in told if "on background_jobs" in plan)
    used = set(re.findall(r"using (background_jobs_\w+)|on (background_jobs_\w+)", of_jobs))
    assert {one or other for one, other in used} == {"background_jobs_pkey"}, of_jobs
    assert "Seq Scan on background_jobs" not in of_jobs


def test_what_was_planned_for_a_few_rows_does_not_stay_in_use(postgres: str) -> None:
    """A worker starts beside an empty ledger: its statement is planned then, and once."""
    url = create_database(postgres, "celeriac_young")
    upgrade(url)
    told: list[str] = []

    def turn() -> bool:
        done = [Outcome(id=job, attempt=1, state=JobState.COMPLETED) for job in some("running")]
        accepted, won = complete_and_claim(database, done, some("pending"), worker=WORKER)
        return len(accepted) == len(won) == 50

    with closing(Database(make_url(url)).with_generic_plans()) as database:
        with database.statement() as connection:
            connection.execute(text("ALTER TABLE background_jobs SET (autovacuum_enabled = false)"))
        for _ in range(20):  # it is prepared for the sixth, and may be planned for good after ten
            assert not turn()
        with database.statement() as connection:
            for state in ("pending", "running"):
                given = {"state": state, "base": BASES[state], "rows": 5_000, "worker": str(WORKER)}
                connection.execute(text(_FILL), given)
            driver: Any = connection.connection.driver_connection
            driver.add_notice_handler(lambda notice: told.append(notice.message_primary))
            connection.execute(text("LOAD 'auto_explain'"))
            for setting, value in LOGGED.items():
                connection.execute(text(f"SET {setting} = {value}"))
        assert turn()
    drop_database(postgres, "celeriac_young")
    (plan,) = [plan for plan in told if "on background_jobs" in plan]
    used = set(re.findall(r"using (background_jobs_\w+)|on (background_jobs_\w+)", plan))
    assert {one or other for one, other in used} == {"background_jobs_pkey"}, plan
    assert "Seq Scan on background_jobs" not in plan
    assert plan.count("Index Cond: (id = ANY ($") == 1, plan  # a key, not a walk along its index
    assert plan.count("Index Cond: (id = batch.id)") == 1, plan
    assert "Join Filter: ((batch.id" not in plan, plan  # which would compare each outcome with each row


LOGGED: dict[str, Any] = {
    "auto_explain.log_min_duration": 0,
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}
