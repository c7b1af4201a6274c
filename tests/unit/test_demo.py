"""The demonstration without processes: what its load is made of, and how it is shown."""

from __future__ import annotations

import io
from collections import Counter
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType

from app.demo import board
from app.demo.board import Tally
from app.demo.load import DELIVER, REPORT, load
from app.demo.receiver import REPLIES
from celeriac.ledger.reads.job_rows import DaySummary, Line
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.priorities import QUEUES

COMPLETED, ERROR, FAILED = JobState.COMPLETED, JobState.ERROR, JobState.FAILED
SIZES = [20, 21, 29, 30, 47, 240, 999, 10_000]


def shown(renderable: RenderableType, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("jobs", SIZES)
def test_a_load_has_the_size_that_was_asked_for(jobs: int) -> None:
    wanted = load(jobs)
    assert len(wanted) == len(wanted.singles) + len(wanted.members) + 1 == jobs


@pytest.mark.parametrize("jobs", SIZES)
def test_a_load_has_every_sort_of_job_in_every_priority(jobs: int) -> None:
    wanted = load(jobs)
    assert {planned.path for planned in wanted.singles if planned.task == DELIVER} == set(REPLIES)
    assert {planned.task for planned in wanted.singles} == {DELIVER, REPORT}
    assert {planned.priority.queue for planned in wanted.singles} == set(QUEUES)
    assert len(wanted.members) >= 2, "Celery makes no chord of one"
    assert wanted.body.task == REPORT


def test_a_job_that_is_refused_should_fail_and_one_that_is_sent_away_should_not() -> None:
    expected = {planned.path: planned.state for planned in load(240).singles if planned.path}
    assert expected == {
        "/ok": COMPLETED,
        "/slow": COMPLETED,
        "/flaky": COMPLETED,
        "/limited": COMPLETED,
        "/gone": FAILED,
        "/broken": FAILED,
    }
    assert {planned.state for planned in load(240).members} == {COMPLETED}, "or its body would not run"


def test_the_sorts_of_a_load_are_spread_over_it() -> None:
    singles = load(240).singles
    halves = [Counter(planned.path for planned in half) for half in (singles[::2], singles[1::2])]
    first = Counter(planned.path for planned in singles[: len(singles) // 2])
    assert all(first[path] > 0 and halves[0][path] + halves[1][path] > first[path] for path in REPLIES)


def test_a_tally_counts_what_has_ended() -> None:
    counts = [("high", COMPLETED, 3), ("low", COMPLETED, 4), ("low", FAILED, 1), ("low", ERROR, 2)]
    tally = Tally.of(counts, wanted=12, seconds=1.25)
    assert (tally.done, tally.of_state(COMPLETED), tally.of_state(JobState.RUNNING)) == (8, 7, 0)
    assert board.plain(tally) == "  1.2 s  8 of 12 done: 2 error, 7 completed, 1 failed"
    assert board.plain(Tally.of([], wanted=12, seconds=0)) == "  0.0 s  0 of 12 done: nothing yet"


def test_the_live_view_has_a_row_for_each_queue_and_a_sum() -> None:
    counts = [("high", COMPLETED, 1234), ("low", ERROR, 2)]
    lines = [
        line.split() for line in shown(board.live(Tally.of(counts, wanted=2000, seconds=3.04))).splitlines()
    ]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in (*QUEUES, "all")}
    assert [name for name in rows if name != "all"] == list(QUEUES), "the most important first"
    assert rows["high"] == ["·", "·", "·", "1,234", "·", "·"]
    assert rows["all"] == ["·", "·", "2", "1,234", "·", "·"]
    told = shown(board.live(Tally.of(counts, wanted=2000, seconds=3.04))).splitlines()
    assert "1,234 of 2,000 jobs done after 3.0 s" in [line.strip() for line in told], "a line of its own"


def summary() -> DaySummary:
    spans = {
        "wait_p50": timedelta(milliseconds=627),
        "wait_p99": timedelta(minutes=61),
        "run_p50": timedelta(milliseconds=34),
        "run_p99": timedelta(seconds=59.9),
    }
    done = Line(task=DELIVER, state=COMPLETED, jobs=1226, retried=33, **spans)
    dead = Line(task=DELIVER, state=FAILED, jobs=10, retried=4, **spans)
    whole = Line(task=None, state=None, jobs=1236, retried=37, **dict.fromkeys(spans))
    return DaySummary(whole=whole, lines=(done, dead), failures=())


def test_the_numbers_fit_into_eighty_columns() -> None:
    text = shown(board.numbers(summary()))
    assert "…" not in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert f"{DELIVER} completed 1,226 33 627 ms 1 h 1 min 34 ms 59.9 s" in rows
    assert "all 1,236 37 – – – –" in rows


def test_the_sentence_says_how_many_came_to_which_end() -> None:
    assert board.sentence(summary()) == "1236 jobs: 1226 completed, 37 retried, 10 failed"
