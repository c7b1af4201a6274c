"""What an open page is sent every two seconds: what changes of it, made once for all who may see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.console.shared import SharedValues
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser, users_file
from tests.stock import Stock

AGAIN = {"hx-request": "true"}  # as the script of an open page asks
PAGES = ("/", "/jobs", "/dead", "/queues", "/limits", "/schedules", "/workers", "/tasks", "/doctor", "/audit")


@pytest.fixture
def app(redis_url: str, sqlite_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    users = users_file(tmp_path)
    given = Settings(database_url=sqlite_url, broker_url=redis_url, console_users=users, data_dir=tmp_path)
    made = mail_app(given, name="production")
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


@pytest.fixture
def browser(app: Celeriac, full: Stock) -> Iterator[Browser]:
    made = Browser(app, role=Role.OPERATOR)
    yield made
    made.close()


@pytest.fixture
def kept(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A console whose answers are given again for as long as the test lasts."""
    monkeypatch.setattr(browser.console.same, "_lasts", 3600.0)
    return browser


def again(browser: Browser, path: str) -> str:
    found = browser.http.get(path, headers=AGAIN)
    assert found.status_code == 200, found.text
    return str(found.text)


def read(html: str) -> str:
    """When the figures were read: two answers that tell the same moment are one."""
    return re.findall(r'data-read="([^"]+)"', html)[0]


def tokens(html: str) -> set[str]:
    return set(re.findall(r'name="form_token" value="([^"]+)"', html))


def entered(browser: Browser, role: Role) -> dict[str, Any]:
    """Cookies of a new session."""
    browser.http.cookies.clear()
    assert browser.log_in(str(role)).status_code == 200
    return dict(browser.http.cookies)


@pytest.mark.parametrize("path", PAGES)
def test_an_open_page_is_sent_what_changes_of_it_and_no_more(browser: Browser, path: str) -> None:
    whole, part = browser.page(path), again(browser, path)
    assert part.strip().startswith('<div id="live"')
    assert part.strip().endswith("</div>")
    assert part.count("<div") == part.count("</div>")
    assert "<nav aria-label" not in part
    assert "<h1>" in part
    assert re.findall("<h1>.*?</h1>", part) == re.findall("<h1>.*?</h1>", whole)
    assert "workers alive" in part
    assert len(part) < len(whole)


def test_what_is_wrong_is_told_to_an_open_page(browser: Browser) -> None:
    found = browser.http.get("/jobs?state=nonsense", headers=AGAIN)
    assert found.status_code == 400
    assert found.text.strip().startswith('<div id="live"')


def test_all_who_have_a_page_open_are_sent_what_was_made_once(kept: Browser) -> None:
    first = again(kept, "/jobs?queue=normal")
    entered(kept, Role.OPERATOR)
    assert read(again(kept, "/jobs?queue=normal")) == read(first)
    assert read(again(kept, "/jobs?queue=low")) != read(first), "it is another filter"
    assert read(kept.page("/jobs?queue=normal")) != read(first), "who opens the page sees it as it is"


def test_what_changes_is_made_anew_after_a_moment(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.console.same, "_lasts", 0.0)
    assert read(again(browser, "/jobs")) != read(again(browser, "/jobs"))


def test_who_may_do_less_is_not_sent_what_was_made_for_who_may_do_more(kept: Browser) -> None:
    assert 'name="action"' in again(kept, "/jobs")
    entered(kept, Role.VIEWER)
    assert 'name="action"' not in again(kept, "/jobs")


def test_forms_of_what_was_made_once_have_the_token_of_who_is_sent_them(kept: Browser, full: Stock) -> None:
    sessions = [entered(kept, Role.OPERATOR) for _ in range(2)]
    own = []
    for cookies in sessions:
        kept.http.cookies.clear()
        kept.http.cookies.update(cookies)
        found = tokens(again(kept, "/jobs"))
        assert found == tokens(kept.page("/jobs")), "it is what the whole page has, and no other"
        own.append(found)
        (token,) = found
        done = kept.post("/jobs/act", token=token, action="replay", id=str(full.failed["id"]))
        assert done.status_code == 200, done.text
    assert own[0] != own[1]
    assert kept.console.stand_in not in again(kept, "/jobs")


def test_a_file_is_never_one_that_was_made_for_another(kept: Browser) -> None:
    for _ in range(2):
        found = kept.http.get("/jobs.csv", headers=AGAIN)
        assert found.status_code == 200
        assert found.text.startswith("id,")


def test_a_program_is_not_sent_what_was_made_for_a_browser(kept: Browser) -> None:
    again(kept, "/queues")
    found = kept.http.get("/queues", headers=AGAIN | {"accept": "application/json"})
    assert found.json()["command"] == "queues"


def test_figures_of_a_chart_are_made_once_for_all_who_look(
    kept: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept.json("/stats/series?range=1h")
    monkeypatch.setattr(kept.console, "_shared", SharedValues(most=10))  # in which nothing is known
    entered(kept, Role.OPERATOR)
    assert kept.json("/stats/series?range=1h")["series"]["clock"] == first["series"]["clock"]
    assert kept.json("/stats/series?range=6h")["series"]["range"] == "6h"


def test_the_sentence_of_an_action_is_kept_for_the_page_that_shows_it(browser: Browser, full: Stock) -> None:
    job = full.failed["id"]
    done = browser.http.post(
        f"/jobs/{job}/act",
        data={"form_token": browser.form_token(), "action": "replay"},
        follow_redirects=False,
    )
    assert done.status_code == 303, done.text
    again(browser, "/jobs")
    shown = browser.page(f"/jobs/{job}")
    assert 'class="said"' in shown, "a page that was open beside has not taken it"
    assert 'class="said"' not in browser.page(f"/jobs/{job}")
