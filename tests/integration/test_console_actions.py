"""What operators do in the console, on both databases: counted and asked first, then done once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.errors import ScheduleNotFound
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate import listing
from celeriac.operate.actions import list_actions
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.job import job
from celeriac.operate.listing import Filter, JobState
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser
from tests.stock import Stock
from tests.support import wait_until


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="actions")
    yield made
    made.close()


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


def write_dead(app: Celeriac, count: int, **values: Any) -> list[str]:
    rows = [stock.failed(**values) for _ in range(count)]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)
        connection.execute(insert(FAILURES), [stock.failure(row) for row in rows])
    return [str(row["id"]) for row in rows]


def write_waiting(app: Celeriac, count: int, **values: Any) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.pending(**values) for _ in range(count)])


def state(app: Celeriac, of: Any) -> str:
    return str(job(str(of["id"]) if isinstance(of, dict) else of, app=app).state)


def many(app: Celeriac, **wanted: Any) -> int:
    return listing.count(Filter(**wanted), most=100_000, app=app)


def hidden(html: str) -> dict[str, list[str]]:
    """The fields of the form with the question."""
    found: dict[str, list[str]] = {}
    form = html.split('class="fields"')[1]
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form):
        found.setdefault(name, []).append(unescape(value))
    return found


def answered(browser: Browser, path: str, asked: Any, **more: str) -> Any:
    """What comes after the question was answered: the page of the operation."""
    assert asked.status_code == 200, asked.text
    return browser.http.post(path, data=hidden(asked.text) | more)


def done(browser: Browser, found: Any) -> dict[str, Any]:
    """The operation, when it has ended."""
    path = str(found.url.path)
    assert path.startswith("/operations/"), found.text

    def ended() -> bool:
        return browser.json(path)["operation"]["ended"] is not None

    wait_until(ended, within=120, saying="the operation ends")
    operation: dict[str, Any] = browser.json(path)["operation"]
    return operation


# One job


def test_one_job_is_cancelled_without_a_question(app: Celeriac, full: Stock, browser: Browser) -> None:
    found = browser.post(f"/jobs/{full.waiting['id']}/act", action="cancel")
    assert (found.status_code, state(app, full.waiting)) == (200, "cancelled")
    assert "cancel for ever: done" in found.text


@pytest.mark.parametrize(("action", "mode"), [("cancel", "soft"), ("cancel-hard", "hard")])
def test_a_job_that_runs_is_asked_to_stop(
    app: Celeriac, full: Stock, browser: Browser, action: str, mode: str
) -> None:
    browser.post(f"/jobs/{full.running['id']}/act", action=action)
    assert job(str(full.running["id"]), app=app).cancel_requested == mode


def test_a_dead_letter_is_replayed_and_discarded(app: Celeriac, full: Stock, browser: Browser) -> None:
    path = f"/jobs/{full.failed['id']}/act"
    assert "replay: done" in browser.post(path, action="replay").text
    assert state(app, full.failed) == "pending"
    assert "does not allow it" in browser.post(path, action="discard").text
    (dead,) = write_dead(app, 1)
    browser.post(f"/jobs/{dead}/act", action="discard")
    assert browser.get(f"/jobs/{dead}").status_code == 404


def test_an_unknown_action_is_refused(full: Stock, browser: Browser) -> None:
    assert browser.post(f"/jobs/{full.failed['id']}/act", action="explode").status_code == 400
    assert browser.post("/jobs/act", action="explode", state="failed").status_code == 400
    assert browser.post("/dead/act", action="cancel").status_code == 400


# Many jobs


def test_ticked_jobs_are_met_and_no_others(app: Celeriac, full: Stock, browser: Browser) -> None:
    ids = [str(full.waiting["id"]), str(full.later["id"])]
    asked = browser.post("/jobs/act", action="cancel", id=ids, task="mail.send")
    assert "cancel for ever 2 jobs?" in asked.text
    assert state(app, full.waiting) == "pending", "nothing is done before the answer"
    operation = done(browser, answered(browser, "/jobs/act", asked))
    assert (operation["done"], operation["state"]) == (2, "done")
    assert state(app, full.waiting) == state(app, full.later) == "cancelled"
    assert state(app, full.parked) == "pending"


def test_a_filter_is_met_as_it_was_counted(app: Celeriac, browser: Browser) -> None:
    write_waiting(app, 3, queue="low")
    write_waiting(app, 1, queue="high")
    asked = browser.post("/jobs/act", action="cancel", queue="low")
    assert "cancel for ever 3 jobs?" in asked.text
    assert "celery -A app jobs cancel --queue low" in asked.text
    write_waiting(app, 1, queue="low", queued=stock.before(-60))  # accepted after the question
    operation = done(browser, answered(browser, "/jobs/act", asked))
    assert (operation["counted"], operation["done"]) == (3, 3)
    assert many(app, queue="low", state=JobState.PENDING) == 1
    assert many(app, queue="high", state=JobState.PENDING) == 1


def test_every_job_is_not_meant_by_no_filter(app: Celeriac, full: Stock, browser: Browser) -> None:
    assert browser.post("/jobs/act", action="cancel").status_code == 400
    assert state(app, full.waiting) == "pending"


def test_a_large_number_must_be_typed(app: Celeriac, browser: Browser) -> None:
    write_waiting(app, 1_001)
    asked = browser.post("/jobs/act", action="cancel", state="pending")
    assert "type the number, 1,001" in asked.text
    again = answered(browser, "/jobs/act", asked, typed="1000")
    assert "type 1001 to go on" in again.text
    assert many(app, state=JobState.CANCELLED) == 0
    operation = done(browser, answered(browser, "/jobs/act", again, typed="1,001"))
    assert operation["done"] == many(app, state=JobState.CANCELLED) == 1_001


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_dead_letters_of_a_filter_are_met(app: Celeriac, full: Stock, browser: Browser, action: str) -> None:
    write_dead(app, 3, user_id="u9")
    asked = browser.post("/jobs/act", action=action, user="u9")
    operation = done(browser, answered(browser, "/jobs/act", asked))
    assert operation["done"] == 3
    assert many(app, user_id="u9", state=JobState.PENDING) == (3 if action == "replay" else 0)
    assert state(app, full.failed) == "failed"


def test_a_filter_that_fits_nothing_does_nothing(full: Stock, browser: Browser) -> None:
    found = browser.post("/jobs/act", action="replay", state="pending")
    assert "nothing was done" in found.text
    assert browser.json("/audit")["actions"] == []


# Dead letters


def test_a_group_is_replayed_at_a_rate_and_stopped_at_will(app: Celeriac, browser: Browser) -> None:
    write_dead(app, 60)
    key = Cause.of(groups(app=app)[0]).key
    asked = browser.post("/dead/act", action="replay", key=key, rate="10")
    assert "replay 60 jobs?" in asked.text
    found = answered(browser, "/dead/act", asked)
    path = str(found.url.path)
    wait_until(lambda: browser.json(path)["operation"]["done"] > 0, within=60, saying="some are replayed")
    browser.post(f"{path}/stop")
    operation = done(browser, found)
    assert operation["state"] == "stopped"
    assert 0 < operation["done"] == many(app, state=JobState.PENDING) < 60


def test_two_operators_replay_one_group_and_each_job_goes_once(app: Celeriac, browser: Browser) -> None:
    write_dead(app, 300)
    key = Cause.of(groups(app=app)[0]).key
    others = [browser, Browser(app)]
    asked = [each.post("/dead/act", action="replay", key=key) for each in others]
    ready, results = Barrier(2), []

    def answer(each: Browser, question: Any) -> None:
        ready.wait(30)
        results.append(done(each, answered(each, "/dead/act", question))["done"])

    threads = [Thread(target=answer, args=pair) for pair in zip(others, asked, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    others[1].close()
    assert sum(results) == 300
    assert many(app, state=JobState.PENDING) == 300
    on_record = list_actions(app=app).actions
    assert sorted(each.done for each in on_record) == sorted(results), "both are on record"


def test_ticked_jobs_of_a_group_are_met_and_not_the_group(app: Celeriac, browser: Browser) -> None:
    ids = write_dead(app, 3)
    key = Cause.of(groups(app=app)[0]).key
    asked = browser.post("/dead/act", action="discard", key=key, id=ids[:1])
    assert done(browser, answered(browser, "/dead/act", asked))["done"] == 1
    assert many(app, state=JobState.FAILED) == 2


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "fast", "1e9"])
def test_a_rate_without_a_meaning_is_refused(app: Celeriac, browser: Browser, rate: str) -> None:
    write_dead(app, 1)
    key = Cause.of(groups(app=app)[0]).key
    assert browser.post("/dead/act", action="replay", key=key, rate=rate).status_code == 400


def test_an_operation_goes_on_in_another_console(app: Celeriac, browser: Browser) -> None:
    write_dead(app, 60)
    key = Cause.of(groups(app=app)[0]).key
    other = Browser(app)
    found = answered(other, "/dead/act", other.post("/dead/act", action="replay", key=key, rate="20"))
    path = str(found.url.path)
    wait_until(lambda: other.json(path)["operation"]["done"] > 0, within=60, saying="it has begun")
    other.close()
    operation = done(browser, found)
    assert (operation["state"], operation["done"]) == ("done", 60)
    assert many(app, state=JobState.PENDING) == 60


# Schedules


def test_a_schedule_is_run_disabled_and_enabled(app: Celeriac, browser: Browser) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    found = browser.post("/schedules/poll/act", action="run-now")
    assert job(str(found.url.path).rpartition("/")[2], app=app).schedule == "poll"
    browser.post("/schedules/poll/act", action="disable")
    assert not schedules.get("poll", app=app).enabled
    browser.post("/schedules/poll/act", action="enable")
    assert schedules.get("poll", app=app).enabled
    assert browser.post("/schedules/poll/act", action="x").status_code == 400
    assert browser.post("/schedules/none/act", action="run-now").status_code == 404


FIELDS = {"name": "nightly", "task": "mail.send", "kind": "cron", "when": "30 2 * * *", "timezone": "UTC"}


def test_a_schedule_is_made_changed_and_removed(app: Celeriac, browser: Browser) -> None:
    more = {"args": '["a"]', "kwargs": '{"password": "s3cret"}', "max_tries": "2", "overlap": "skip"}
    browser.post("/new-schedule", **FIELDS, **more)
    made = schedules.get("nightly", app=app)
    assert (made.expression, made.overlap, made.options["max_tries"]) == ("30 2 * * *", "skip", 2)
    form = browser.page("/new-schedule", name="nightly")
    assert "s3cret" not in form
    kept = {"kwargs": '{"password": "***"}', "args": '["b"]'}
    browser.post("/new-schedule", **{**FIELDS, **more, **kept, "old": "nightly", "when": "0 3 * * *"})
    changed = schedules.get("nightly", app=app)
    assert (changed.expression, list(changed.args)) == ("0 3 * * *", ["b"])
    assert changed.kwargs == {"password": "s3cret"}
    browser.post("/schedules/nightly/remove")
    with pytest.raises(ScheduleNotFound):
        schedules.get("nightly", app=app)


def test_the_next_runs_are_shown_before_a_schedule_is_made(app: Celeriac, browser: Browser) -> None:
    found = browser.post("/new-schedule", **FIELDS | {"preview": "1", "timezone": "Europe/Berlin"})
    assert len(re.findall(r"<li><time", found.text)) == 5
    assert schedules.list_all(app=app) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("when", "61 * * * *"),
        ("kind", "x"),
        ("task", "mail.nothing"),
        ("args", "{"),
        ("kwargs", "[1]"),
        ("max_tries", "many"),
        ("timeout", "soon"),
        ("timezone", "Mars/Base"),
    ],
)
def test_a_schedule_that_is_wrong_is_refused_and_the_form_kept(
    app: Celeriac, browser: Browser, field: str, value: str
) -> None:
    found = browser.post("/new-schedule", **FIELDS | {field: value})
    assert found.status_code == 400
    assert 'role="alert"' in found.text
    assert 'value="nightly"' in found.text
    assert schedules.list_all(app=app) == []
