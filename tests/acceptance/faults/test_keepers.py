"""What must not mislead a keeper: a clock that is set, a large workflow, a ledger that was restored.

And two versions at once, of which only one knows a task.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from celery import chord
from sqlalchemy import delete, select

from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import JOBS, WORKERS
from tests.acceptance.faults.drill import Drill
from tests.support import wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(560)]

#: Found before PostgreSQL's own, which it asks.
CLOCK = """
    CREATE SCHEMA shifted;
    CREATE TABLE shifted.by (seconds double precision);
    INSERT INTO shifted.by VALUES (0);
    CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
        SELECT pg_catalog.clock_timestamp() + (SELECT seconds FROM shifted.by) * interval '1 second' $$
"""


@pytest.mark.parametrize("step", [-60, 10, 60])
def test_the_clock_of_the_database_steps(step: int, drill: Drill) -> None:
    with _ledger(drill) as connection:
        connection.execute(CLOCK)
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = shifted, pg_catalog, public")
    drill.house.app.database.close()
    drill.house.man(2)
    _for(14)  # or nobody would judge yet
    drill.enqueue(4, seconds=16)
    drill.begun(4)
    delayed = drill.enqueue(10, countdown=2)
    with drill.load(rate=20, lasting=14):
        drill.flows()
        with _ledger(drill) as connection:
            connection.execute("UPDATE shifted.by SET seconds = %s", [step])
        drill.set_back = max(0, -step)
        drill.over()
    drill.ends(recovery=max(20, 20 - step))
    assert drill.house.declared_dead() == []
    assert {row.tries for row in drill.rows().values()} == {1}
    late = [drill.since_over(m) for m in drill.witness.marks() if m.job_id in delayed and m.event == "start"]
    assert max(late) <= max(0, -step) + 5, sorted(late)


def test_a_worker_dies_beside_a_chord_of_a_hundred_thousand(drill: Drill) -> None:
    """A body that waits for so many members holds up no heartbeat and no rescue, and takes no memory."""
    (victim,) = drill.house.man(1)
    drill.enqueue(1, seconds=1000)
    drill.begun(1)
    _, other = drill.house.man(2)
    before = _resident(other.pid)
    one = drill.house.app.tasks["tests.witness"].si(drill.witness.path)
    echo = drill.house.app.tasks["tests.echo"]
    body = chord([one, one.clone().set(countdown=3600)], echo.s())()
    (done, waits) = (member.id for member in body.parent.results)
    drill.accept([done])
    _enlarge(drill, waits, 100_000)
    held = drill.hit(victim)
    victim.kill()
    gaps = _silences(drill, other, seconds=25)
    assert max(gaps) <= 6, gaps
    wait_until(lambda: not drill.held_by(drill.house.worker_id(victim)), within=30, saying="it is rescued")
    assert held
    _complete(drill, waits)
    wait_until(
        lambda: drill.rows()[str(body.id)].state is JobState.COMPLETED, within=90, saying="the body has run"
    )
    assert _resident(other.pid) - before <= 200, "megabytes"


def test_a_ledger_that_was_restored_to_before_its_workers_signed_on(drill: Drill) -> None:
    victim, _ = drill.house.man(2)
    drill.enqueue(4, seconds=8)
    drill.begun(4)
    hit = drill.hit(victim)
    with drill.house.database.transaction() as connection:
        connection.execute(delete(WORKERS))
    victim.kill()
    drill.over()
    drill.ends(recovery=40)
    assert hit <= drill.witness.ends().keys()
    with drill.house.database.reading() as connection:
        names = connection.execute(select(WORKERS.c.hostname)).scalars().all()
    assert victim.node not in names
    assert len(names) == 1


@pytest.mark.parametrize("pool", ["burst", "prefork", "threads", "solo"])
def test_an_old_worker_beside_a_new_one(pool: str, drill: Drill) -> None:
    drill.house.man(1, include="json")  # it knows none of the tests' tasks
    new = drill.house.hire(pool=pool)
    new.ready(within=60)
    drill.enqueue(80)
    drill.over()
    drill.ends(recovery=15)
    assert {row.tries for row in drill.rows().values()} == {1}


def test_a_new_worker_that_starts_later_takes_what_the_old_ones_put_back(drill: Drill) -> None:
    drill.house.man(2, include="json")
    drill.enqueue(40)
    wait_until(lambda: drill.house.queued() == 0, within=30, saying="all are put back")
    drill.house.hire().ready(within=60)
    drill.over()
    drill.ends(recovery=15)


@contextmanager
def _ledger(drill: Drill) -> Iterator[psycopg.Connection]:
    with drill.house.postgres.connect(str(drill.house.database.url.database)) as connection:
        yield connection


def _enlarge(drill: Drill, member: str, count: int) -> None:
    """Give a chord so many more members like ``member``."""
    columns = ", ".join(column.name for column in JOBS.c if column.name != "id")
    with _ledger(drill) as connection:
        connection.execute(
            f"INSERT INTO background_jobs (id, {columns}) SELECT gen_random_uuid(), {columns} "
            "FROM background_jobs, generate_series(1, %s) WHERE id = %s",
            [count, UUID(member)],
        )


def _complete(drill: Drill, member: str) -> None:
    with _ledger(drill) as connection:
        connection.execute(
            "UPDATE background_jobs SET state = 'completed', finished = clock_timestamp(), result = 'null', "
            "dispatched = clock_timestamp() WHERE finished IS NULL AND next_attempt_after < '9000-01-01' "
            "AND group_id = (SELECT group_id FROM background_jobs WHERE id = %s)",
            [UUID(member)],
        )


def _silences(drill: Drill, worker: object, *, seconds: float) -> list[float]:
    """How long the heartbeat of a worker was unchanged, again and again, for so many seconds."""
    query = select(WORKERS.c.heartbeat).where(WORKERS.c.id == drill.house.worker_id(worker))  # type: ignore[arg-type]
    found, changed, last, end = [], time.monotonic(), None, time.monotonic() + seconds

    def look() -> bool:
        nonlocal changed, last
        with drill.house.database.reading() as connection:
            seen = connection.execute(query).scalar_one()
        if seen != last:
            found.append(time.monotonic() - changed)
            changed, last = time.monotonic(), seen
        return time.monotonic() >= end

    wait_until(look, within=seconds + 60, saying="heartbeats were watched")
    return found


def _resident(pid: int) -> float:
    """Megabytes of memory of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def _for(seconds: float) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, within=seconds + 5, saying="time passes")
