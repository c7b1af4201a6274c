"""Limits and circuit breakers in the console, on both databases: each button does what it says, on record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from celeriac import Breaker, Limit
from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits
from celeriac.operate.actions import list_actions
from celeriac.settings.platform import Settings
from tests.apps import mail_app
from tests.console import Browser, users_file
from tests.limits_by_hand import ByHand

NASTY = '<script>alert("x")</script> \u202e'


class Desk(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="charge", limit=Limit("acquirer", concurrency=9, breaker=Breaker()), shared=False)
        def charge() -> None: ...

        @app.task(name="print", limit=Limit("printer", concurrency=4), shared=False)
        def paper() -> None: ...

        self.names = ("charge", "print")


@pytest.fixture
def app(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    settings = Settings(database_url=database_url, broker_url=redis_url, console_users=users_file(tmp_path))
    with closing(mail_app(settings, name="limits")) as made:
        Desk(made).declare()
        yield made


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app, role=Role.OPERATOR)
    yield made
    made.close()


def act(browser: Browser, action: str, name: str = "acquirer", **more: str) -> Any:
    found = browser.post("/limits/act", action=action, name=name, **more)
    assert (found.status_code, found.url.path) == (200, "/limits"), found.text
    return found


def section(browser: Browser, name: str = "acquirer") -> str:
    """What the page says of one limit."""
    page = browser.page("/limits")
    return unescape(page.split(f"<h2>{name}</h2>")[1].split("<h2>")[0].split("</main>")[0])


def test_the_buttons_of_a_breaker_switch_it_and_are_on_record(app: Celeriac, browser: Browser) -> None:
    assert "breaker open" in section(browser), "it can be opened"
    assert 'value="breaker auto"' not in section(browser), "nobody has set it"
    act(browser, "breaker open", reason=NASTY)
    assert limits.limit("acquirer", app=app).breaker is BreakerState.OPEN
    shown = section(browser)
    assert "breaker open by operator" in shown
    assert 'value="breaker closed"' in shown
    assert 'value="breaker open"' not in shown
    act(browser, "breaker closed")
    assert limits.limit("acquirer", app=app).breaker is BreakerState.CLOSED
    assert 'value="breaker auto"' in section(browser)
    act(browser, "breaker auto")
    assert limits.limit("acquirer", app=app).breaker_set_by is None
    assert 'value="breaker auto"' not in section(browser)
    done = list_actions(app=app).actions
    assert {(each.action, each.who, str(each.via)) for each in done} == {
        ("limit breaker", "operator", "console")
    }
    assert len(done) == 3
    assert done[-1].reason == NASTY
    page = browser.page("/audit")
    assert "<script>alert" not in page
    assert "\u202e" not in page


def test_a_limit_without_a_breaker_has_no_button_for_one(app: Celeriac, browser: Browser) -> None:
    assert "breaker" not in section(browser, "printer")
    refused = browser.post("/limits/act", action="breaker open", name="printer")
    assert refused.status_code == 400
    assert "has none" in unescape(refused.text)


def test_a_limit_is_paused_set_and_given_back_to_the_code(app: Celeriac, browser: Browser) -> None:
    assert "is paused" in act(browser, "pause", reason="month end").text
    assert "paused by operator" in section(browser)
    assert "month end" in section(browser)
    act(browser, "resume")
    assert limits.limit("acquirer", app=app).paused is None
    act(browser, "set", concurrency="2", rate="100/m")
    found = limits.limit("acquirer", app=app)
    assert (found.concurrency, found.rate) == (2, "100/m")
    assert "Set by operator; the code says 9 at once" in section(browser)
    act(browser, "unset")
    assert limits.limit("acquirer", app=app).concurrency == 9
    actions = [each.action for each in list_actions(app=app).actions]
    assert len(actions) == 4, "each of them is on record"


@pytest.mark.parametrize(
    "form",
    [
        {"action": "break"},
        {"action": "breaker shut"},
        {"action": "set", "concurrency": "many"},
        {"action": "set", "concurrency": "9" * 5000},
        {"action": "set", "rate": "fast"},
        {"action": "pause", "name": "nowhere"},
        {"action": ""},
    ],
)
def test_what_has_no_meaning_is_refused_and_changes_nothing(
    app: Celeriac, browser: Browser, form: dict[str, str]
) -> None:
    assert browser.post("/limits/act", **({"name": "acquirer"} | form)).status_code in (400, 404)
    assert list_actions(app=app).actions == ()


def test_a_viewer_sees_the_limits_and_no_button(app: Celeriac) -> None:
    viewer = Browser(app, role=Role.VIEWER)
    assert "breaker closed" in section(viewer)
    assert "<button" not in section(viewer)
    viewer.close()
