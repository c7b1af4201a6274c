"""What ended is counted by minute and hour, exactly as the ledger has it, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from celeriac.ledger.connection.clock import clock
from celeriac.ledger.connection.database import Database
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS
from celeriac.ledger.upkeep.prune import prune
from celeriac.ledger.upkeep.roll_up import HOUR, MINUTE, MOST_GROUPS, RolledUp, roll_up, start_of
from celeriac.ledger.writes.dead_letters import discard
from celeriac.ledger.writes.outcomes import Outcome, record
from celeriac.ledger.writes.replay import replay
from celeriac.settings.platform import Settings
from celeriac.worker.duties.roll_up import RollUp
from tests import stock
from tests.apps import build

Groups = Counter[tuple[datetime, str, str, str]]

SECOND, A_MINUTE = timedelta(seconds=1), timedelta(minutes=1)


@pytest.fixture
def database(redis_url: str, database_url: str) -> Iterator[Database]:
    app = build(Settings(database_url=database_url, broker_url=redis_url), set_as_current=False)
    yield app.database
    app.close()


def now_at(database: Database) -> datetime:
    with database.reading() as connection:
        return clock(connection)


def write(database: Database, *jobs: dict[str, Any], attempts: Sequence[dict[str, Any]] = ()) -> None:
    with database.transaction() as connection:
        connection.execute(insert(JOBS), list(jobs))
        if attempts:
            connection.execute(insert(FAILURES), list(attempts))


def rolled(database: Database) -> RolledUp:
    with database.transaction() as connection:
        return roll_up(connection)


def zero(began: datetime) -> dict[str, Any]:
    """The row of a minute in which nothing ended."""
    place = {"span": MINUTE, "began": began, "task": "", "queue": "", "outcome": "completed"}
    return place | {"attempts": 0, "ran": 0.0, "longest": 0.0}


def anew(database: Database) -> None:
    """Count as if the minute before had been the last that was counted."""
    with database.transaction() as connection:
        running = start_of(clock(connection), MINUTE)
        mine = ENDED_COUNTS.c.span == MINUTE, ENDED_COUNTS.c.began >= running - A_MINUTE
        connection.execute(delete(ENDED_COUNTS).where(*mine))
        connection.execute(insert(ENDED_COUNTS), [zero(running - A_MINUTE)])
    assert rolled(database).counted


def caught_up(database: Database) -> int:
    """Roll up until nothing is left; how many steps it took."""
    steps = 0
    while not rolled(database).due_in:
        steps += 1
        assert steps < 1_000
    return steps


def counted(database: Database, span: int = MINUTE) -> Groups:
    with database.reading() as connection:
        rows = connection.execute(select(ENDED_COUNTS).where(ENDED_COUNTS.c.span == span)).all()
    found = {(row.began, row.task, row.queue, row.outcome): row.attempts for row in rows if row.attempts}
    return Counter(found)


def in_the_ledger(database: Database, span: int = MINUTE) -> Groups:
    """The same, counted row by row."""
    with database.reading() as connection:
        jobs = {row.id: row for row in connection.execute(select(JOBS))}
        attempts = connection.execute(select(FAILURES)).all()
    found: Groups = Counter()
    for job in jobs.values():
        if job.finished is not None:
            found[start_of(job.finished, span), job.job_type, job.queue, job.state] += 1
    for attempt in attempts:
        job = jobs[attempt.job_id]
        if attempt.attempt and (job.finished is None or attempt.finished < job.finished):
            found[start_of(attempt.finished, span), job.job_type, job.queue, "retried"] += 1
    return found


def ended(at: datetime, **values: Any) -> dict[str, Any]:
    return stock.job(**{"queued": at - 30 * SECOND, "started": at - 4 * SECOND, "finished": at, **values})


def test_each_end_of_an_attempt_is_counted_once(database: Database) -> None:
    at = now_at(database) - 3 * A_MINUTE
    retried = ended(at, try_count=3)
    waits = stock.pending(queued=at, started=at, state="error", try_count=1, job_type="other")
    dead = ended(at, state="failed", try_count=2)
    cancelled_later = ended(at + A_MINUTE, state="cancelled", try_count=1)
    never_ran = ended(at, state="failed", try_count=0)
    attempts = [
        stock.failure(retried, attempt=1, finished=at - 9 * SECOND),
        stock.failure(retried, attempt=2, finished=at - 5 * SECOND),
        stock.failure(waits, finished=at, started=at - SECOND),
        stock.failure(dead, attempt=1, finished=at - 5 * SECOND),
        stock.failure(dead, attempt=2, finished=at + timedelta(microseconds=7)),
        stock.failure(cancelled_later, attempt=1, finished=at),
        stock.failure(never_ran, attempt=0, finished=at),
    ]
    write(database, retried, waits, dead, cancelled_later, never_ran, ended(at), attempts=attempts)
    assert rolled(database).counted
    found = counted(database)
    assert found == in_the_ledger(database)
    by_outcome: Counter[str] = Counter()
    for (_, _, _, outcome), count in found.items():
        by_outcome[outcome] += count
    assert by_outcome == {"completed": 2, "failed": 2, "cancelled": 1, "retried": 5}


def test_how_long_attempts_ran_is_counted(database: Database) -> None:
    at = start_of(now_at(database), MINUTE) - 3 * A_MINUTE
    first, second = ended(at), ended(at + SECOND, started=at - 9 * SECOND)
    cancelled = ended(at, state="cancelled")  # it may have waited for its next attempt
    no_worker_knew_it = ended(at, state="failed", unknown_since=at)
    write(database, first, second, cancelled, no_worker_knew_it)
    rolled(database)
    with database.reading() as connection:
        minutes = select(ENDED_COUNTS).where(ENDED_COUNTS.c.span == MINUTE, ENDED_COUNTS.c.attempts > 0)
        rows = {row.outcome: row for row in connection.execute(minutes)}
    assert rows["completed"].ran == pytest.approx(4 + 10)
    assert rows["completed"].longest == pytest.approx(10)
    assert (rows["cancelled"].ran, rows["failed"].ran) == (0, 0)


def test_what_is_committed_late_is_counted(database: Database) -> None:
    """An end is dated when it is written, and seen when its transaction is over."""
    at = now_at(database)
    job = stock.running(started=at - 4 * SECOND)
    write(database, job)
    if database.dialect == "sqlite":  # its one writer holds up the count until it is over
        with database.transaction() as late:
            record(late, [Outcome(id=job["id"], attempt=1, state=JobState.COMPLETED)], worker=stock.WORKER)
        anew(database)
    else:
        with database.transaction() as late:
            record(late, [Outcome(id=job["id"], attempt=1, state=JobState.COMPLETED)], worker=stock.WORKER)
            rolled(database)
            assert counted(database) == {}
        anew(database)
    assert sum(counted(database).values()) == 1
    assert counted(database) == in_the_ledger(database)


@pytest.mark.parametrize("minutes", [9, 10])
def test_an_end_that_is_seen_up_to_ten_minutes_late_is_counted(database: Database, minutes: int) -> None:
    rolled(database)
    write(database, ended(start_of(now_at(database), MINUTE) - minutes * A_MINUTE))
    anew(database)
    assert counted(database) == in_the_ledger(database)
    assert sum(counted(database).values()) == 1


def test_a_minute_older_than_ten_is_left_as_it_was(database: Database) -> None:
    at = start_of(now_at(database), MINUTE) - 30 * A_MINUTE
    write(database, ended(at, state="failed"))
    caught_up(database)
    before = counted(database)
    write(database, ended(at + SECOND))
    anew(database)
    assert counted(database) == before


def test_what_is_replayed_or_discarded_within_ten_minutes_is_counted_anew(database: Database) -> None:
    at = now_at(database) - 3 * A_MINUTE
    again, gone = ended(at, state="failed"), ended(at, state="failed", job_type="other")
    end = at + timedelta(microseconds=7)
    attempts = [stock.failure(again, finished=end), stock.failure(gone, finished=end)]
    write(database, again, gone, attempts=attempts)
    rolled(database)
    with database.transaction() as connection:
        assert replay(connection, [again["id"]]) == {again["id"]}
        assert discard(connection, [gone["id"]]) == 1
    anew(database)
    assert counted(database) == in_the_ledger(database)
    assert set(counted(database)) == {(start_of(at, MINUTE), "mail.send", "normal", "retried")}
    assert sum(counted(database, HOUR).values()) == 1


def test_counts_stay_when_the_jobs_are_pruned_or_replayed(database: Database) -> None:
    at = now_at(database) - 25 * A_MINUTE
    dead = ended(at, state="failed")
    write(database, ended(at), dead, attempts=[stock.failure(dead, finished=at)])
    caught_up(database)
    before = counted(database), counted(database, HOUR)
    with database.transaction() as connection:
        assert prune(connection, JobState.COMPLETED, age=60, limit=10) == 1
        replay(connection, [dead["id"]])
    anew(database)
    assert (counted(database), counted(database, HOUR)) == before
    assert sum(before[0].values()) == sum(before[1].values()) == 2


def test_a_ledger_that_nobody_counted_is_caught_up_with_in_steps(database: Database) -> None:
    at = now_at(database)
    jobs = [ended(at - minutes * A_MINUTE) for minutes in range(0, 300, 7)]
    write(database, *jobs)
    assert caught_up(database) > 10
    assert counted(database) == in_the_ledger(database)
    assert counted(database, HOUR) == in_the_ledger(database, HOUR)


def test_after_an_outage_the_counts_go_on_where_they_ended(database: Database) -> None:
    at = start_of(now_at(database), MINUTE)
    write(database, ended(at - 600 * A_MINUTE))
    caught_up(database)
    with database.transaction() as connection:  # as if no keeper had run since
        connection.execute(delete(ENDED_COUNTS).where(ENDED_COUNTS.c.began > at - 180 * A_MINUTE))
        connection.execute(insert(ENDED_COUNTS), [zero(at - 180 * A_MINUTE)])
        connection.execute(update(JOBS).values(job_type="renamed"))
    write(database, ended(at - 100 * A_MINUTE), ended(at - 5 * A_MINUTE))
    # From where the counts ended it takes 19 steps, from the beginning 61. Some minutes may end meanwhile.
    assert 19 <= caught_up(database) < 40
    known, ledger = counted(database), in_the_ledger(database)
    assert known[at - 600 * A_MINUTE, "mail.send", "normal", "completed"] == 1, "it is not counted again"
    assert {key: known[key] for key in ledger if key[1] != "renamed"} == {
        key: count for key, count in ledger.items() if key[1] != "renamed"
    }


def test_a_minute_has_a_bounded_number_of_groups(database: Database) -> None:
    at = now_at(database) - 3 * A_MINUTE
    many = [ended(at, job_type=f"task{number:04}") for number in range(MOST_GROUPS + 50)]
    write(database, *many, ended(at, job_type="large"), ended(at, job_type="large"))
    rolled(database)
    for span in (MINUTE, HOUR):
        found = counted(database, span)
        assert len(found) <= MOST_GROUPS
        assert sum(found.values()) == len(many) + 2
        assert found[start_of(at, span), "large", "normal", "completed"] == 2, "the largest keep their name"
        assert found[start_of(at, span), "", "", "completed"] > 50


def test_old_minutes_and_hours_are_pruned_a_few_at_a_time(database: Database) -> None:
    at = start_of(now_at(database), HOUR)
    day = timedelta(days=1)
    given = {"task": "a", "queue": "b", "outcome": "completed", "attempts": 1, "ran": 0.0, "longest": 0.0}
    old = [{**given, "span": MINUTE, "began": at - 3 * day + n * A_MINUTE} for n in range(30)]
    old += [{**given, "span": HOUR, "began": at - (91 - n) * day} for n in range(3)]
    old += [{**given, "span": MINUTE, "began": at + day}]  # a clock that was wrong
    with database.transaction() as connection:
        connection.execute(insert(ENDED_COUNTS), old)
    anew(database)
    left = counted(database)
    assert len(left) == 10, "twenty minutes at once"
    assert max(began for began, *_ in left) < at
    anew(database)
    assert counted(database) == {}
    assert min(began for began, *_ in counted(database, HOUR)) >= at - 90 * day


def test_only_one_keeper_counts(database: Database) -> None:
    """One in each minute, however many come at the same time."""
    write(database, ended(now_at(database) - A_MINUTE))
    barrier = Barrier(4)

    def race(_: int) -> bool:
        barrier.wait(30)
        return rolled(database).counted

    began = start_of(now_at(database), MINUTE)
    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(race, range(4)))
    minutes = (start_of(now_at(database), MINUTE) - began) // A_MINUTE + 1
    assert 1 <= won.count(True) <= minutes
    assert counted(database) == in_the_ledger(database)


def test_who_comes_while_another_counts_leaves_it_to_him(postgres_url: str, redis_url: str) -> None:
    app = build(Settings(database_url=postgres_url, broker_url=redis_url), set_as_current=False)
    write(app.database, ended(now_at(app.database) - A_MINUTE))
    with app.database.transaction() as first:
        assert roll_up(first).counted
        assert rolled(app.database) == RolledUp(counted=False, due_in=1.0)
    assert sum(counted(app.database).values()) == 1
    app.close()


def test_the_duty_comes_again_after_the_minute_and_at_once_while_it_is_behind(database: Database) -> None:
    duty = RollUp(database)
    write(database, ended(now_at(database) - 100 * A_MINUTE))
    assert duty.run() < 30, "there is more to count"
    caught_up(database)
    assert 0 < duty.run() <= 61
    assert counted(database) == in_the_ledger(database)


def test_nothing_is_counted_where_nothing_ended(database: Database) -> None:
    assert rolled(database).counted
    with database.reading() as connection:
        rows = connection.execute(select(ENDED_COUNTS.c.span, ENDED_COUNTS.c.attempts)).all()
    assert sorted(map(tuple, rows)) == [(MINUTE, 0), (HOUR, 0)]
