"""The HTTP API to a stranger: nothing sent is left out in silence, and a refusal names what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from celeriac import Breaker, Limit
from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.limits.breaker import BreakerState
from celeriac.operate import limits, tokens
from celeriac.operate.actions import Actor, Via
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.console import Browser
from tests.limits_by_hand import ByHand
from tests.stock import Stock

Api = Callable[..., Any]
JSON = {"content-type": "application/json"}


class Desk(ByHand):
    def __init__(self, app: Celeriac) -> None:
        super().__init__(app)

        @app.task(name="charge", limit=Limit("acquirer/eu", concurrency=9, breaker=Breaker()), shared=False)
        def charge() -> None: ...

        self.names = ("charge",)


@pytest.fixture
def app(redis_url: str, sqlite_url: str) -> Iterator[Celeriac]:
    made = mail_app(Settings(database_url=sqlite_url, broker_url=redis_url), name="api")
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app, role=None)
    yield made
    made.close()


@pytest.fixture
def api(app: Celeriac, browser: Browser) -> Api:
    """Asks with the token of an admin, or of another role."""
    made: dict[Role, str] = {}

    def ask(method: str, path: str, *, role: Role = Role.ADMIN, **options: Any) -> Any:
        if role not in made:
            lasts, by = timedelta(days=1), Actor("ann", Via.CLI)
            made[role] = tokens.create(f"of-{role}", role=role, lasts=lasts, actor=by, app=app)
        headers = {"authorization": f"Bearer {made[role]}", **options.pop("headers", {})}
        return browser.http.request(method, f"/api/v1{path}", headers=headers, **options)

    return ask


def refused(answer: Any, status: int, field: str) -> bool:
    """Whether it is a problem of that field."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return bool(answer.json()["field"] == field)


@pytest.mark.parametrize(
    "path", ["/jobs?stat=failed", "/queues?queue=low", "/audit?by=ann", "/stats?task=a&taks=b"]
)
def test_a_word_that_means_nothing_is_refused(api: Api, path: str) -> None:
    field = path.rpartition("&" if "&" in path else "?")[2].partition("=")[0]
    assert refused(api("GET", path), 422, field)


def test_a_word_of_an_action_that_means_nothing_is_refused(app: Celeriac, api: Api, full: Stock) -> None:
    assert refused(api("POST", f"/jobs/{full.waiting['id']}/cancel?hard=true"), 422, "hard")
    assert job(str(full.waiting["id"]), app=app).state == "pending"


def test_a_body_is_sent_as_json(api: Api) -> None:
    text = '{"task": "mail.send", "args": ["a"]}'
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        answer = api("POST", "/jobs", content=text, headers={"content-type": kind})
        assert refused(answer, 415, "Content-Type")
        assert "application/json" in answer.json()["detail"]
    assert api("GET", "/jobs").json()["jobs"] == []
    made = api("POST", "/jobs", content=text, headers={"content-type": "application/json; charset=utf-8"})
    assert made.status_code == 201


def test_a_body_where_none_belongs_is_refused(api: Api, full: Stock) -> None:
    clone = f"/jobs/{full.failed['id']}/clone"
    assert refused(api("POST", clone, json={"args": ["other"]}), 422, "body")
    assert api("POST", clone, json={}).status_code == 201


def test_a_body_that_breaks_off_says_where(api: Api) -> None:
    answer = api("POST", "/jobs", content='{"task": "mail.send",', headers=JSON)
    assert refused(answer, 422, "body")
    assert "no JSON" in answer.json()["detail"]
    assert "character" in answer.json()["detail"]


def test_a_moment_is_named_as_it_was_sent(api: Api) -> None:
    answer = api("GET", "/jobs?since=yesterday")
    assert refused(answer, 400, "since")
    assert answer.json()["detail"].startswith("since: ")


def test_every_field_of_a_schedule_that_is_wrong_is_named(api: Api) -> None:
    answer = api("PUT", "/schedules/x", json={"task": "no.such", "every": 60, "timezone": "Mars"})
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["task", "timezone"]


@pytest.mark.parametrize("other", [{"args": ["b"]}, {"args": ["a"], "kwargs": {"password": "b"}}])
def test_a_key_names_no_job_with_other_arguments(api: Api, other: dict[str, Any]) -> None:
    key = {"headers": {"idempotency-key": "once"}}
    body = {"task": "mail.send", "args": ["a"], "kwargs": {"password": "hunter2"}}
    first = api("POST", "/jobs", json=body, **key)
    assert api("POST", "/jobs", json=body, **key).json() == first.json()
    again = api("POST", "/jobs", json={"task": "mail.send", **other}, **key)
    assert refused(again, 422, "Idempotency-Key")
    assert "hunter2" not in again.text
    assert first.json()["id"] in again.json()["detail"]


def test_who_is_not_known_is_told_what_was_wrong(browser: Browser) -> None:
    def asked(header: str) -> str:
        answer = browser.http.get("/api/v1/jobs", headers={"authorization": header})
        assert answer.status_code == 401
        return str(answer.json()["detail"])

    assert asked("Bearer nothing").startswith("this is no token of the console")
    assert "unknown or was revoked" in asked(f"Bearer {tokens.PREFIX}nothing")
    assert asked("Basic YTpi").startswith("nobody has this name and password")


def test_a_method_that_is_not_there_names_those_that_are(api: Api) -> None:
    answer = api("PUT", "/jobs")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_the_description_says_where_the_api_is_and_which_key_may_be_sent(api: Api) -> None:
    told = api("GET", "/openapi.json").json()
    assert told["servers"] == [{"url": "/api/v1"}]
    for path, methods in told["paths"].items():
        if "post" in methods:
            names = [each["name"].lower() for each in methods["post"]["parameters"]]
            assert names.count("idempotency-key") == 1, path


def test_limits_are_seen_and_changed(app: Celeriac, api: Api) -> None:
    Desk(app).declare()
    name, path = "acquirer/eu", "/limits/acquirer/eu"
    assert [each["name"] for each in api("GET", "/limits", role=Role.VIEWER).json()["limits"]] == [name]
    assert api("POST", f"{path}/pause", role=Role.VIEWER).status_code == 403
    changed = api("POST", f"{path}/set", json={"concurrency": 2, "rate": "5/s", "reason": "slow"}).json()
    assert (changed["limit"]["concurrency"], changed["limit"]["rate"]) == (2, "5/s")
    assert api("POST", f"{path}/unset").json()["limit"]["concurrency"] == 9
    assert api("POST", f"{path}/pause", json={"reason": "ill"}).json()["limit"]["pause_reason"] == "ill"
    assert api("POST", f"{path}/resume").json()["limit"]["paused"] is None
    assert api("POST", f"{path}/resume").status_code == 409
    api("POST", f"{path}/breaker", json={"state": "open"})
    assert limits.limit(name, app=app).breaker is BreakerState.OPEN
    assert api("POST", f"{path}/breaker", json={"state": "auto"}).json()["limit"]["breaker"] == "closed"
    assert refused(api("POST", f"{path}/set", json={"rate": "banana"}), 400, "rate")
    assert refused(api("POST", f"{path}/set", json={}), 400, "limit")
    assert refused(api("POST", "/limits/none/pause"), 400, "limit")
    assert {each["action"] for each in api("GET", "/audit").json()["actions"]} >= {"limit set", "limit unset"}
