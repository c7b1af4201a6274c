"""Who may use the console: nobody unknown, from no other site, and each only what the role allows."""

from __future__ import annotations

import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.application import Celeriac
from celeriac.console import create
from celeriac.console.access.guard import LARGEST_BODY
from celeriac.console.access.roles import Role
from celeriac.console.access.users import UserFile, line, matches
from celeriac.console.application import PLACES
from celeriac.errors import SettingsError
from celeriac.operate.job import job
from celeriac.settings.platform import Settings
from tests.apps import build
from tests.commands import call
from tests.console import PASSWORD, Browser, user_line, users_file
from tests.stock import Stock

Opens = Callable[..., Browser]


@pytest.fixture
def make_app(sqlite_url: str, tmp_path: Path) -> Iterator[Callable[..., Celeriac]]:
    made: list[Celeriac] = []

    def make(**settings: Any) -> Celeriac:
        known = {"broker_url": "redis://127.0.0.1:1/0", "database_url": sqlite_url, "data_dir": tmp_path}
        made.append(build(Settings(**known | settings), name="console", set_as_current=False))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def opens(make_app: Callable[..., Celeriac], tmp_path: Path) -> Iterator[Opens]:
    """Opens a browser; with a file of users unless ``users`` is False."""
    made: list[Browser] = []

    def opened(
        *, users: bool = True, role: Role | None = Role.ADMIN, client: str = "127.0.0.1", **more: Any
    ) -> Browser:
        given = {"console_users": users_file(tmp_path)} if users else {}
        made.append(Browser(make_app(**given | more), role=role, client=client))
        return made[-1]

    yield opened
    for each in made:
        each.close()


def fill(browser: Browser) -> Stock:
    made = Stock()
    with browser.console.app.database.transaction() as connection:
        made.write(connection)
    return made


# Without a session


def test_the_printed_address_opens_one_session_and_no_other(opens: Opens) -> None:
    browser = opens(users=False, role=None)
    assert browser.token is not None
    first = browser.token.value
    assert browser.get("/").status_code == 401
    assert browser.get("/jobs", token=first).status_code == 200
    assert browser.get("/jobs").status_code == 200
    browser.http.cookies.clear()
    again = browser.get("/jobs", token=first)
    assert (again.status_code, "printed last" in again.text) == (401, True)
    assert browser.get("/jobs", token=browser.token.value).status_code == 200


def test_the_token_is_not_in_the_address_that_one_ends_at(opens: Opens) -> None:
    browser = opens(users=False, role=None)
    assert browser.token is not None
    ended = browser.get("/jobs", token=browser.token.value, state="failed")
    assert str(ended.url).endswith("/jobs?state=failed")


@pytest.mark.parametrize("place", list(PLACES), ids=lambda place: place.path)
def test_no_page_and_no_action_is_for_somebody_unknown(opens: Opens, place: Any) -> None:
    browser = opens(role=None)
    path = re.sub(r"\{[^}]+\}", "0192d3a4", place.path)
    for method in (["GET"] if place.show else []) + (["POST"] if place.act else []):
        found = browser.http.request(method, path, headers={"accept": "application/json"})
        assert found.status_code == 401
        assert found.headers["content-type"] == "application/problem+json"
        assert "log in" in found.json()["detail"]


def test_a_program_may_send_name_and_password_with_each_request(opens: Opens) -> None:
    browser = opens(role=None)
    basic = {"authorization": "Basic " + b64encode(f"viewer:{PASSWORD}".encode()).decode()}
    assert browser.http.get("/jobs", headers=basic).status_code == 200
    wrong = {"authorization": "Basic " + b64encode(b"viewer:wrong").decode()}
    assert browser.http.get("/jobs", headers=wrong).status_code == 401


def test_nobody_could_log_in_is_said_when_the_console_is_made(make_app: Callable[..., Celeriac]) -> None:
    with pytest.raises(SettingsError, match="CELERIAC_CONSOLE_USERS"):
        create(make_app())


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "::"])
def test_another_address_than_this_machines_is_refused_without_users(
    make_app: Callable[..., Celeriac], address: str
) -> None:
    found = call(make_app(), "console", "--address", address, "--port", "0")
    assert found.exit_code == 1
    assert "CELERIAC_CONSOLE_USERS" in found.stderr


# Users


def test_a_line_of_the_command_lets_one_in(opens: Opens, tmp_path: Path) -> None:
    browser = opens(role=None)
    made = call(
        browser.console.app,
        "console",
        "user",
        "ann",
        "--role",
        "operator",
        "--password-stdin",
        answer="long enough\n",
    )
    with users_file(tmp_path).open("a") as file:
        file.write(made.stdout)
    assert browser.log_in("ann", "long enough").status_code == 200
    assert "long enough" not in made.stdout


