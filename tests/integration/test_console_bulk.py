"""Actions on many jobs over the HTTP API: counted first, at a rate, watched, stopped, and begun once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.ledger.schema.models import FAILURES, JOBS, WORKERS
from celeriac.operate.actions import list_actions
from celeriac.operate.dead_letters import Cause
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser, users_file
from tests.integration.test_console_api import Client, is_problem
from tests.support import wait_until

KEY = Cause(task="mail.send", exception_type="KeyError", frame="mail.py:send").key


@pytest.fixture
def app(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    users = users_file(tmp_path)
    settings = Settings(database_url=database_url, broker_url=redis_url, console_users=users)
    made = mail_app(settings, name="bulk")
    yield made
    made.close()


@pytest.fixture
def api(app: Celeriac) -> Iterator[Client]:
    browser = Browser(app, role=None)
    yield Client(browser)
    browser.close()


def write(app: Celeriac, *rows: dict[str, Any]) -> list[str]:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), list(rows))
    return [str(row["id"]) for row in rows]


def waiting(app: Celeriac, count: int, **values: Any) -> list[str]:
    given = {"queued": stock.before(60), **values}
    return write(app, *(stock.pending(**given) for _ in range(count)))


def begin(api: Client, **body: Any) -> Any:
    return api("POST", "/operations", role=Role.OPERATOR, json=body)


def ended(api: Client, id: str) -> dict[str, Any]:
    def state() -> Any:
        return api.told(f"/operations/{id}")

    wait_until(lambda: state()["ended"], within=60, saying="the action ends")
    return dict(state())


def test_jobs_are_counted_and_then_met_at_what_was_asked_for(app: Celeriac, api: Client) -> None:
    ids, others = waiting(app, 3, queue="low"), waiting(app, 2, queue="high")
    body = {"action": "cancel", "filter": {"queue": "low", "finished-until": None}}
    asked = api("POST", "/operations/count", role=Role.OPERATOR, json=body)
    assert asked.status_code == 200, asked.text
    assert asked.json()["count"] == 3
    assert {job(id, app=app).state for id in ids} == {"pending"}
    late = waiting(app, 1, queue="low", queued=stock.before(-5))  # accepted after the count
    begun = begin(api, action="cancel", filter=asked.json()["filter"], reason="sent twice", rate=100)
    assert begun.status_code == 202, begun.text
    done = ended(api, begun.json()["id"])
    assert (done["done"], done["state"], done["reason"], done["via"]) == (3, "done", "sent twice", "api")
    assert {job(id, app=app).state for id in ids} == {"cancelled"}
    assert {job(id, app=app).state for id in (*late, *others)} == {"pending"}


def test_the_same_request_begins_one_action(app: Celeriac, api: Client) -> None:
    waiting(app, 3, queue="low")
    key = {"headers": {"idempotency-key": "once"}}
    body = {"action": "cancel", "filter": {"queue": "low"}}
    first, second = (api("POST", "/operations", json=body, **key) for _ in range(2))
    assert first.json() == second.json()
    assert ended(api, first.json()["id"])["done"] == 3
    assert len([each for each in api.told("/audit")["actions"] if each["action"] == "cancel"]) == 1


def test_many_jobs_must_be_expected(app: Celeriac, api: Client) -> None:
    waiting(app, 1_001, queue="low")
    refused = begin(api, action="cancel", filter={"queue": "low"})
    assert is_problem(refused, 409)
    assert (refused.json()["field"], "`expected`: 1001" in refused.json()["detail"]) == ("expected", True)
    assert is_problem(begin(api, action="cancel", filter={"queue": "low"}, expected=1_000), 409)
    begun = begin(api, action="cancel", filter={"queue": "low"}, expected=1_001)
    assert ended(api, begun.json()["id"])["done"] == 1_001


def test_an_action_has_a_rate_and_is_stopped(app: Celeriac, api: Client) -> None:
    waiting(app, 200, queue="low", next_attempt_after=stock.before(-600))  # one that is due is not met
    id = begin(api, action="run-now", filter={"queue": "low"}, rate=1).json()["id"]
    assert api("POST", f"/operations/{id}/stop", role=Role.OPERATOR).status_code == 200
    found = ended(api, id)
    assert (found["state"], found["done"] < 200) == ("stopped", True)


def test_jobs_are_named_by_their_ids_or_by_their_group(app: Celeriac, api: Client) -> None:
    dead = [stock.failed() for _ in range(3)]
    ids = write(app, *dead)
    with app.database.transaction() as connection:
        connection.execute(insert(FAILURES), [stock.failure(one) for one in dead])
    moved = waiting(app, 1, queue="low")
    assert ended(api, begin(api, action="replay", ids=ids[:1] * 2).json()["id"])["done"] == 1
    assert ended(api, begin(api, action="discard", groups=[KEY]).json()["id"])["done"] == 2
    begun = begin(api, action="move", ids=moved, queue="high")
    assert ended(api, begun.json()["id"])["done"] == 1
    assert job(moved[0], app=app).queue == "high"


def test_jobs_of_a_worker_are_met(app: Celeriac, api: Client) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [stock.worker()])
    ids = write(app, stock.failed(), stock.failed(last_worker_id=None))
    begun = begin(api, action="replay", filter={"worker": "one", "version": "v7"})
    assert ended(api, begun.json()["id"])["done"] == 1
    assert [job(id, app=app).state for id in ids] == ["pending", "failed"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"action": "cancel"}, 400, "filter"),
        ({"action": "cancel", "filter": {}}, 400, "filter"),
        ({"action": "cancel", "filter": {"queue": "low"}, "ids": ["a"]}, 400, "filter"),
        ({"action": "cancel", "filter": {"queue": "none"}}, 409, None),
        ({"action": "cancel", "groups": [KEY]}, 400, "groups"),
        ({"action": "replay", "groups": [KEY]}, 404, None),
        ({"action": "cancel", "filter": {"queue": "low"}, "canary": True}, 400, "canary"),
        ({"action": "cancel", "filter": {"queue": "low"}, "queue": "high"}, 400, "queue"),
        ({"action": "move", "filter": {"queue": "low"}}, 400, None),
        ({"action": "burn", "filter": {"queue": "low"}}, 422, "action"),
        ({"action": "cancel", "filter": {"colour": "red"}}, 422, "filter.colour"),
        ({"action": "cancel", "filter": {"since": "yesterday"}}, 400, "since"),
        ({"action": "cancel", "filter": {"queue": "low"}, "rate": 0}, 422, "rate"),
        ({"action": "cancel", "ids": []}, 422, "ids"),
    ],
)
def test_what_has_no_meaning_is_refused_and_does_nothing(
    app: Celeriac, api: Client, body: dict[str, Any], status: int, field: str | None
) -> None:
    (id,) = waiting(app, 1, queue="low")
    answer = api("POST", "/operations", json=body)
    assert is_problem(answer, status), answer.text
    if field is not None:
        assert answer.json()["field"] == field, answer.text
    assert job(id, app=app).state == "pending"
    assert list_actions(app=app).actions == ()
