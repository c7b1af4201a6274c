"""Reports without a ledger: what the two files say of a summary."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from celeriac.display import duration_text
from celeriac.ledger.schema.lifecycle import JobState
from celeriac.operate.report import FailureLine, Line, Summary
from tasks.reports import BadReport, _day, _write, page, table

DAY = date(2025, 1, 1)
MADE = datetime(2025, 1, 1, 23, 59, 58, tzinfo=UTC)
MARKUP = '<script>alert("1")</script> & {braces}'


def line(**values: Any) -> Line:
    spans = dict.fromkeys(("wait_p50", "wait_p99", "run_p50", "run_p99"))
    return Line(**{"task": None, "state": None, "jobs": 0, "retried": 0, **spans, **values})


def failure(**values: Any) -> FailureLine:
    given = {"task": "mail.send", "kind": "error", "exception_type": "OSError", "frame": "mail.py:send"}
    return FailureLine(**{**given, "attempts": 3, "jobs": 2, "last": MADE, "example": "away", **values})


def summary(lines: tuple[Line, ...] = (), failures: tuple[FailureLine, ...] = ()) -> Summary:
    whole = line(jobs=sum(one.jobs for one in lines), retried=sum(one.retried for one in lines))
    return Summary(day=DAY, made=MADE, whole=whole, lines=lines, failures=failures)


SOME = line(
    task="mail.send",
    state=JobState.COMPLETED,
    jobs=1200,
    retried=7,
    wait_p50=timedelta(milliseconds=12),
    wait_p99=timedelta(seconds=75),
    run_p50=timedelta(microseconds=1),
    run_p99=timedelta(hours=2, minutes=3),
)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), strict=True))


class Cells(HTMLParser):
    """The texts of a page's cells, and the elements that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self._inside = tag in ("td", "th")
        if self._inside:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


def test_the_table_has_a_row_for_each_task_and_state_and_for_each_way_to_fail() -> None:
    jobs, failed = read(table(summary((SOME,), (failure(),))))
    assert {name: value for name, value in jobs.items() if value} == {
        "row": "jobs",
        "task": "mail.send",
        "state": "completed",
        "jobs": "1200",
        "retried": "7",
        "wait_p50_seconds": "0.012000",
        "wait_p99_seconds": "75.000000",
        "run_p50_seconds": "0.000001",
        "run_p99_seconds": "7380.000000",
    }
    assert {name: value for name, value in failed.items() if value} == {
        "row": "failures",
        "task": "mail.send",
        "kind": "error",
        "exception": "OSError",
        "frame": "mail.py:send",
        "attempts": "3",
        "failed_jobs": "2",
        "last": "2025-01-01T23:59:58+00:00",
        "example": "away",
    }


@pytest.mark.parametrize("text", ['a,b;"c"', "two\nlines", "ü €", "'"])
def test_a_text_comes_back_from_the_table(text: str) -> None:
    assert read(table(summary(failures=(failure(example=text),))))[0]["example"] == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_text_of_the_table_is_a_formula(text: str) -> None:
    found = read(
        table(summary((line(task=text, state=JobState.FAILED, jobs=1),), (failure(task=text, example=text),)))
    )
    assert [row["task"] for row in found] == [f"'{text}"] * 2
    assert found[1]["example"] == f"'{text}"


def test_the_page_shows_what_the_table_has_and_a_total() -> None:
    texts = Cells(page(summary((SOME,), (failure(),)))).texts
    assert texts[8:16] == ["mail.send", "completed", "1,200", "7", "12 ms", "1 min 15 s", "0 ms", "2 h 3 min"]
    assert texts[16:20] == ["all", "all", "1,200", "7"]
    assert texts[-8:] == ["mail.send", "error", "OSError", "mail.py:send", "3", "2", "23:59:58", "away"]


def test_the_page_shows_markup_as_text() -> None:
    jobs = (line(task=MARKUP, state=JobState.FAILED, jobs=1),)
    found = Cells(
        page(summary(jobs, (failure(task=MARKUP, exception_type=MARKUP, frame=MARKUP, example=MARKUP),)))
    )
    assert "script" not in found.tags
    assert sum(text.startswith(MARKUP) for text in found.texts) == 5


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(summary((SOME,), (failure(),)))
    assert not re.search(r"https?:|src=|url\(|@import|<link|<script", text)


def test_a_day_without_jobs_is_said_to_have_none() -> None:
    text = page(summary())
    assert "No job was queued on this day." in text
    assert "No attempt failed." in text
    assert read(table(summary())) == []


def test_a_text_that_is_null_is_left_empty() -> None:
    nothing = failure(exception_type=None, frame=None, example=None)
    assert "None" not in page(summary(failures=(nothing,))) + table(summary(failures=(nothing,)))


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (None, "–"),
        (timedelta(), "0 ms"),
        (timedelta(milliseconds=999.4), "999 ms"),
        (timedelta(seconds=59.4), "59.4 s"),
        (timedelta(seconds=60), "1 min 0 s"),
        (timedelta(seconds=3599.6), "1 h 0 min"),
        (timedelta(days=60), "1,440 h 0 min"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_fits(span: timedelta | None, text: str) -> None:
    assert duration_text(span) == text


@pytest.mark.parametrize(
    ("given", "day"), [(None, date(2024, 12, 31)), ("2025-01-01", DAY), (DAY, DAY), ("20250101", DAY)]
)
def test_a_day_is_a_date_its_text_or_yesterday(given: Any, day: date) -> None:
    assert _day(given, today=DAY) == day


@pytest.mark.parametrize(
    "given", ["", "yesterday", "2025-02-30", 20250101, MADE, "9999-12-31", ["2025-01-01"]]
)
def test_what_is_no_day_is_refused(given: Any) -> None:
    with pytest.raises(BadReport, match=r"^day: "):
        _day(given, today=DAY)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for text in ("one, and longer\r\n", "two\r\n"):
        _write(path, text)
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_replaced_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.mkdir()
    with pytest.raises(OSError):
        _write(path, "text")
    assert list(tmp_path.iterdir()) == [path]
