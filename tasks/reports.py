"""Reports: a day of the ledger as a CSV file for programs and an HTML page for people."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any

from celery import shared_task

from celeriac import FailureLine, Line, Summary, duration_text, summarise


class BadReport(ValueError):
    """An argument is wrong, and a retry cannot help."""

    def __init__(self, argument: str, reason: str) -> None:
        super().__init__(argument, reason)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


@shared_task(name="reports.daily", bind=True, dont_autoretry_for=(BadReport,))
def daily(self: Any, day: str | date | None = None, directory: str | None = None) -> dict[str, Any]:
    """Write ``ledger-DAY.csv`` and ``ledger-DAY.html``; return their paths and the number of jobs.

    They show the jobs that were queued on that day: how many by task and state, how long they waited and ran,
    and how attempts failed. Each file is replaced as a whole or not at all, so the task can run again at any
    time.

    Args:
        day: a day of UTC, as a date or ``YYYY-MM-DD``; None: yesterday.
        directory: on the worker's machine, made if it is missing; None: ``reports`` in the data directory.
    """
    summary = summarise(_day(day, today=datetime.now(UTC).date()), app=self.app)
    place = Path(self.app.settings.data_dir) / "reports" if directory is None else Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    stem = f"ledger-{summary.day}"
    files = {"csv": place / f"{stem}.csv", "html": place / f"{stem}.html"}
    _write(files["csv"], table(summary))
    _write(files["html"], page(summary))
    return {"jobs": summary.whole.jobs} | {kind: str(path) for kind, path in files.items()}


def table(summary: Summary) -> str:
    """The summary as CSV: a row for each task and state, then one for each way to fail.

    Durations are seconds. A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", *(name for name, _ in _LINE), *(name for name, _ in _FAILURE)])
    for line in summary.lines:
        writer.writerow(["jobs", *_cells(line, _LINE), *[""] * len(_FAILURE)])
    for failure in summary.failures:
        writer.writerow(
            ["failures", _no_formula(failure.task), *[""] * (len(_LINE) - 1), *_cells(failure, _FAILURE)]
        )
    return text.getvalue()


def page(summary: Summary) -> str:
    """The summary as one HTML page that needs nothing else."""
    whole = summary.whole
    made = summary.made.strftime("%Y-%m-%d %H:%M:%S")
    jobs = [_shown(line, _LINE_SHOWN) for line in (*summary.lines, whole)] if whole.jobs else []
    failures = [_shown(failure, _FAILURE_SHOWN) for failure in summary.failures]
    return _PAGE.format(
        day=summary.day,
        made=f"{made} UTC",
        jobs=_table([name for name, _ in _LINE_SHOWN], jobs, empty="No job was queued on this day."),
        failures=_table([name for name, _ in _FAILURE_SHOWN], failures, empty="No attempt failed."),
    )


Column = tuple[str, Callable[[Any], object]]

_SPANS = ("wait_p50", "wait_p99", "run_p50", "run_p99")

_LINE: Sequence[Column] = (
    ("task", lambda line: line.task),
    ("state", lambda line: line.state),
    ("jobs", lambda line: line.jobs),
    ("retried", lambda line: line.retried),
    *((f"{name}_seconds", lambda line, name=name: _seconds(getattr(line, name))) for name in _SPANS),
)
_FAILURE: Sequence[Column] = (
    ("kind", lambda failure: failure.kind),
    ("exception", lambda failure: failure.exception_type),
    ("frame", lambda failure: failure.frame),
    ("attempts", lambda failure: failure.attempts),
    ("failed_jobs", lambda failure: failure.jobs),
    ("last", lambda failure: failure.last.isoformat()),
    ("example", lambda failure: failure.example),
)
_LINE_SHOWN: Sequence[Column] = (
    ("Task", lambda line: "all" if line.task is None else line.task),
    ("State", lambda line: "all" if line.state is None else line.state),
    ("Jobs", lambda line: f"{line.jobs:,}"),
    ("Retried", lambda line: f"{line.retried:,}"),
    ("Wait p50", lambda line: duration_text(line.wait_p50)),
    ("Wait p99", lambda line: duration_text(line.wait_p99)),
    ("Run p50", lambda line: duration_text(line.run_p50)),
    ("Run p99", lambda line: duration_text(line.run_p99)),
)
_FAILURE_SHOWN: Sequence[Column] = (
    ("Task", lambda failure: failure.task),
    ("Kind", lambda failure: failure.kind),
    ("Exception", lambda failure: failure.exception_type),
    ("Where", lambda failure: failure.frame),
    ("Attempts", lambda failure: f"{failure.attempts:,}"),
    ("Jobs", lambda failure: f"{failure.jobs:,}"),
    ("Last", lambda failure: failure.last.strftime("%H:%M:%S")),
    ("Example", lambda failure: failure.example),
)


def _day(day: str | date | None, *, today: date) -> date:
    if day is None:
        return today - timedelta(days=1)
    try:
        found = day if isinstance(day, date) else date.fromisoformat(day)
    except (TypeError, ValueError):
        found = None
    if type(found) is not date or found == date.max:
        raise BadReport("day", f"wanted a date or YYYY-MM-DD, found {day!r}")
    return found


def _cells(line: Line | FailureLine, columns: Iterable[Column]) -> list[object]:
    return [_no_formula(value(line)) for _, value in columns]


def _no_formula(value: object) -> object:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _seconds(span: timedelta | None) -> str | None:
    return None if span is None else f"{span.total_seconds():.6f}"


def _shown(line: Line | FailureLine, columns: Iterable[Column]) -> list[str]:
    return ["" if (found := value(line)) is None else str(found) for _, value in columns]


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> str:
    if not rows:
        return f"<p>{escape(empty)}</p>"
    body = "\n".join(_row("td", row) for row in rows)
    return f"<table>\n<thead>{_row('th', names)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(text, encoding="utf-8", errors="replace", newline="")
        os.replace(draft, path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Jobs of {day}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #8884; padding: .3rem .6rem; text-align: left; vertical-align: top }}
td {{ font-variant-numeric: tabular-nums; overflow-wrap: anywhere }}
:root {{ color-scheme: light dark }}
</style>
</head>
<body>
<h1>Jobs of {day}</h1>
<p>Queued on this day, in UTC; as read at {made}. A wait lasts from acceptance to the start of the
last attempt.</p>
{jobs}
<h2>Attempts that failed</h2>
{failures}
</body>
</html>
"""
