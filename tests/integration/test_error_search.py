"""A search for what the last failure says looks at so many failures at once, and goes on behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac import Celeriac
from celeriac.ledger.schema.models import JOBS
from celeriac.operate import listing
from celeriac.operate.listing import Filter, JobState, Sort
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import build
from tests.commands import told
from tests.console import Browser
from tests.support import wait_until

#: The newest first: every second one is a failure, every fourth one says "timeout".
AGES = range(100, 120)


def row(age: int) -> dict[str, Any]:
    if age % 2:
        return stock.job(queued=stock.before(age))
    said = "TimeoutError: 100%_" if age % 4 == 0 else "OSError: away"
    state = "error" if age % 8 == 0 else "failed"
    ended = {"finished": None, "dispatched": None} if state == "error" else {}
    return stock.failed(queued=stock.before(age), failure_info=said, state=state, **ended)


ROWS = {age: row(age) for age in AGES}


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = build(
        Settings(broker_url=redis_url, database_url=database_url), name="found", set_as_current=False
    )
    with made.database.transaction() as connection:
        connection.execute(insert(JOBS), list(ROWS.values()))
    yield made
    made.database.close()


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


def ages(jobs: Any) -> list[int]:
    known = {str(row["id"]): age for age, row in ROWS.items()}
    return [known[job.id] for job in jobs]


@pytest.mark.parametrize(("sort", "every"), [(Sort.NEWEST, [*AGES]), (Sort.OLDEST, [*reversed(AGES)])])
@pytest.mark.parametrize("look_at", [1, 3, 10, 11, None])
def test_every_failure_is_searched_in_the_end(
    app: Celeriac, sort: Sort, every: list[int], look_at: int | None
) -> None:
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = listing.page(Filter(error="TIMEOUT"), sort=sort, after=after, look_at=look_at, app=app)
        found, after, pages = found + ages(page.jobs), page.next, pages + 1
        assert page.looked_at == (None if after is None else look_at)
    assert found == [age for age in every if age % 4 == 0]
    assert pages == (1 if look_at is None else len(AGES) // 2 // look_at + 1)


def test_a_page_that_is_full_before_the_search_ends_goes_on_after_its_last_job(app: Celeriac) -> None:
    page = listing.page(Filter(error="timeout"), limit=2, look_at=9, app=app)
    assert ages(page.jobs) == [100, 104]
    assert page.looked_at is None
    after = listing.page(Filter(error="timeout"), limit=2, after=page.next, look_at=9, app=app)
    assert ages(after.jobs) == [108, 112]


def test_what_else_is_wanted_narrows_what_is_found_and_time_what_is_searched(app: Celeriac) -> None:
    dead = Filter(error="timeout", state=JobState.FAILED)
    assert ages(listing.page(dead, look_at=3, app=app).jobs) == [100]
    until = Filter(error="timeout", until=ROWS[105]["queued"])
    assert ages(listing.page(until, look_at=2, app=app).jobs) == [108]


def test_they_are_counted_as_far_as_they_are_searched(app: Celeriac) -> None:
    wanted = Filter(error="timeout")
    assert listing.count_failures(wanted, look_at=4, app=app) == (
        {JobState.FAILED: 1, JobState.ERROR: 1},
        False,
    )
    assert listing.count_failures(wanted, look_at=11, app=app) == (
        {JobState.FAILED: 3, JobState.ERROR: 2},
        True,
    )


def test_the_page_says_how_far_it_searched_and_leads_on(
    app: Celeriac, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_SEARCHED", 4)
    seen, path, said = [], "/jobs?error=timeout", []
    while path:
        page = browser.page(path)
        seen += re.findall(r'id="row-([^"]+)"', page)
        said += re.findall(r"<p>(4 failures were searched[^<]+)</p>", page)
        following = re.search(r'href="([^"]+)" rel="next">([^<]+)<', page)
        path = unescape(following[1]) if following else ""
        assert following is None or following[2] == "search on"
    assert seen == [str(ROWS[age]["id"]) for age in AGES if age % 4 == 0]
    assert said == [
        "4 failures were searched for this error, the newest that fit the time.",
        "4 failures were searched for this error, the newest that fit the time behind the page before.",
    ]
    assert "no job of these fits" in browser.page("/jobs?error=nothing")
    document = browser.json("/jobs", error="nothing")
    assert (document["jobs"], document["looked_at"]) == ([], 4)
    assert document["next"]
    assert browser.json("/api/v1/jobs", error="nothing")["next"] == document["next"]
    assert len(told(app, "jobs", "list", "--error", "timeout")["jobs"]) == 5, "a terminal has the time"

    def tabs() -> dict[str, str]:
        found = browser.page("/jobs?error=timeout").split('class="tabs"')[1].split("</nav>")[0]
        return dict(re.findall(r">(\w+)\s*<span class=\"count\">([^<]+)</span>", found))

    wait_until(lambda: tabs()["all"] != "…", within=30, saying="they are counted")
    assert (tabs()["all"], tabs()["failed"], tabs()["completed"]) == ("2+", "1+", "0+")


def test_a_file_has_what_is_behind_the_bound_too(
    app: Celeriac, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.operate.presentation.export.MOST_SEARCHED", 3)
    found = browser.http.get("/jobs.json?error=timeout").json()
    assert [job["id"] for job in found["jobs"]] == [str(ROWS[age]["id"]) for age in AGES if age % 4 == 0]
    assert found["cut"] is False
