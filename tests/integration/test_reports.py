"""A day of the ledger in numbers, on both databases: against the same numbers, counted the slow way."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from celeriac.application import Celeriac
from celeriac.errors import BadArgument
from celeriac.ledger.reads import job_rows
from celeriac.ledger.reads.job_rows import FAILURE_LINES, DaySummary, Line
from celeriac.ledger.schema.lifecycle import TERMINAL, AttemptKind, JobState
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.report import summarise
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build

DAY = date(2025, 3, 30)
MORNING = datetime.combine(DAY, time(), tzinfo=UTC)
MIDNIGHT = MORNING + timedelta(days=1)
_TASKS = ("mail.send", "reports.daily", "webhooks.deliver")


@pytest.fixture
def app(database_url: str) -> Iterator[Celeriac]:
    made = build(
        Settings(database_url=database_url, broker_url="redis://127.0.0.1:1/0"), set_as_current=False
    )
    with closing(made.database):
        yield made


def row(queued: datetime, **values: Any) -> dict[str, Any]:
    """A job that was done at its first attempt a second after it was queued, unless ``values`` say more."""
    given = {"max_tries": 9, "tries_before": 0, "user_id": None}
    return stock.job(queued=queued, **(given | values))


def failed(job: UUID, attempt: int, at: datetime, **values: Any) -> dict[str, Any]:
    given = {
        "kind": AttemptKind.ERROR,
        "exception_type": "OSError",
        "exception": "away",
        "frame": "mail.py:send",
    }
    return {"job_id": job, "attempt": attempt, "finished": at, **given, **values}


def write(app: Celeriac, jobs: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]] = ()) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(jobs))
        if failures:
            connection.execute(insert(FAILURES), list(failures))


def summary(app: Celeriac, **options: Any) -> DaySummary:
    with app.database.reading() as connection:
        return job_rows.day_summary(connection, MORNING, MIDNIGHT, **options)


def any_job(dice: random.Random) -> dict[str, Any]:
    state = dice.choice(list(JobState))
    queued = MORNING + timedelta(seconds=dice.uniform(0, 86_399))
    started = queued + timedelta(seconds=dice.choice([0, 1, dice.expovariate(0.1)]))
    claimed = state in (JobState.RUNNING, JobState.COMPLETED) or dice.random() < 0.5
    ended = state in TERMINAL
    return row(
        queued,
        job_type=dice.choice(_TASKS),
        state=str(state),
        try_count=dice.randint(1, 4) if claimed else 0,
        started=started if claimed else None,
        finished=started + timedelta(seconds=dice.expovariate(1)) if ended else None,
        worker_id=UUID(int=1) if state is JobState.RUNNING else None,
    )


def counted(jobs: Sequence[dict[str, Any]], task: str | None, state: JobState | None) -> Line:
    """The line of ``jobs``, the slow way."""
    mine = [one for one in jobs if task in (None, one["job_type"]) and state in (None, one["state"])]
    started = [one for one in mine if one["started"] is not None]
    waits = sorted(one["started"] - one["queued"] for one in started)
    runs = sorted(one["finished"] - one["started"] for one in started if one["finished"] is not None)
    return Line(
        task=task,
        state=state,
        jobs=len(mine),
        retried=sum(one["try_count"] > 1 for one in mine),
        wait_p50=nearest_rank(waits, 50),
        wait_p99=nearest_rank(waits, 99),
        run_p50=nearest_rank(runs, 50),
        run_p99=nearest_rank(runs, 99),
        wait_p95=nearest_rank(waits, 95),
        run_p95=nearest_rank(runs, 95),
    )


def nearest_rank(ordered: Sequence[timedelta], percent: int) -> timedelta | None:
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None


@pytest.mark.parametrize("seed", range(3))
def test_a_summary_counts_as_one_would_by_hand(app: Celeriac, seed: int) -> None:
    dice = random.Random(seed)
    jobs = [any_job(dice) for _ in range(400)]
    write(app, jobs)
    found = summary(app)
    kinds = sorted({(one["job_type"], one["state"]) for one in jobs})
    assert found.whole == counted(jobs, None, None)
    assert list(found.lines) == [counted(jobs, task, JobState(state)) for task, state in kinds]


def test_a_ledger_without_jobs_has_an_empty_summary(app: Celeriac) -> None:
    nothing = Line(
        task=None, state=None, jobs=0, retried=0, wait_p50=None, wait_p99=None, run_p50=None, run_p99=None
    )
    assert summary(app) == DaySummary(whole=nothing, lines=(), failures=())


def test_a_day_begins_at_its_midnight_and_ends_before_the_next(app: Celeriac) -> None:
    tick = timedelta(microseconds=1)
    write(app, [row(moment) for moment in (MORNING - tick, MORNING, MIDNIGHT - tick, MIDNIGHT)])
    assert summary(app).whole.jobs == 2


def test_a_job_whose_clocks_disagree_has_no_negative_run(app: Celeriac) -> None:
    write(app, [row(MORNING, started=MORNING + timedelta(seconds=9), finished=MORNING)])
    assert summary(app).whole.run_p50 is None


def test_the_attempts_before_a_replay_count(app: Celeriac) -> None:
    write(app, [row(MORNING, try_count=6, tries_before=5, max_tries=10), row(MORNING)])
    assert summary(app).whole.retried == 1


def test_a_summary_can_be_of_one_users_jobs(app: Celeriac) -> None:
    jobs = [row(MORNING, user_id=user) for user in ("one", "two", None)]
    write(app, jobs, [failed(job["id"], 1, MORNING) for job in jobs])
    found = summary(app, user_id="two")
    assert (found.whole.jobs, [line.jobs for line in found.failures]) == (1, [1])


def test_failures_are_told_apart_by_how_they_failed(app: Celeriac) -> None:
    first, second, older = row(MORNING), row(MORNING), row(MORNING - timedelta(days=1))
    last = MORNING + timedelta(seconds=7)
    similar = [
        failed(first["id"], 1, MORNING),
        failed(first["id"], 2, last),
        failed(second["id"], 1, MORNING),
    ]
    others = [
        failed(
            second["id"], 2, MORNING, kind=AttemptKind.LOST, exception_type=None, frame=None, exception=None
        )
    ]
    write(app, [first, second, older], [*similar, *others, failed(older["id"], 1, MORNING)])
    often, once = summary(app).failures
    assert (often.task, often.kind, often.exception_type, often.frame) == (
        "mail.send",
        "error",
        "OSError",
        "mail.py:send",
    )
    assert (often.attempts, often.jobs, often.last, often.example) == (3, 2, last, "away")
    assert (once.kind, once.exception_type, once.frame, once.example) == ("lost", None, None, None)


def test_a_summary_is_bounded_however_many_ways_there_are_to_fail(app: Celeriac) -> None:
    job = row(MORNING)
    callbacks = [
        failed(job["id"], n, MORNING, frame=f"mail.py:f{n}", exception="x" * 4000)
        for n in range(FAILURE_LINES + 9)
    ]
    write(app, [job], callbacks)
    found = summary(app).failures
    assert len(found) == FAILURE_LINES
    assert {len(line.example or "") for line in found} == {300}


def test_a_day_is_summarised_by_its_date(app: Celeriac) -> None:
    write(app, [row(MORNING), row(MIDNIGHT)])
    found = summarise(DAY, app=app)
    assert (found.day, found.whole.jobs) == (DAY, 1)
    assert abs(found.made - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("day", [MORNING, "2025-03-30", None, date.max])
def test_what_is_no_day_is_not_summarised(app: Celeriac, day: Any) -> None:
    with pytest.raises(BadArgument, match=r"^day: "):
        summarise(day, app=app)


def test_the_task_writes_both_files_of_a_day(sqlite_url: str, tmp_path: Path) -> None:
    import tasks.reports  # noqa: F401  # shared: known to every app that is made

    settings = Settings(database_url=sqlite_url, broker_url="redis://127.0.0.1:1/0", data_dir=tmp_path)
    app = build(settings, set_as_current=False)
    with closing(app.database):
        write(app, [row(MORNING), row(MORNING, state="failed")])
        told = app.tasks["reports.daily"](str(DAY))
    assert told == {
        "jobs": 2,
        "csv": str(tmp_path / "reports" / f"ledger-{DAY}.csv"),
        "html": str(tmp_path / "reports" / f"ledger-{DAY}.html"),
    }
    with Path(told["csv"]).open(newline="") as file:
        assert [(line["state"], line["jobs"]) for line in csv.DictReader(file)] == [
            ("completed", "1"),
            ("failed", "1"),
        ]
    assert f"Jobs of {DAY}" in Path(told["html"]).read_text()