@pytest.mark.parametrize(("name", "password"), [("a:b", PASSWORD), ("", PASSWORD), ("ann", "short")])
def test_a_line_is_refused_that_could_not_be_read(name: str, password: str) -> None:
    with pytest.raises(ValueError, match="wanted"):
        line(name, Role.VIEWER, password)


def test_a_wrong_password_opens_nothing(opens: Opens) -> None:
    browser = opens(role=None)
    assert browser.log_in("admin", "wrong").status_code == 401
    assert browser.log_in("nobody").status_code == 401
    assert browser.get("/jobs").status_code == 401


def test_whoever_tries_passwords_has_to_wait(opens: Opens) -> None:
    browser = opens(role=None)
    answers = [browser.log_in("admin", f"wrong {number}").status_code for number in range(6)]
    assert answers == [401] * 5 + [429]
    refused = browser.log_in("admin")
    assert (refused.status_code, "try again in" in refused.text) == (429, True)
    assert int(refused.headers["retry-after"]) >= 1


def test_a_session_ends_with_its_user(opens: Opens, tmp_path: Path) -> None:
    browser = opens(role=Role.OPERATOR)
    assert browser.get("/jobs").status_code == 200
    path = users_file(tmp_path)
    path.write_text(user_line(Role.VIEWER) + "\n")
    assert browser.get("/jobs").status_code == 401


def test_a_session_ends_with_a_new_password(opens: Opens, tmp_path: Path) -> None:
    browser = opens(role=Role.VIEWER)
    path = users_file(tmp_path)
    path.write_text(line("viewer", Role.VIEWER, "another one") + "\n")
    assert browser.get("/jobs").status_code == 401


def test_a_session_ends_with_its_time(opens: Opens) -> None:
    browser = opens(role=Role.VIEWER)
    signer = browser.console.identity.signer
    kept = signer.loads("session", browser.http.cookies["celeriac_console"])
    assert browser.with_cookie(signer.dumps("session", kept, lasts=-1)) == 401
    assert browser.with_cookie(signer.dumps("session", kept, lasts=60)) == 200
    assert browser.with_cookie(signer.dumps("said", kept, lasts=60)) == 401


def test_a_copied_cookie_ends_with_the_log_out(opens: Opens) -> None:
    browser = opens(role=Role.VIEWER)
    cookie = browser.http.cookies["celeriac_console"]
    browser.post("/logout")
    assert browser.with_cookie(cookie) == 401


@pytest.mark.parametrize("change", [lambda text: text[:-2], lambda text: "x" + text, lambda text: ""])
def test_a_forged_cookie_opens_nothing(opens: Opens, change: Callable[[str], str]) -> None:
    browser = opens(role=Role.ADMIN)
    cookie = browser.http.cookies["celeriac_console"]
    assert browser.with_cookie(change(cookie)) == 401
    assert browser.with_cookie(cookie) == 200


def test_the_cookie_is_for_the_server_alone(opens: Opens) -> None:
    browser = opens(role=None)
    found = browser.http.post("/login", data={"name": "viewer", "password": PASSWORD}, follow_redirects=False)
    told = found.headers["set-cookie"].lower()
    assert "httponly" in told
    assert "samesite=lax" in told


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:x"])
def test_a_log_in_leads_to_no_other_site(opens: Opens, to: str) -> None:
    browser = opens(role=None)
    data = {"name": "viewer", "password": PASSWORD, "next": to}
    assert browser.http.post("/login", data=data, follow_redirects=False).headers["location"] == "/"


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("ann:boss:proxy\n", 0o600, "line 1"),
        ("# all\n\nann\n", 0o600, "line 3"),
        ("ann:viewer:proxy\n", 0o644, "chmod 600"),
    ],
)
def test_a_file_of_users_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, mode: int, says: str
) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=says):
        UserFile(path)


@pytest.mark.parametrize("hash", ["proxy", "", "scrypt$1", "scrypt$x$8$1$AA==$AA==", "md5$1$1$1$AA==$AA=="])
def test_a_hash_that_is_none_of_ours_matches_no_password(hash: str) -> None:
    assert not matches("", hash)
    assert not matches(PASSWORD, hash)


# A proxy


def test_a_trusted_proxy_says_who_it_is(opens: Opens) -> None:
    browser = opens(role=None, client="10.1.2.3", console_proxies="10.1.0.0/16")
    as_operator = browser.http.get("/queues", headers={"x-forwarded-user": "operator"})
    assert (as_operator.status_code, ">pause</button>" in as_operator.text) == (200, True)
    unknown = browser.http.get("/queues", headers={"x-forwarded-user": "somebody"})
    assert (unknown.status_code, ">pause</button>" in unknown.text) == (200, False)
    assert browser.get("/jobs").status_code == 401


@pytest.mark.parametrize("client", ["10.2.0.1", "127.0.0.1", "testclient"])
def test_nobody_else_is_believed(opens: Opens, client: str) -> None:
    browser = opens(role=None, client=client, console_proxies="10.1.0.0/16")
    assert browser.http.get("/jobs", headers={"x-forwarded-user": "admin"}).status_code == 401


