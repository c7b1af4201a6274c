"""Edit and replay: a dead letter is given other arguments in the console, and what is hidden stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from celeriac.application import Celeriac
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.actions import list_actions
from celeriac.operate.job import Job, job
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=database_url, broker_url=redis_url), name="edit")
    yield made
    made.close()


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


@pytest.fixture
def dead(app: Celeriac) -> UUID:
    body = json.dumps([["me"], {"password": "hunter2"}, {}]).encode()
    row = stock.failed(payload=body)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        connection.execute(insert(FAILURES), [stock.failure(row)])
    found: UUID = row["id"]
    return found


def read(app: Celeriac, id: Any) -> Job:
    return job(str(id), app=app)


def test_the_form_has_a_field_for_each_parameter_and_no_secret(browser: Browser, dead: UUID) -> None:
    html = browser.page(f"/jobs/{dead}/edit")
    assert "to, str" in html
    assert "password, str (optional)" in html
    assert "hunter2" not in html


def test_what_is_different_is_shown_before_it_is_replayed(
    app: Celeriac, browser: Browser, dead: UUID
) -> None:
    path, given = f"/jobs/{dead}/edit", {"value-to": '"you"', "value-password": '"***"'}
    asked = browser.post(path, **given)
    assert '<del>&#34;me&#34;</del></td><td data-name="after" class="wide"><ins>&#34;you&#34;' in asked.text
    assert read(app, dead).state == "failed", "nothing is done before the answer"
    done = browser.post(path, **given, confirmed="1", reason="the address was wrong")
    assert "replayed with these arguments" in done.text
    found = read(app, dead)
    assert (found.state, found.args, found.kwargs) == ("pending", ["you"], {"password": "hunter2"})
    (action,) = list_actions(app=app).actions
    assert (action.action, action.reason) == ("replay", "the address was wrong")
    assert "you" not in action.subject
    assert "the address was wrong" in browser.page(f"/jobs/{dead}")


def test_a_secret_that_is_typed_is_kept_and_not_shown_as_a_change(
    app: Celeriac, browser: Browser, dead: UUID
) -> None:
    given = {"value-to": '"me"', "value-password": '"swordfish"'}
    asked = browser.post(f"/jobs/{dead}/edit", **given).text
    assert "another one" in asked
    assert "swordfish" not in asked.split('class="fields"')[0]
    browser.post(f"/jobs/{dead}/edit", **given, confirmed="1")
    assert read(app, dead).kwargs == {"password": "swordfish"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("me", "to: no JSON"),
        ("7", "to: wanted str"),
        ("", "missing a required argument"),
        ("[" * 5_000, "no JSON"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_the_form_kept(
    app: Celeriac, browser: Browser, dead: UUID, text: str, says: str
) -> None:
    found = browser.post(
        f"/jobs/{dead}/edit", **{"value-to": text, "value-password": '"***"', "confirmed": "1"}
    )
    assert (found.status_code, says in found.text) == (400, True), found.text[:3000]
    assert 'name="value-password"' in found.text
    assert read(app, dead).state == "failed"


def test_only_a_dead_letter_is_edited(app: Celeriac, browser: Browser) -> None:
    row = stock.pending()
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
    assert browser.get(f"/jobs/{row['id']}/edit").status_code == 400
    assert browser.post(f"/jobs/{row['id']}/edit", confirmed="1").status_code == 400


def test_a_job_is_cloned_and_can_be_copied(app: Celeriac, browser: Browser, dead: UUID) -> None:
    html = browser.page(f"/jobs/{dead}")
    assert "app.send_task(&#39;mail.send&#39;, args=[&#39;me&#39;]" in html
    assert "curl -X POST http://127.0.0.1:5556/api/v1/jobs" in html
    assert "hunter2" not in html
    made = browser.post(f"/jobs/{dead}/clone")
    assert "this is the clone of job" in made.text
    assert read(app, str(made.url.path).rpartition("/")[2]).kwargs == {"password": "hunter2"}


def test_jobs_that_wait_are_moved_and_made_due_in_the_console(app: Celeriac, browser: Browser) -> None:
    row = stock.pending(dispatched=None, next_attempt_after=stock.before(-3600))
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
    path = f"/jobs/{row['id']}/act"
    assert "run now: done" in browser.post(path, action="run-now").text
    assert "move: done" in browser.post(path, action="move", to_priority="high").text
    assert (read(app, row["id"]).queue, read(app, row["id"]).priority) == ("high", 20)
    assert browser.post(path, action="move").status_code == 400
    actions = [each.action for each in list_actions(app=app).actions]
    assert actions == ["move", "run-now"]
    assert "Who touched it" in browser.page(f"/jobs/{row['id']}")
    assert [each["action"] for each in browser.json("/audit", job=str(row["id"]))["actions"]] == actions
