"""Pausing in the console and by its API, on both databases: shown, done by operators alone, on record."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.ledger.schema.models import JOBS
from celeriac.ledger.upkeep import dispatch
from celeriac.operate import actions, pauses
from celeriac.operate.actions import Actor, Via
from celeriac.operate.pauses import PauseKind
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import PASSWORD, Browser, users_file

NASTY = 'smtp <script>alert("x")</script> \u202e'


@pytest.fixture
def app(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    settings = Settings(database_url=database_url, broker_url=redis_url, console_users=users_file(tmp_path))
    made = mail_app(settings, name="pauses")
    yield made
    made.close()


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app, role=Role.OPERATOR)
    yield made
    made.close()


def paused(app: Celeriac) -> list[tuple[str, str | None]]:
    return [(row.name, row.reason) for row in pauses.paused(app=app)]


def act(browser: Browser, action: str, name: str, *, kind: str = "queue", reason: str = "") -> Any:
    return browser.post("/pauses/act", kind=kind, name=name, action=action, reason=reason)


def api(browser: Browser, path: str, *, role: Role = Role.OPERATOR, **body: Any) -> Any:
    basic = b64encode(f"{role}:{PASSWORD}".encode()).decode()
    return browser.http.post(f"/api/v1{path}", json=body, headers={"authorization": f"Basic {basic}"})


def test_a_queue_is_paused_and_resumed_on_its_page(app: Celeriac, browser: Browser) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.pending(queue="low", dispatched=None)])
    found = act(browser, "pause", "low", reason=NASTY)
    assert found.status_code == 200
    assert "the queue low is paused: its jobs stop to start within two seconds" in found.text
    assert paused(app) == [("low", NASTY)]
    with app.database.transaction() as connection:
        assert dispatch.take_or_hold(connection, 10, limit=9) == ([], 1)
    page = browser.page("/queues")
    assert "is paused by operator since" in page
    assert "<script>alert" not in page
    assert "queues resume low" in page
    assert [row["name"] for row in browser.json("/queues")["paused"]] == ["low"]
    assert "the queue low goes on" in act(browser, "resume", "low").text
    assert paused(app) == []
    assert "resume low" not in browser.page("/queues")


def test_a_task_is_paused_on_its_page(app: Celeriac, browser: Browser) -> None:
    found = act(browser, "pause", "mail.send", kind="task", reason="bad release")
    assert str(found.url.path) == "/tasks/mail.send"
    assert "is paused by operator since" in found.text
    assert browser.json("/tasks/mail.send")["paused"][0]["reason"] == "bad release"
    assert "resume mail.send" in browser.page("/tasks/mail.send")
    assert "the task mail.send goes on" in act(browser, "resume", "mail.send", kind="task").text


def test_a_viewer_sees_a_pause_and_no_button(app: Celeriac, browser: Browser) -> None:
    act(browser, "pause", "low")
    viewer = Browser(app, role=Role.VIEWER)
    page = viewer.page("/queues")
    assert "is paused by operator since" in page
    assert "/pauses/act" not in page
    assert act(viewer, "resume", "low").status_code == 403
    assert api(viewer, "/queues/low/resume", role=Role.VIEWER).status_code == 403
    viewer.close()
    assert [name for name, _ in paused(app)] == ["low"]


@pytest.mark.parametrize(
    "form",
    [
        {"kind": "queue", "name": "nobody", "action": "pause"},
        {"kind": "task", "name": "nobody.knows", "action": "pause"},
        {"kind": "lane", "name": "low", "action": "pause"},
        {"kind": "queue", "name": "low", "action": "drop"},
        {"kind": "queue", "name": "low", "action": "pause", "reason": "x" * 1001},
        {"kind": "queue", "name": "", "action": "pause"},
    ],
)
def test_what_cannot_be_paused_is_refused(app: Celeriac, browser: Browser, form: dict[str, str]) -> None:
    assert browser.post("/pauses/act", **form).status_code in (400, 404)
    assert paused(app) == []


def test_a_program_pauses_and_resumes(app: Celeriac, browser: Browser) -> None:
    found = api(browser, "/queues/default/pause", reason="smtp is down").json()
    assert {"critical", "high", "normal", "low"} < set(found["names"])
    assert {row["reason"] for row in found["paused"]} == {"smtp is down"}
    assert api(browser, "/tasks/mail.send/pause").json()["names"] == ["mail.send"]
    basic = {"authorization": "Basic " + b64encode(f"viewer:{PASSWORD}".encode()).decode()}
    listed = browser.http.get("/api/v1/pauses", headers=basic).json()["paused"]
    assert {row["kind"] for row in listed} == {"queue", "task"}
    assert api(browser, "/tasks/mail.send/resume").json() == {"name": "mail.send", "names": ["mail.send"]}
    again = api(browser, "/tasks/mail.send/resume")
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert api(browser, "/queues/nobody/pause").status_code in (400, 404, 422)
    assert api(browser, "/queues/low/pause", because="x").status_code == 422


def test_where_it_was_done_is_on_record(app: Celeriac, browser: Browser) -> None:
    act(browser, "pause", "low", reason="by hand")
    api(browser, "/queues/low/resume", reason="by program")
    found = [(one.action, one.who, one.via, one.reason) for one in actions.list_actions(app=app).actions]
    assert found == [
        ("queue resume", "operator", "api", "by program"),
        ("queue pause", "operator", "console", "by hand"),
    ]


def test_a_held_job_names_the_pause_on_its_page(app: Celeriac, browser: Browser) -> None:
    job = stock.pending(queue="low", dispatched=None)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [job])
    pauses.pause(PauseKind.QUEUE, "low", actor=Actor("ann", Via.CLI), reason="smtp is down", app=app)
    page = browser.page(f"/jobs/{job['id']}")
    assert "paused by ann since" in page
    assert "smtp is down" in page
    assert "queues resume low" in page
