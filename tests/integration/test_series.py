"""What ended, over time, on both databases: from the counts and, in the newest minutes, from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import delete, insert

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ledger.connection.clock import clock
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import ENDED_COUNTS
from celeriac.ledger.upkeep.roll_up import HOUR, MINUTE, start_of
from celeriac.operate import dead_letters
from celeriac.operate.dead_letters import Cause
from celeriac.operate.history import sparklines
from celeriac.operate.history.series import RANGES, names, series, spread
from celeriac.operate.history.sparklines import by_cause, by_queue, of_schedule
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build

SECOND, A_MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(broker_url=redis_url, database_url=database_url)
    made = build(settings, set_as_current=False)
    yield made
    made.close()


def now_at(app: Celeriac) -> datetime:
    with app.database.reading() as connection:
        return clock(connection)


def ended(at: datetime, **values: Any) -> dict[str, Any]:
    return stock.job(**{"queued": at - 30 * SECOND, "started": at - 4 * SECOND, "finished": at, **values})


def write(app: Celeriac, *jobs: dict[str, Any]) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(jobs))


@pytest.mark.parametrize("range", RANGES)
def test_a_series_has_every_step_of_its_range_and_each_end_once(app: Celeriac, range: str) -> None:
    length, step = RANGES[range]
    at = now_at(app)
    ages = [timedelta(0), A_MINUTE, 11 * A_MINUTE, 70 * A_MINUTE, 5 * 60 * A_MINUTE, 23 * 60 * A_MINUTE]
    write(app, *(ended(at - age) for age in ages), ended(at - 40 * SECOND, state="failed"))
    stock.rolled_up(app)
    found = series(range, app=app)
    assert found.began[-1] <= at + A_MINUTE
    assert len(found.began) == length.total_seconds() / step
    assert {later - one for one, later in zip(found.began, found.began[1:], strict=False)} == {step * SECOND}
    assert sum(found.completed) == sum(age < length - step * SECOND for age in ages)
    assert (sum(found.failed), sum(found.retried), sum(found.cancelled)) == (1, 0, 0)
    assert max(each for each in found.average if each is not None) == pytest.approx(4)
    assert max(each for each in found.longest if each is not None) == pytest.approx(4)


def test_the_newest_minutes_are_live(app: Celeriac) -> None:
    stock.rolled_up(app)
    write(app, ended(now_at(app)))
    assert sum(series("1h", app=app).completed) == 1, "although nobody has counted it"


def test_counts_are_shown_when_the_jobs_are_gone(app: Celeriac) -> None:
    write(app, ended(now_at(app) - 20 * A_MINUTE))
    stock.rolled_up(app)
    with app.database.transaction() as connection:
        connection.execute(delete(JOBS))
    assert [sum(series(range, app=app).completed) for range in RANGES] == [1] * len(RANGES)


def test_a_long_range_reads_hours_and_then_minutes(app: Celeriac) -> None:
    """The running hour is in the minutes, and counted once."""
    hour = start_of(now_at(app), HOUR)
    place = {"task": "a", "queue": "normal", "outcome": "completed", "ran": 1.0, "longest": 1.0}
    rows = [
        {**place, "span": HOUR, "began": hour - 50 * DAY, "attempts": 1},
        {**place, "span": HOUR, "began": hour - 60 * A_MINUTE, "attempts": 10},
        {**place, "span": MINUTE, "began": hour - 30 * A_MINUTE, "attempts": 10},
        {**place, "span": HOUR, "began": hour - 200 * DAY, "attempts": 1000},
    ]
    with app.database.transaction() as connection:
        connection.execute(insert(ENDED_COUNTS), rows)
    assert [sum(series(range, app=app).completed) for range in ("7d", "30d", "90d")] == [10, 10, 11]


@pytest.mark.parametrize("range", ["1h", "7d"])
def test_a_spread_has_each_wait_and_run_once(app: Celeriac, range: str) -> None:
    """From the counts and, in the newest minutes, from the ledger; of a retried attempt only its run."""
    at = now_at(app)
    waited = {"next_attempt_after": at - 24 * SECOND}  # twenty seconds until it began
    old = ended(
        at - 5 * A_MINUTE, next_attempt_after=at - 5 * A_MINUTE - 4 * SECOND, started=at - 5 * A_MINUTE
    )
    retried = ended(at, job_type="other", try_count=2, **waited)
    never_ran = ended(at, state="cancelled")
    write(app, ended(at, **waited), old, retried, never_ran)
    with app.database.transaction() as connection:
        first = stock.failure(retried, attempt=1, started=at - 130 * SECOND, finished=at - 10 * SECOND)
        connection.execute(insert(FAILURES), [first])
    stock.rolled_up(app)
    assert summed(app, "wait", range) == {"3 to 10": 1, "10 to 30": 2}
    assert summed(app, "run", range) == {"0 to 0.01": 1, "3 to 10": 2, "60 to 300": 1}
    assert summed(app, "run", range, task="other") == {"3 to 10": 1, "60 to 300": 1}
    assert summed(app, "wait", range, queue="low") == {}


def summed(app: Celeriac, of: str, range: str, **only: str) -> dict[str, int]:
    """How many, by the seconds that they took."""
    found = spread(of, range, app=app, **only)
    assert len(found.counts) == len(found.began)
    edges = [0, *found.bounds, "∞"]
    names_ = [f"{low:g} to {high:g}" if high != "∞" else "the rest" for low, high in pairwise(edges)]
    sums = [sum(column[place] for column in found.counts) for place, _ in enumerate(names_)]
    return {name: count for name, count in zip(names_, sums, strict=True) if count}


def test_counts_of_an_older_version_have_no_spread(app: Celeriac) -> None:
    minute = start_of(now_at(app), MINUTE) - 30 * A_MINUTE
    row = {"span": MINUTE, "began": minute, "task": "a", "queue": "low", "outcome": "completed"}
    with app.database.transaction() as connection:
        connection.execute(insert(ENDED_COUNTS), [row | {"attempts": 7, "ran": 1.0, "longest": 1.0}])
    assert summed(app, "run", "1h") == {}
    assert sum(series("1h", app=app).completed) == 7


def test_a_spread_of_nothing_that_has_one_is_refused(app: Celeriac) -> None:
    with pytest.raises(BadArgument, match="wait, run"):
        spread("colour", "1h", app=app)


def test_a_series_is_of_a_task_or_a_queue(app: Celeriac) -> None:
    at = now_at(app)
    old = at - 20 * A_MINUTE
    write(
        app,
        ended(at, job_type="a", queue="high"),
        ended(old, job_type="a", queue="low"),
        ended(old, job_type="b", queue="low"),
        ended(old, job_type="b", queue="gpu.low"),
    )
    stock.rolled_up(app)
    assert sum(series("1h", task="a", app=app).completed) == 2
    assert sum(series("1h", queue="low", app=app).completed) == 2
    assert sum(series("1h", task="a", queue="low", app=app).completed) == 1
    assert sum(series("6h", queue="gpu", app=app).completed) == 1, "a lane has all its levels"
    both = {"task": ["a", "b"], "queue": ["gpu.low", "high", "low"]}
    assert names("24h", app=app) == names("7d", app=app) == both


def test_a_range_that_there_is_not_is_refused(app: Celeriac) -> None:
    with pytest.raises(BadArgument, match="wanted one of 1h, 6h"):
        series("2h", app=app)


def test_each_queue_has_an_hour_of_minutes(app: Celeriac) -> None:
    at = start_of(now_at(app), MINUTE)
    write(
        app,
        ended(at - 5 * A_MINUTE, queue="high"),
        ended(at - 5 * A_MINUTE, queue="high", state="failed"),
        ended(at, queue="low"),
    )
    stock.rolled_up(app)
    found = by_queue(app=app)
    assert set(found) == {"high", "low"}
    ended_, failed = found["high"]
    assert (len(ended_), sum(ended_), max(ended_), sum(failed)) == (60, 2, 2, 1)


def test_each_cause_of_failure_has_a_day_of_hours(app: Celeriac) -> None:
    at = now_at(app)
    one = stock.failed(queued=at - 25 * 60 * A_MINUTE, try_count=3, finished=at)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [one])
        times = [at - 24 * 60 * A_MINUTE, at - 60 * A_MINUTE, at]
        rows = [stock.failure(one, attempt=n + 1, finished=each) for n, each in enumerate(times)]
        connection.execute(insert(FAILURES), rows)
    found = by_cause(app=app)
    (group,) = dead_letters.groups(app=app)
    assert list(found) == [Cause.of(group).key]
    (hours,) = found.values()
    assert (len(hours), sum(hours)) == (24, 2)


def test_a_schedule_has_a_day_of_hours(app: Celeriac, monkeypatch: pytest.MonkeyPatch) -> None:
    at = start_of(now_at(app), 60 * MINUTE)
    made = [at - 24 * 60 * A_MINUTE, at - 23 * 60 * A_MINUTE, at, at]
    rows = [stock.failed(queued=each, schedule="nightly") for each in made[:3]]
    rows.append(stock.pending(queued=at, schedule="nightly"))
    rows.append(stock.failed(queued=at, schedule="hourly"))
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)
    day = of_schedule("nightly", app=app)
    assert (day.since, day.whole) == (at - 23 * 60 * A_MINUTE, True)
    assert (day.made, day.failed) == ([1, *[0] * 22, 2], [1, *[0] * 22, 1])
    monkeypatch.setattr(sparklines, "_MOST_FIRES", 2)
    day = of_schedule("nightly", app=app)
    assert (sum(day.made), day.whole) == (2, False), "the newest"
