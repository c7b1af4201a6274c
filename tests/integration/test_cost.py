"""What the keeper's looks cost beside jobs that wait: as much as what is due, however many are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, make_url, text

from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.upkeep import dispatch, held, lost_messages, parked, prune, rescue
from celeriac.ledger.writes import quarantine

WAITING = 30_000
HELD = 100_000  # due jobs of a queue that is paused
PAGES = 100  # that a look may read; the index of what waits alone has more

FILL = """
    INSERT INTO background_jobs (id, job_type, state, priority, queue, max_tries, payload, content_type,
        content_encoding, headers, queued, next_attempt_after, dispatched, try_count, finished)
    SELECT gen_random_uuid(), 'mail.send', :state, 10, 'normal', 5, '[[], {}, {}]', 'application/json',
        'utf-8', '{}', now(), now() + number * interval '1 s' + interval '1 day', dispatched, 0, dispatched
    FROM generate_series(1, :count) AS number, CAST(:dispatched AS timestamptz) AS dispatched
"""

HOLD = """
    UPDATE background_jobs SET held = 'queue:low', queue = 'low', priority = 5,
        next_attempt_after = now() - interval '1 day'
    WHERE id IN (SELECT id FROM background_jobs WHERE dispatched IS NULL LIMIT :count)
"""

PAUSE = """
    INSERT INTO background_pauses (kind, name, since, who) VALUES ('queue', 'low', now(), 'ann')
"""

#: All that have ended were one chord.
GROUP = f"""
    UPDATE background_jobs SET group_id = '{UUID(int=7)}', root_id = '{UUID(int=7)}'
    WHERE finished IS NOT NULL
"""

LOOKS: dict[str, Callable[[Connection], object]] = {
    "levels": dispatch.levels,
    "what is paused and held": held.look,
    "rows to give back": lambda c: held.give_back(c, "queue:high", limit=1000),
    "dispatch beside what is paused": lambda c: dispatch.take_or_hold(c, 5, limit=500),
    "dispatch": lambda c: dispatch.take_due(c, 10, limit=500),
    "parked": lambda c: parked.parked(c, beyond=parked.FIRST, limit=200, old=3600),
    "members to be done": lambda c: parked.with_open_members(c, [(UUID(int=1), UUID(int=7))] * 9),
    "jobs of a workflow to be done": lambda c: parked.with_open_jobs(c, [(UUID(int=1), UUID(int=7))] * 9),
    "collect": lambda c: quarantine.collect(c, tasks=["mail.send"], queues=["normal"], limit=500),
    "the dead": rescue.sightings,
    "lost messages of an empty queue": lambda c: lost_messages.clear_dispatch_marks(
        c, {"normal": None}, grace=10
    ),
    "lost messages": lambda c: lost_messages.clear_dispatch_marks(c, {"normal": datetime.now(UTC)}, grace=10),
    "lost messages of many queues": lambda c: lost_messages.clear_dispatch_marks(
        c, {f"lane{n}.normal": None for n in range(20)} | {"normal": datetime.now(UTC)}, grace=10
    ),
    "prune": lambda c: prune.prune(c, JobState.COMPLETED, age=60, limit=500),
    "forgotten results": lambda c: prune.forget_results(c, age=60, limit=500),
}


@pytest.fixture(scope="module")
def full(postgres: str, _postgres_template: str) -> Iterator[Database]:
    """A ledger in which as many jobs wait as have ended just now; what is due is held."""
    from tests.conftest import _postgres_copy

    with _postgres_copy(postgres, _postgres_template) as url:
        database = Database(make_url(url))
        with database.statement() as connection:
            waiting = {"state": "pending", "dispatched": None, "count": WAITING + HELD}
            ended = {"state": "completed", "dispatched": datetime.now(UTC), "count": WAITING}
            connection.execute(text(FILL), [waiting, ended])
            connection.execute(text(HOLD), {"count": HELD})
            connection.exec_driver_sql(PAUSE)
            connection.exec_driver_sql(GROUP)
            connection.exec_driver_sql("VACUUM ANALYZE background_jobs")
        yield database
        database.close()


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_reads_what_is_due_and_not_what_waits(full: Database, look: str) -> None:
    with full.statement() as connection:
        asked = _statements(connection, LOOKS[look])
        assert asked
        for statement, parameters in asked:
            told = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
            )
            plan = told.scalar_one()[0]["Plan"]
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= PAGES, plan


def _statements(connection: Connection, look: Callable[[Connection], object]) -> list[tuple[str, Any]]:
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    look(connection)
    event.remove(connection, "before_cursor_execute", note)
    return asked