def test_a_header_that_comes_twice_is_not_believed(opens: Opens) -> None:
    browser = opens(role=None, client="10.1.2.3", console_proxies="10.1.0.0/16")
    twice = [("x-forwarded-user", "admin"), ("x-forwarded-user", "viewer")]
    assert browser.http.get("/jobs", headers=twice).status_code == 401


# Roles


ACTIONS = [place for place in PLACES if place.act and place.path != "/logout"]


@pytest.mark.parametrize("place", ACTIONS, ids=lambda place: place.path)
def test_a_viewer_cannot_act(opens: Opens, place: Any) -> None:
    browser = opens(role=Role.VIEWER)
    stock = fill(browser)
    path = re.sub(r"\{[^}]+\}", str(stock.failed["id"]), place.path)
    found = browser.post(path, action="replay", id=str(stock.failed["id"]))
    assert found.status_code == 403
    assert "takes the role" in found.text
    assert job(str(stock.failed["id"]), app=browser.console.app).state == "failed"


def test_a_viewer_sees_no_button_to_act_with(opens: Opens) -> None:
    browser = opens(role=Role.VIEWER)
    stock = fill(browser)
    for path in ("/jobs", f"/jobs/{stock.failed['id']}", "/dead", "/schedules"):
        assert 'name="action"' not in browser.page(path)


def test_only_an_admin_changes_schedules(opens: Opens) -> None:
    assert opens(role=Role.OPERATOR).get("/new-schedule").status_code == 403
    assert opens(role=Role.ADMIN).get("/new-schedule").status_code == 200


# Other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_an_action_from_another_site_is_refused(opens: Opens, headers: dict[str, str]) -> None:
    browser = opens()
    stock = fill(browser)
    data = {"form_token": browser.form_token(), "action": "replay"}
    path = f"/jobs/{stock.failed['id']}/act"
    assert browser.http.post(path, data=data, headers=headers).status_code == 403
    assert job(str(stock.failed["id"]), app=browser.console.app).state == "failed"


def test_another_site_reads_nothing_but_may_link(opens: Opens) -> None:
    browser = opens()
    cross = {"sec-fetch-site": "cross-site"}
    assert browser.http.get("/jobs", headers=cross | {"sec-fetch-mode": "no-cors"}).status_code == 403
    assert browser.http.get("/jobs", headers=cross | {"sec-fetch-mode": "navigate"}).status_code == 200


@pytest.mark.parametrize("token", ["", "x", None])
def test_an_action_needs_the_token_of_its_session(opens: Opens, token: str | None) -> None:
    browser = opens()
    stock = fill(browser)
    given = opens(role=Role.OPERATOR).form_token() if token is None else token
    assert browser.post(f"/jobs/{stock.failed['id']}/act", token=given, action="replay").status_code == 403
    assert job(str(stock.failed["id"]), app=browser.console.app).state == "failed"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:5556", "", "a:b:c"])
def test_another_name_of_the_host_is_refused(opens: Opens, host: str) -> None:
    browser = opens(console_hosts="tasks.example.org")
    assert browser.http.get("/jobs", headers={"host": host}).status_code == 421
    assert browser.http.get("/healthz", headers={"host": "tasks.example.org"}).status_code == 200


def test_a_body_that_is_too_large_or_no_form_is_refused(opens: Opens) -> None:
    browser = opens()
    large = browser.http.post("/jobs/act", content=b"a=" + b"x" * LARGEST_BODY)
    assert large.status_code == 413
    other = browser.http.post("/jobs/act", json={"action": "replay"})
    assert other.status_code == 415
    many = browser.http.post(
        "/jobs/act",
        content="&".join(["id=1"] * 6000),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert many.status_code == 415


@pytest.mark.parametrize("path", ["/", "/login", "/nothing", "/static/console.css", "/healthz"])
def test_every_answer_has_the_headers_of_security(opens: Opens, path: str) -> None:
    headers = opens(role=None).get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_scripts_run_by_the_nonce_of_their_answer_alone(opens: Opens) -> None:
    browser = opens()
    found = [browser.get("/"), browser.get("/")]
    nonces = [re.search(r"'nonce-([^']+)'", each.headers["content-security-policy"]) for each in found]
    assert nonces[0] is not None
    assert nonces[1] is not None
    assert nonces[0][1] != nonces[1][1]
    for each, nonce in zip(found, nonces, strict=True):
        assert nonce is not None
        scripts = re.findall(r"<script[^>]*>", each.text)
        assert scripts
        assert all(f'nonce="{nonce[1]}"' in script for script in scripts)


def test_pages_are_kept_by_no_cache(opens: Opens) -> None:
    assert opens().get("/jobs").headers["cache-control"] == "no-store"


def test_the_file_of_users_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = users_file(tmp_path)
    users = UserFile(path)
    assert users.find("admin") is not None
    path.write_text("")
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert users.find("admin") is None
