"""The HTTP API of the console on both databases: what it tells, does and refuses, and how it says so."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from celeriac import schedules
from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.errors import ScheduleNotFound
from celeriac.operate.acting.operations import that_met
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import told
from tests.console import PASSWORD, Browser, users_file
from tests.stock import Stock
from tests.support import wait_until


@pytest.fixture
def app(redis_url: str, database_url: str, tmp_path: Path) -> Iterator[Celeriac]:
    users = users_file(tmp_path)
    settings = Settings(database_url=database_url, broker_url=redis_url, console_users=users)
    made = mail_app(settings, name="api")
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    return stock.filled(app)


UNKNOWN = "0192d3a4-0000-7000-8000-000000000000"


class Client:
    """A program that uses the API as a user of this role."""

    def __init__(self, browser: Browser) -> None:
        self._http = browser.http

    def __call__(self, method: str, path: str, *, role: Role = Role.ADMIN, **options: Any) -> Any:
        basic = b64encode(f"{role}:{PASSWORD}".encode()).decode()
        headers = {"authorization": f"Basic {basic}", **options.pop("headers", {})}
        return self._http.request(method, f"/api/v1{path}", headers=headers, **options)

    def told(self, path: str) -> Any:
        found = self("GET", path, role=Role.VIEWER)
        assert found.status_code == 200, found.text
        return found.json()


@pytest.fixture
def browser(app: Celeriac) -> Iterator[Browser]:
    made = Browser(app, role=None)
    yield made
    made.close()


@pytest.fixture
def api(browser: Browser) -> Client:
    return Client(browser)


def operations(api: Client) -> list[tuple[str, str]]:
    """Method and path of everything that the API describes."""
    paths = api.told("/openapi.json")["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def filled(path: str) -> str:
    return path.format(id=UNKNOWN, key="aaaaaaaa", name="x")


def is_problem(answer: Any, status: int) -> bool:
    body = answer.json()
    same = answer.status_code == body["status"] == status
    return same and answer.headers["content-type"] == "application/problem+json" and bool(body["detail"])


# Who may


def test_everything_is_for_known_users_alone(api: Client, browser: Browser) -> None:
    described = operations(api)
    assert len(described) > 20
    for method, path in [*described, ("GET", "/openapi.json")]:
        answer = browser.http.request(method, f"/api/v1{filled(path)}", json={"task": "mail.send"})
        assert is_problem(answer, 401), (method, path, answer.text)
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_a_viewer_reads_everything_and_does_nothing(api: Client) -> None:
    for method, path in operations(api):
        answer = api(method, filled(path), role=Role.VIEWER, json={"task": "mail.send", "every": 60})
        if method == "GET":
            assert answer.status_code in (200, 404), (path, answer.text)
        else:
            assert is_problem(answer, 403), (method, path, answer.text)


def test_only_an_admin_registers_schedules(app: Celeriac, api: Client) -> None:
    body = {"task": "mail.send", "args": ["a"], "every": 60}
    assert is_problem(api("PUT", "/schedules/poll", role=Role.OPERATOR, json=body), 403)
    assert api("PUT", "/schedules/poll", json=body).status_code == 200
    assert schedules.get("poll", app=app).expression == "60"


def test_a_request_from_another_site_is_refused(api: Client) -> None:
    body = {"task": "mail.send", "args": ["a"]}
    assert is_problem(api("POST", "/jobs", json=body, headers={"origin": "https://evil.example"}), 403)
    assert is_problem(api("GET", "/jobs", headers={"host": "evil.example"}), 421)


# What it tells


def test_it_tells_what_the_commands_tell(app: Celeriac, full: Stock, api: Client) -> None:
    assert api.told("/jobs?state=failed")["jobs"] == told(app, "jobs", "list", "--state", "failed")["jobs"]
    assert api.told("/dead-letters")["groups"] == told(app, "dead-letters", "list")["groups"]
    assert [each["name"] for each in api.told("/queues")["queues"]][:4] == [
        "critical",
        "high",
        "normal",
        "low",
    ]
    assert api.told("/stats?since=1h")["all"] == told(app, "stats", "--since", "1h")["all"]
    assert api.told("/workers")["workers"][0]["hostname"] == "celery@one"
    assert api.told("/health")["workers"]["alive"] == 1


def test_pages_show_every_job_once(full: Stock, api: Client) -> None:
    seen, after = [], ""
    while True:
        page = api("GET", "/jobs", params={"limit": 3, **({"after": after} if after else {})}).json()
        seen += [one["id"] for one in page["jobs"]]
        after = page["next"]
        if after is None:
            break
    assert seen == [str(one["id"]) for one in reversed(full.jobs)]


def test_a_job_is_told_without_what_is_sensitive(full: Stock, api: Client) -> None:
    found = api.told(f"/jobs/{full.failed['id']}")
    assert found["kwargs"] == {"password": "***"}
    assert found["attempts"][0]["exception_type"] == "KeyError"
    assert "was given up" in api.told(f"/jobs/{full.failed['id']}/explanation")["sentence"]


# What it does


def test_a_job_is_enqueued_and_found_at_its_address(app: Celeriac, browser: Browser, api: Client) -> None:
    body = {"task": "mail.send", "args": ["a@example.org"], "kwargs": {"password": "p"}, "queue": "high"}
    made = api("POST", "/jobs", role=Role.OPERATOR, json=body)
    assert made.status_code == 201
    found = job(made.json()["id"], app=app)
    assert (found.queue, found.args, found.kwargs) == ("high", ["a@example.org"], {"password": "p"})
    address = made.headers["location"].removeprefix("/api/v1")
    assert api.told(address)["id"] == found.id


def test_the_same_key_names_the_same_job(api: Client) -> None:
    body = {"task": "mail.send", "args": ["a"]}
    ids = {api("POST", "/jobs", json=body, headers={"idempotency-key": "k"}).json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert api("POST", "/jobs", json=body).json()["id"] not in ids


def test_a_job_is_cancelled_and_replayed(app: Celeriac, full: Stock, api: Client) -> None:
    assert api("POST", f"/jobs/{full.waiting['id']}/cancel").json()["answer"] == "cancelled"
    assert (
        api("POST", f"/jobs/{full.running['id']}/cancel", json={"hard": True}).json()["answer"] == "requested"
    )
    assert job(str(full.running["id"]), app=app).cancel_requested == "hard"
    replayed = api("POST", f"/jobs/{full.failed['id']}/replay", json={"args": ["other"]})
    assert replayed.status_code == 200, replayed.text
    assert job(str(full.failed["id"]), app=app).args == ["other"]
    assert is_problem(api("POST", f"/jobs/{full.completed['id']}/replay"), 409)


def test_a_group_is_replayed_by_an_operation(app: Celeriac, full: Stock, api: Client) -> None:
    key = Cause.of(groups(app=app)[0]).key
    begun = api("POST", f"/dead-letters/{key}/replay", params={"rate": 100})
    assert begun.status_code == 202
    path = f"/operations/{begun.json()['id']}"
    wait_until(lambda: api.told(path)["state"] == "done", within=60, saying="the operation ends")
    assert api.told(path)["done"] == 1
    assert job(str(full.failed["id"]), app=app).state == "pending"


def test_a_schedule_is_switched_run_and_removed(app: Celeriac, api: Client) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    assert api("POST", "/schedules/poll/disable").json()["schedule"]["enabled"] is False
    assert api("POST", "/schedules/poll/enable").json()["schedule"]["enabled"] is True
    made = api("POST", "/schedules/poll/run").json()["id"]
    assert job(made, app=app).schedule == "poll"
    assert len(api.told("/schedules/poll")["next"]) == 5
    assert api("DELETE", "/schedules/poll").status_code == 204
    with pytest.raises(ScheduleNotFound):
        schedules.get("poll", app=app)


def test_a_request_that_comes_again_is_answered_as_before(app: Celeriac, api: Client) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    key = {"headers": {"idempotency-key": "once"}}
    first, second = (api("POST", "/schedules/poll/run", **key) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert api("POST", "/schedules/poll/run", role=Role.OPERATOR, **key).json() != first.json()  # another's
    assert api("POST", "/schedules/poll/run", headers={"idempotency-key": "two"}).json() != first.json()
    made = api.told("/jobs?schedule=poll")["jobs"]
    assert len(made) == 3
    assert that_met(job(made[0]["id"], app=app), app=app) == []
    assert {each["action"] for each in api.told("/audit")["actions"]} == {"schedule run"}


def test_a_key_is_of_one_request(app: Celeriac, full: Stock, api: Client) -> None:
    path, key = f"/jobs/{full.running['id']}/cancel", {"headers": {"idempotency-key": "once"}}
    assert api("POST", path, json={"hard": False}, **key).status_code == 200
    other = api("POST", path, json={"hard": True}, **key)
    assert is_problem(other, 422)
    assert other.json()["field"] == "Idempotency-Key"
    assert job(str(full.running["id"]), app=app).cancel_requested == "soft"


def test_a_refusal_is_not_kept(app: Celeriac, full: Stock, api: Client) -> None:
    path, key = f"/jobs/{full.failed['id']}/replay", {"headers": {"idempotency-key": "once"}}
    assert is_problem(api("POST", path, json={"args": []}, **key), 400)
    assert api("POST", path, json={"args": ["b"]}, **key).status_code == 200
    assert api("POST", path, json={"args": ["b"]}, **key).json()["state"] == "pending"


def test_the_same_request_at_once_is_done_once(app: Celeriac, api: Client) -> None:
    schedules.register("poll", "mail.send", args=["a"], every=60, app=app)
    start = Barrier(4)

    def ask(_: int) -> Any:
        start.wait()
        return api("POST", "/schedules/poll/run", headers={"idempotency-key": "once"}).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = set(pool.map(ask, range(4)))
    assert 201 in statuses
    assert statuses <= {201, 409}
    assert len(api.told("/jobs?schedule=poll")["jobs"]) == 1


# What it refuses


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"task": "mail.send"}, 400, "args"),
        ({"task": "mail.sen", "args": ["a"]}, 404, "task"),
        ({"task": "mail.send", "args": "a"}, 422, "args"),
        ({"task": "mail.send", "args": ["a"], "retries": 3}, 422, "retries"),
        ({"task": "mail.send", "args": ["a"], "queue": ""}, 422, "queue"),
        ({"task": "mail.send", "args": ["a"], "priority": 101}, 422, "priority"),
        ({"task": "mail.send", "args": ["a"], "priority": "urgent"}, 400, "priority"),
        ({"task": "mail.send", "args": ["a"], "countdown": -1}, 422, "countdown"),
        ({"args": ["a"]}, 422, "task"),
        ({"task": "mail.send", "args": ["x" * 1_200_000]}, 413, None),
        ({"task": "mail.send", "args": ["\x00"], "user_id": "\x00"}, 400, "user_id"),
    ],
)
def test_a_job_that_cannot_be_accepted_is_refused_by_the_name_of_the_field(
    api: Client, body: dict[str, Any], status: int, field: str | None
) -> None:
    answer = api("POST", "/jobs", json=body)
    assert is_problem(answer, status), answer.text
    assert answer.json().get("field") == field
    assert api.told("/jobs")["jobs"] == []


NO_JSON = [b"", b"{", b"[1", b"null", b'{"task": ' + b"9" * 5000 + b"}", b"[" * 100_000, b"\xff"]


@pytest.mark.parametrize("text", NO_JSON)
def test_a_body_that_is_no_json_is_refused(api: Client, text: bytes) -> None:
    answer = api("POST", "/jobs", content=text, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/jobs?state=lost",
        "/jobs?limit=0",
        "/jobs?limit=many",
        "/jobs?after=x",
        "/jobs?since=" + "9" * 200 + "d",
        "/jobs?task=%00",
        "/jobs/" + "z" * 256,
        "/stats?since=x",
        "/dead-letters?limit=1e9",
    ],
)
def test_a_question_without_a_meaning_is_refused_with_a_field(api: Client, path: str) -> None:
    answer = api("GET", path)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["field"]


def test_what_is_not_there_is_a_404(api: Client) -> None:
    for path in (
        f"/jobs/{UNKNOWN}",
        "/jobs/zz",
        "/dead-letters/aaaaaaaa",
        "/schedules/x",
        "/x",
        "/jobs/a%0Ab/cancel",
    ):
        assert is_problem(api("GET", path), 404), path


@pytest.mark.parametrize(
    "body", [{"task": "mail.send"}, {"task": "mail.send", "cron": "x"}, {"task": "n", "every": 60}]
)
def test_a_schedule_that_is_wrong_is_refused(app: Celeriac, api: Client, body: dict[str, Any]) -> None:
    assert is_problem(api("PUT", "/schedules/x", json=body), 400)
    assert schedules.list_all(app=app) == []


def test_a_broker_that_is_away_hinders_no_enqueue(database_url: str, tmp_path: Path) -> None:
    settings = Settings(
        database_url=database_url, broker_url="redis://127.0.0.1:1/0", console_users=users_file(tmp_path)
    )
    app = mail_app(settings, name="api")
    browser = Browser(app, role=None)
    made = Client(browser)("POST", "/jobs", json={"task": "mail.send", "args": ["a"]})
    assert made.status_code == 201
    assert job(made.json()["id"], app=app).dispatched is None
    browser.close()
    app.close()
