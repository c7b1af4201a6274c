"""The list of jobs as a file: whole, in order, redacted, and with nothing in it that a program runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac.application import Celeriac
from celeriac.ledger.schema.models import JOBS
from celeriac.operate.listing import Filter
from celeriac.operate.presentation.export import Export
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told
from tests.console import Browser
from tests.stock import Stock


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    settings = Settings(database_url=database_url, broker_url="redis://127.0.0.1:1/0", data_dir=tmp_path)
    made = mail_app(settings, name="export")
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def write(app: Celeriac, *jobs: dict[str, Any]) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(jobs))


def test_a_file_has_what_the_list_has(app: Celeriac, full: Stock, browser: Browser) -> None:
    listed = told(app, "jobs", "list")["jobs"]
    answer = browser.get("/jobs.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith('attachment; filename="jobs-')
    found = rows(answer.text)
    assert [one["id"] for one in found] == [one["id"] for one in listed]
    assert list(found[0]) == list(listed[0])
    assert browser.json("/jobs.json") == {"version": 1, "command": "jobs list", "jobs": listed, "cut": False}
    assert "/jobs.csv?sort=newest" in browser.page("/jobs")


def test_a_file_is_of_the_filter_of_its_page(app: Celeriac, full: Stock, browser: Browser) -> None:
    found = rows(browser.get("/jobs.csv", state="failed", sort="oldest", schedule="nightly").text)
    assert [one["id"] for one in found] == [str(full.failed["id"])]
    assert browser.json("/jobs.json", **{"task": "no.such", "finished-since": "1h"})["jobs"] == []
    assert browser.get("/jobs.csv", state="lost").status_code == 400
    page = browser.page("/jobs", **{"finished-since": "1h", "state": "completed"})
    assert "/jobs.csv?sort=newest&amp;state=completed&amp;finished-since=1h" in page


def test_pages_are_joined_and_bounded(app: Celeriac) -> None:
    write(app, *(stock.job(queued=stock.before(n + 10)) for n in range(2_100)))
    export = Export(Filter(), app=app)
    assert len({one["id"] for one in rows("".join(export.csv()))}) == 2_100
    assert not export.cut
    some = Export(Filter(), most=1_500, app=app)
    assert len(rows("".join(some.csv()))) == 1_500
    assert some.cut


def test_no_cell_is_a_formula_or_unseen(app: Celeriac, browser: Browser) -> None:
    nasty = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "a\x1b[2J\u202eb", 'q"u,o\nte']
    write(app, *(stock.job(job_type=name, queued=stock.before(n + 1)) for n, name in enumerate(nasty)))
    shown = [one["task"] for one in rows(browser.get("/jobs.csv").text)]
    assert shown == [
        "'=HYPERLINK(1)",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "'\\t=1",
        "a\\x1b[2J\\u202eb",
        'q"u,o\\nte',
    ]


def test_what_is_sensitive_stays_hidden(app: Celeriac, browser: Browser) -> None:
    app.tasks["mail.send"].apply_async(("a",), {"password": "hunter2"})
    for kind in ("csv", "json"):
        text = browser.get(f"/jobs.{kind}").text
        assert "hunter2" not in text
        assert "***" in text


def test_the_command_prints_the_same(app: Celeriac, full: Stock, browser: Browser) -> None:
    printed = call(app, "jobs", "list", "--csv", "--state", "failed")
    assert printed.exit_code == 0
    assert rows(printed.stdout) == rows(browser.get("/jobs.csv", state="failed").text)
    assert call(app, "jobs", "list", "--csv", "--task", "no.such").exit_code == 1
    assert call(app, "jobs", "list", "--csv", "--json").exit_code == 2
