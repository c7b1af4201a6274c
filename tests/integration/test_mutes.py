"""Muted groups of failures on both databases: shown apart, told nobody, on record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, update

from celeriac.application import Celeriac
from celeriac.errors import BadArgument, GroupNotFound
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.ledger.schema.operator_tables import MUTES
from celeriac.operate.actions import Actor, Via, list_actions
from celeriac.operate.alerts import mutes, rounds
from celeriac.operate.dead_letters import Cause, groups
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told
from tests.console import Browser

ANN = Actor("ann", Via.CONSOLE)
KEY = Cause(task="mail.send", exception_type="KeyError", frame="mail.py:send").key


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    settings = Settings(broker_url=redis_url, database_url=database_url, alert_webhook="http://127.0.0.1:1/")
    made = mail_app(settings, name="mutes")
    yield made
    made.close()


def fail(app: Celeriac, count: int) -> None:
    """So many more dead letters of one cause."""
    dead = [stock.failed(queued=stock.before(30)) for _ in range(count)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), dead)
        connection.execute(insert(FAILURES), [stock.failure(one) for one in dead])


def look(app: Celeriac) -> int:
    """How many alerts are told now."""
    return rounds.look(app, every=0.0, quiet=0.0)


def is_muted(app: Celeriac) -> bool:
    return KEY in mutes.in_force(mutes.muted(app=app), groups(app=app))


def mute(app: Celeriac, lasts: timedelta | None = None) -> None:
    mutes.mute(KEY, lasts=lasts, actor=ANN, reason="known", app=app)


def test_a_mute_says_who_until_when_and_why_and_is_on_record(app: Celeriac) -> None:
    fail(app, 1)
    found = told(app, "dead-letters", "mute", KEY, "--for", "2h", "--reason", "known")["muted"]
    assert (found["reason"], found["size"]) == ("known", 1)
    (group,) = told(app, "dead-letters", "list")["groups"]
    assert group["muted"] == found
    listed = call(app, "dead-letters", "list")
    assert f"group {KEY} is muted by " in listed.stderr
    assert "KeyError" not in listed.stdout
    assert told(app, "dead-letters", "unmute", KEY)["changed"] is True
    assert call(app, "dead-letters", "unmute", KEY).exit_code == 1
    actions = list_actions(app=app).actions
    assert [(each.action, each.subject, each.reason) for each in actions] == [
        ("unmute", f"group {KEY}", None),
        ("mute", f"group {KEY}", "known"),
    ]


def test_a_mute_ends_with_its_time(app: Celeriac) -> None:
    fail(app, 1)
    mute(app, timedelta(hours=1))
    assert is_muted(app)
    with app.database.transaction() as connection:
        connection.execute(update(MUTES).values(until=stock.before(1)))
    assert not is_muted(app)
    assert not mutes.unmute(KEY, actor=ANN, app=app)


def test_a_mute_ends_when_the_group_has_doubled_and_has_ten_more(app: Celeriac) -> None:
    fail(app, 3)
    mute(app)
    fail(app, 9)
    assert is_muted(app)
    fail(app, 1)
    assert not is_muted(app)
    mute(app)  # anew, at thirteen
    assert is_muted(app)


def test_nobody_is_told_of_a_muted_group_until_it_is_not(app: Celeriac) -> None:
    fail(app, 3)
    mute(app)
    assert look(app) == 0
    mutes.unmute(KEY, actor=ANN, app=app)
    assert look(app) == 1
    mute(app)  # it was told
    assert look(app) == 0
    assert rounds.list_alerts(app=app) == []
    with app.database.transaction() as connection:
        connection.execute(delete(FAILURES))
        connection.execute(delete(JOBS).where(JOBS.c.job_type == "mail.send"))
    assert look(app) == 0, "nor of its end"


def test_an_outage_is_told_although_the_failure_was_muted(app: Celeriac) -> None:
    fail(app, 3)
    mute(app)
    fail(app, 40)
    assert look(app) == 1


@pytest.mark.parametrize("lasts", [timedelta(seconds=59), timedelta(days=366), timedelta(days=-1)])
def test_a_span_without_a_meaning_is_refused(app: Celeriac, lasts: timedelta) -> None:
    fail(app, 1)
    with pytest.raises(BadArgument, match="one minute to 365 days"):
        mute(app, lasts)


def test_what_is_no_group_is_not_muted(app: Celeriac) -> None:
    with pytest.raises(GroupNotFound):
        mutes.mute("aaaaaaaa", lasts=None, actor=ANN, app=app)
    assert call(app, "dead-letters", "mute", "aaaaaaaa").exit_code == 1


def test_the_console_shows_a_muted_group_apart(app: Celeriac) -> None:
    fail(app, 2)
    browser = Browser(app)
    try:
        page = browser.post(f"/dead/{KEY}/mute", action="mute", **{"for": "8h"}, reason="see OPS-12")
        assert "muted by local" in page.text
        loud, _, apart = browser.page("/dead").partition('id="muted"')
        assert (f"/dead/{KEY}" in loud, f"/dead/{KEY}" in apart, "see OPS-12" in apart) == (False, True, True)
        failures = browser.page("/").split("<h2>Failures</h2>")[1]
        assert (f"/dead/{KEY}" in failures, "1 muted" in failures) == (False, True)
        (group,) = browser.json("/dead")["groups"]
        assert group["muted"]["reason"] == "see OPS-12"
        assert "muted by" not in browser.post(f"/dead/{KEY}/mute", action="unmute").text
        assert f"/dead/{KEY}" in browser.page("/dead").partition('id="muted"')[0]
        assert browser.post(f"/dead/{KEY}/mute", action="mute", **{"for": "9y"}).status_code == 400
        assert browser.post(f"/dead/{KEY}/mute", action="hide").status_code == 400
    finally:
        browser.close()
