"""Tokens of the HTTP API on both databases: made once, hashed, known again, refused with what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from celeriac.application import Celeriac
from celeriac.console.access.roles import Role
from celeriac.errors import BadArgument
from celeriac.ledger.schema.operator_tables import API_TOKENS
from celeriac.operate import tokens
from celeriac.operate.actions import Actor, Via, list_actions
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told
from tests.console import Browser, users_file
from tests.support import wait_until

DAY = timedelta(days=1)
ANN = Actor("ann", Via.CLI)


@pytest.fixture
def make_app(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Celeriac]]:
    made: list[Celeriac] = []

    def make(**settings: Any) -> Celeriac:
        given = {"broker_url": "redis://127.0.0.1:1/0", "database_url": database_url}
        given["console_users"] = users_file(tmp_path)
        made.append(mail_app(Settings(**given | settings), name="tokens"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def app(make_app: Callable[..., Celeriac]) -> Celeriac:
    return make_app()


@pytest.fixture
def opens() -> Iterator[Callable[[Celeriac], Browser]]:
    made: list[Browser] = []

    def opened(app: Celeriac) -> Browser:
        made.append(Browser(app, role=None))
        return made[-1]

    yield opened
    for each in made:
        each.close()


def ask(browser: Browser, token: str, path: str = "/api/v1/jobs", method: str = "GET", **more: Any) -> Any:
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    return browser.http.request(method, path, headers=headers, **more)


def make(app: Celeriac, name: str = "ci", role: Role = Role.OPERATOR, lasts: timedelta = DAY) -> str:
    return tokens.create(name, role=role, lasts=lasts, actor=ANN, app=app)


# The command


def test_a_token_is_printed_once_and_kept_as_a_hash(app: Celeriac) -> None:
    printed = call(app, "tokens", "create", "ci", "--role", "operator", "--expires", "12h")
    token = printed.stdout.strip()
    assert re.fullmatch(r"clr_[\w-]{43}", token)
    with app.database.reading() as connection:
        row = connection.execute(select(API_TOKENS)).one()
    assert token not in repr(row)
    assert bytes(row.digest) == tokens.digest(token)
    assert abs(row.expires - row.created - timedelta(hours=12)) < timedelta(seconds=60)
    listed = call(app, "tokens", "list").stdout
    assert "ci" in listed
    assert "operator" in listed
    assert token not in listed
    found = told(app, "tokens", "list")["tokens"]
    assert [(each["name"], each["role"], each["last_used"], each["expired"]) for each in found] == [
        ("ci", "operator", None, False)
    ]


def test_a_name_is_taken_until_it_is_revoked(app: Celeriac) -> None:
    assert told(app, "tokens", "create", "ci")["role"] == "viewer"
    again = call(app, "tokens", "create", "ci")
    assert (again.exit_code, again.stdout) == (2, "")
    assert "revoke it first" in again.stderr
    assert told(app, "tokens", "revoke", "ci")["name"] == "ci"
    recorded = list_actions(app=app).actions
    assert [(each.action, each.subject) for each in recorded] == [
        ("token revoke", "token ci"),
        ("token create", "token ci"),
    ]
    assert call(app, "tokens", "revoke", "ci").exit_code == 2
    assert call(app, "tokens", "list").exit_code == 1


@pytest.mark.parametrize(
    ("name", "lasts"), [("", DAY), ("x\x00", DAY), ("x" * 250, DAY), ("x", 4000 * DAY), ("x", DAY / 9999)]
)
def test_a_token_that_makes_no_sense_is_refused(app: Celeriac, name: str, lasts: timedelta) -> None:
    with pytest.raises(BadArgument):
        make(app, name, lasts=lasts)


# The console


def test_a_token_opens_the_api_and_the_pages_json_as_its_role(
    app: Celeriac, opens: Callable[[Celeriac], Browser]
) -> None:
    full, browser, token = stock.filled(app), opens(app), make(app)
    assert ask(browser, token).status_code == 200
    assert ask(browser, token, "/jobs").json()["command"] == "jobs list"
    cancel = f"/api/v1/jobs/{full.waiting['id']}/cancel"
    assert ask(browser, make(app, "looks", Role.VIEWER), cancel, "POST").status_code == 403
    assert ask(browser, token, cancel, "POST").json()["answer"] == "cancelled"
    assert ask(browser, token, "/api/v1/schedules/x", "DELETE").status_code == 403


def test_a_token_that_cannot_be_used_is_told_what_to_do(
    app: Celeriac, opens: Callable[[Celeriac], Browser]
) -> None:
    browser, expired, revoked = opens(app), make(app, "old"), make(app, "gone")
    with app.database.transaction() as connection:
        connection.execute(
            update(API_TOKENS).where(API_TOKENS.c.name == "old").values(expires=stock.before(1))
        )
    tokens.revoke("gone", actor=ANN, app=app)
    for token, saying in (
        (expired, "expired at"),
        (revoked, "was revoked"),
        ("clr_" + "a" * 43, "unknown"),
        ("clr_x", "unknown"),
        ("eyJ.another.one", "tokens create"),
    ):
        for path in ("/api/v1/jobs", "/jobs"):
            answer = ask(browser, token, path)
            assert answer.status_code == answer.json()["status"] == 401
            assert answer.headers["content-type"] == "application/problem+json"
            if path != "/jobs" or token.startswith("clr_"):
                assert saying in answer.json()["detail"]


def test_a_revoked_token_is_refused_soon_though_it_was_known(
    app: Celeriac, opens: Callable[[Celeriac], Browser]
) -> None:
    browser, token = opens(app), make(app)
    assert ask(browser, token).status_code == 200
    tokens.revoke("ci", actor=ANN, app=app)
    wait_until(lambda: ask(browser, token).status_code == 401, within=10, saying="the token is refused")


def test_use_is_noted_once_a_minute_and_not_for_each_request(
    app: Celeriac, opens: Callable[[Celeriac], Browser]
) -> None:
    browser, token = opens(app), make(app)
    ask(browser, token)
    (first,) = tokens.list_all(app=app)
    assert first.last_used is not None
    other = opens(app)  # another process of the console
    assert ask(other, token).status_code == ask(browser, token).status_code == 200
    assert tokens.list_all(app=app) == [first]
    with app.database.transaction() as connection:
        connection.execute(update(API_TOKENS).values(last_used=stock.before(61)))
    assert ask(opens(app), token).status_code == 200
    (later,) = tokens.list_all(app=app)
    assert later.last_used is not None
    assert later.last_used >= first.last_used


def test_each_token_has_a_rate_of_its_own(
    make_app: Callable[..., Celeriac], opens: Callable[[Celeriac], Browser]
) -> None:
    app = make_app(console_api_rate=0.01)  # one at once; the next after 100 s
    browser, first, second = opens(app), make(app, "first"), make(app, "second")
    assert ask(browser, first).status_code == 200
    refused = ask(browser, first)
    assert refused.status_code == 429
    assert 50 < int(refused.headers["retry-after"]) <= 100
    assert "CELERIAC_CONSOLE_API_RATE" in refused.json()["detail"]
    assert ask(browser, second).status_code == 200


def test_a_database_that_is_away_is_no_wrong_token(
    make_app: Callable[..., Celeriac], opens: Callable[[Celeriac], Browser]
) -> None:
    app = make_app(database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    browser = opens(app)
    for path in ("/api/v1/jobs", "/jobs"):
        assert ask(browser, "clr_" + "a" * 43, path).status_code == 503
