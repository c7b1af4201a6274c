"""The console's login at another service: who is let in, as what, and which answers are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.application import Celeriac
from celeriac.errors import SettingsError
from celeriac.settings.platform import Settings, read_settings
from tests.apps import build
from tests.console import BASE, Browser
from tests.provider import CLIENT, SECRET, Provider, provider, query_of


@pytest.fixture
def service() -> Iterator[Provider]:
    with provider() as found:
        yield found


@pytest.fixture
def app(sqlite_url: str, tmp_path: Path, service: Provider) -> Iterator[Celeriac]:
    settings = Settings(
        broker_url="redis://127.0.0.1:1/0",
        database_url=sqlite_url,
        data_dir=tmp_path,
        console_url=BASE,
        oidc_issuer=service.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_roles="ops=operator,leads=admin",
    )
    made = build(settings, name="oidc", set_as_current=False)
    yield made
    made.close()


@pytest.fixture
def opens(app: Celeriac) -> Iterator[Callable[[], Browser]]:
    made: list[Browser] = []

    def opened() -> Browser:
        made.append(Browser(app, role=None))
        return made[-1]

    yield opened
    for each in made:
        each.close()


@pytest.fixture
def browser(opens: Callable[[], Browser]) -> Browser:
    return opens()


def begun(browser: Browser, **query: str) -> dict[str, str]:
    """What the browser is sent to the service with."""
    answer = browser.http.get("/oidc/login", params=query, follow_redirects=False)
    assert answer.status_code == 303
    return query_of(answer.headers["location"])


def come_back(browser: Browser, service: Provider, **query: str) -> Any:
    """Log in at the service, and come back."""
    cross = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    back = service.authorize(begun(browser, **query))
    return browser.http.get(back, headers=cross, follow_redirects=False)


def test_who_logs_in_there_is_let_in_with_the_role_of_a_group(browser: Browser, service: Provider) -> None:
    refused = browser.get("/jobs", state="failed")
    assert refused.status_code == 401
    assert "/oidc/login?next=" in refused.text
    back = come_back(browser, service, next="/jobs?state=failed")
    assert (back.status_code, back.headers["location"]) == (303, "/jobs?state=failed")
    assert "ann@example.org" in browser.page("/jobs")
    assert browser.post("/jobs/act", action="cancel").status_code == 400  # it may, and names no filter
    assert browser.get("/new-schedule").status_code == 403
    browser.post("/logout")
    assert browser.get("/jobs").status_code == 401


@pytest.mark.parametrize(
    ("claims", "status", "role"),
    [
        ({"groups": ["x", "leads", "ops"]}, 303, "admin"),
        ({"groups": "ops"}, 303, "operator"),
        ({"groups": ["x"]}, 403, None),
        ({"groups": None}, 403, None),
        ({"groups": {"ops": 1}}, 403, None),
    ],
)
def test_a_role_comes_from_a_group_or_there_is_none(
    browser: Browser, service: Provider, claims: dict[str, Any], status: int, role: str | None
) -> None:
    service.claims |= claims
    back = come_back(browser, service)
    assert back.status_code == status
    assert browser.get("/jobs").status_code == (200 if role else 401)
    assert browser.get("/new-schedule").status_code == {"admin": 200, "operator": 403, None: 401}[role]


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": None},
    ],
)
def test_what_was_said_to_another_is_refused(
    browser: Browser, service: Provider, claims: dict[str, Any]
) -> None:
    service.claims |= claims
    assert come_back(browser, service).status_code == 403
    assert browser.get("/jobs").status_code == 401


def test_an_answer_that_was_not_asked_for_is_refused(
    browser: Browser, service: Provider, opens: Callable[[], Browser]
) -> None:
    back = service.authorize(begun(browser))
    assert opens().http.get(back).status_code == 401  # another browser: somebody else's login
    forged = back.replace(query_of(back)["state"], "forged")
    assert browser.http.get(forged).status_code == 403
    assert browser.http.get(back).status_code == 401  # an answer counts once
    assert browser.get("/jobs").status_code == 401
    state = begun(browser)["state"]
    assert browser.http.get(f"/oidc/callback?state={state}&code=stolen").status_code == 403
    state = begun(browser)["state"]
    denied = browser.http.get(f"/oidc/callback?state={state}&error=access_denied")
    assert denied.status_code == 403
    assert "access_denied" in denied.text


def test_a_signature_must_be_of_the_services_own_key(browser: Browser, service: Provider) -> None:
    assert come_back(browser, service).status_code == 303
    service.change_key()  # which it may: its keys are read again
    assert come_back(browser, service).status_code == 303
    browser.http.cookies.clear()
    known = service.published
    service.change_key()
    service.published = known
    assert come_back(browser, service).status_code == 403
    service.sign_with_the_secret()
    assert come_back(browser, service).status_code == 403
    assert browser.get("/jobs").status_code == 401


def test_nobody_is_sent_to_another_site_after_the_login(browser: Browser, service: Provider) -> None:
    for next_page in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        assert come_back(browser, service, next=next_page).headers["location"] == "/"


def test_a_service_that_is_away_is_named(browser: Browser, app: Celeriac, service: Provider) -> None:
    oidc = browser.console.identity.oidc
    assert oidc is not None
    oidc.issuer = "http://127.0.0.1:1"
    answer = browser.get("/oidc/login")
    assert answer.status_code == 503
    assert "http://127.0.0.1:1 gave no answer" in answer.text


@pytest.mark.parametrize(
    ("variables", "saying"),
    [
        (
            {"OIDC_ISSUER": "https://login.example.org"},
            "CELERIAC_OIDC_ISSUER needs CELERIAC_OIDC_CLIENT_ID and ",
        ),
        ({"OIDC_ISSUER": "http://login.example.org"}, "CELERIAC_OIDC_ISSUER: wanted https://host"),
        ({"OIDC_ROLES": "ops=boss"}, "CELERIAC_OIDC_ROLES: wanted value=role"),
    ],
)
def test_a_login_that_cannot_work_is_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], saying: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"CELERIAC_{name}", value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert saying in str(refused.value)
