"""The pages of the console on both databases: what they show as HTML and as JSON, also without a server."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, make_url, update
from sqlalchemy import text as text_of
from sqlalchemy.exc import OperationalError

from celeriac import Unique, enqueue_together
from celeriac.application import Celeriac
from celeriac.console.application import PLACES
from celeriac.ledger.connection.database import Database
from celeriac.ledger.connection.error_kinds import took_too_long
from celeriac.ledger.schema.models import FAILURES, JOBS, SCHEDULES, WORKERS
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.presentation.shapes import VERSION
from celeriac.schedules import register
from celeriac.settings.platform import Settings
from tests import stock
from tests.apps import mail_app
from tests.commands import call, told
from tests.console import Browser
from tests.servers import PostgresServer
from tests.stock import Stock, before
from tests.support import wait_until

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202egnp"


def made_app(redis_url: str, database_url: str, **settings: Any) -> Celeriac:
    given = Settings(database_url=database_url, broker_url=redis_url, **settings)
    return mail_app(given, name="production")


@pytest.fixture
def app(redis_url: str, database_url: str) -> Iterator[Celeriac]:
    made = made_app(redis_url, database_url)
    yield made
    made.close()


@pytest.fixture
def full(app: Celeriac) -> Stock:
    found = stock.filled(app)
    register(
        "nightly", "mail.send", args=["you@example.org"], cron="30 2 * * *", timezone="Europe/Berlin", app=app
    )
    return found


@pytest.fixture
def browser(app: Celeriac, full: Stock) -> Iterator[Browser]:
    made = Browser(app)
    yield made
    made.close()


def pages(full: Stock, app: Celeriac) -> list[str]:
    """The address of every page."""
    key = Cause.of(groups(app=app)[0]).key
    failed = f"/jobs/{full.failed['id']}"
    named = {"/jobs/{id}": failed, "/jobs/{id}/edit": f"{failed}/edit", "/dead/{key}": f"/dead/{key}"}
    named |= {"/schedules/{name:path}": "/schedules/nightly", "/tasks/{name:path}": "/tasks/mail.send"}
    named |= {"/queues/{name:path}": "/queues/normal"}
    no_pages = ("/operations/{id}", "/jobs.csv", "/jobs.json")  # files, and what is not there yet
    shown = [place.path for place in PLACES if place.show and place.path not in no_pages]
    return [named.get(path, path) for path in shown]


def text(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html))


# Every page


def test_every_page_answers_and_shows_what_stands_at_its_head(
    app: Celeriac, full: Stock, browser: Browser
) -> None:
    wait_until(
        lambda: browser.console.head.now().findings is not None, within=60, saying="the doctor has looked"
    )
    for path in pages(full, app):
        found = browser.page(path)
        at_the_head = text(found.split('class="head"')[1].split("</section>")[0])
        assert "workers alive" in at_the_head, path
        assert "production" in found, path
        assert 'class="env-red"' in found, path
        assert "<Macro" not in text(found), f"{path} shows a name of the template's, not a value"


def test_every_page_tells_the_same_as_json(app: Celeriac, full: Stock, browser: Browser) -> None:
    for path in pages(full, app):
        document = browser.json(path)
        assert document["version"] == VERSION, path
        assert document["command"], path


def test_every_page_names_a_command_that_can_be_typed(app: Celeriac, full: Stock, browser: Browser) -> None:
    for path in pages(full, app):
        command = unescape(
            re.findall(r"the same in a terminal: <code>([^<]+)</code>", browser.page(path))[-1]
        )
        words = shlex.split(command)
        assert words[:3] == ["celery", "-A", "app"]
        if words[3:] not in (["jobs", "watch"], ["doctor"]):  # the first does not end, the second is slow
            assert call(app, *words[3:]).exit_code in (0, 1), command


@pytest.mark.parametrize(
    ("path", "words", "part"),
    [
        ("/jobs", ["jobs", "list"], "jobs"),
        (
            "/jobs?state=failed&error=keyerror",
            ["jobs", "list", "--state", "failed", "--error", "keyerror"],
            "jobs",
        ),
        ("/dead", ["dead-letters", "list"], "groups"),
        ("/schedules", ["schedules", "list"], "schedules"),
    ],
)
def test_a_page_and_its_command_tell_the_same(
    app: Celeriac, browser: Browser, path: str, words: list[str], part: str
) -> None:
    ours, theirs = browser.json(path), told(app, *words)
    assert ours[part] == theirs[part]
    assert ours["command"] == theirs["command"]


def test_what_could_harm_is_shown_as_text(app: Celeriac, browser: Browser) -> None:
    row = stock.failed(
        job_type=HOSTILE,
        queue=HOSTILE,
        user_id=HOSTILE,
        failure_info=HOSTILE,
        queued=before(1),
        payload=f'[["{HOSTILE}"], {{"{HOSTILE}": 1}}, {{}}]'.replace("\x1b", "\\u001b").encode(),
        headers={"argsrepr": HOSTILE, "kwargsrepr": HOSTILE},
        result=None,
    )
    last = stock.failure(row, exception_type=HOSTILE, exception=HOSTILE, frame=HOSTILE, traceback=HOSTILE)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        connection.execute(insert(FAILURES), [last])
    key = next(Cause.of(each).key for each in groups(app=app) if each.task == HOSTILE)
    for path in ("/", "/jobs", f"/jobs/{row['id']}", "/dead", f"/dead/{key}", "/queues", "/tasks"):
        seen = partial(lambda path: "alert(1)" in browser.get(path).text, path)
        wait_until(seen, within=30, saying=f"{path} has read the job")
        found = browser.page(path)
        assert "<script>alert" not in found, path
        assert "\x1b" not in found, path
        assert "\u202e" not in found, path


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/0192d3a4-0000-7000-8000-000000000000",
        "/dead/aaaaaaaa",
        "/schedules/x",
        "/tasks/x",
        "/queues/x",
        "/x",
    ],
)
def test_what_is_not_there_is_a_404_that_says_so(browser: Browser, path: str) -> None:
    assert browser.get(path).status_code == 404
    problem = browser.http.get(path, headers={"accept": "application/json"})
    assert problem.status_code == 404
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=lost", "state"),
        ("since=yesterday", "since"),
        ("limit=0", "limit"),
        ("limit=9999", "limit"),
        ("after=x", "after"),
        ("sort=best", "sort"),
        ("id-prefix=xyz", "id"),
        ("task=" + "x" * 300, "task"),
        ("task=%00", "task"),
        ("since=" + "9" * 5000 + "d", "since"),
    ],
)
def test_a_filter_without_a_meaning_is_refused_by_its_name(browser: Browser, query: str, field: str) -> None:
    problem = browser.http.get(f"/jobs?{query}", headers={"accept": "application/json"})
    assert (problem.status_code, problem.json()["field"]) == (400, field)


# Jobs


def test_the_tabs_count_the_jobs_of_each_state(browser: Browser) -> None:
    def shown() -> dict[str, str]:
        tabs = browser.page("/jobs", queue="normal").split('class="tabs"')[1].split("</nav>")[0]
        found = re.findall(r">(\w+)\s*<span class=\"count\">([^<]+)</span>", tabs)
        return {name: count.strip() for name, count in found}

    wait_until(lambda: "…" not in shown().values(), within=30, saying="the jobs are counted")
    assert shown() == {
        "all": "6",
        "pending": "2",
        "running": "0",
        "completed": "1",
        "error": "1",
        "failed": "1",
        "cancelled": "1",
    }


def test_a_list_shows_arguments_without_what_is_sensitive(app: Celeriac, browser: Browser) -> None:
    app.tasks["mail.send"].delay("you@example.org", password="hunter2")
    found = text(browser.page("/jobs", state="pending"))
    assert "you@example.org" in found
    assert "{'password': '***'}" in found
    assert "hunter2" not in found


def test_jobs_are_found_by_what_their_arguments_say_and_not_by_what_is_hidden(
    app: Celeriac, browser: Browser
) -> None:
    send = app.tasks["mail.send"]
    first = send.delay("Order-4711@example.org", password="hunter2")
    second = send.delay(to="order-4712 100%_sure", password="hunter2")
    for text_, ids in {
        "order-471": {first.id, second.id},
        "ORDER-4711": {first.id},
        "100%_": {second.id},
        "%": {second.id},
        "hunter2": set(),
    }.items():
        page, api = browser.json("/jobs", argument=text_), browser.json("/api/v1/jobs", argument=text_)
        listed = told(app, "jobs", "list", "--argument", text_)
        assert {each["id"] for each in page["jobs"]} == ids, text_
        assert page["jobs"] == api["jobs"] == listed["jobs"]
    assert browser.get("/jobs", argument="x\x00").status_code == 400


def test_pages_of_jobs_show_every_job_once(full: Stock, browser: Browser) -> None:
    seen, path = [], "/jobs?limit=3"
    while path:
        found = browser.page(path)
        seen += re.findall(r'id="row-([^"]+)"', found)
        following = re.search(r'href="([^"]+)" rel="next"', found)
        path = unescape(following[1]) if following else ""
    assert seen == [str(one["id"]) for one in reversed(full.jobs)]


def test_a_shortened_id_leads_to_the_job(full: Stock, browser: Browser) -> None:
    id = str(full.failed["id"])
    assert str(browser.get(f"/jobs/{id[:-2]}").url).endswith(id)


# A job


def test_a_job_says_why_it_does_not_run_and_what_happened(full: Stock, browser: Browser) -> None:
    found = text(browser.page(f"/jobs/{full.failed['id']}"))
    for part in (
        "it was given up at",
        "attempt 1 began on celery@one",
        "pruned, at the earliest",
        "mail.py:send",
    ):
        assert part in found
    coming = text(browser.page(f"/jobs/{full.later['id']}"))
    assert "it waits until" in coming
    assert "attempt 2 is due" in coming


def test_a_job_shows_its_unique_key_and_who_follows_whom(app: Celeriac, browser: Browser) -> None:
    sync = app.tasks["mail.send"]
    unique = {"unique": Unique(args=())}
    first = sync.apply_async(("ada",), **unique)
    with enqueue_together(app=app):
        second = sync.apply_async(("ada",), **unique)
    page = browser.page(f"/jobs/{first.id}")
    found = text(page)
    assert "unique key mail.send:" in found
    assert "is answered with this job until it has ended" in found
    assert f'/jobs/{second.id}"' in page[page.index("Followed by") :]
    assert [each["id"] for each in browser.json(f"/jobs/{first.id}")["job"]["followers"]] == [second.id]
    page = browser.page(f"/jobs/{second.id}")
    assert f'<dt>follows</dt><dd><a href="/jobs/{first.id}">' in page
    assert "Followed by" not in page


def test_the_jobs_of_a_chord_are_on_the_page_of_its_body_and_of_each_other(
    app: Celeriac, browser: Browser
) -> None:
    """Those of a group that no job enqueued have nothing in common but the group."""
    group = UUID(int=7)
    parts = [stock.job(job_type="part", group_id=group) for _ in range(3)]
    for each in parts:
        each["root_id"] = each["id"]
    body = stock.pending(job_type="join", group_id=group, root_id=parts[0]["id"], parent_id=parts[0]["id"])
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), parts)
        connection.execute(insert(JOBS), [body])
    for one in (body, *parts):
        shown = browser.json(f"/jobs/{one['id']}")["job"]["workflow"]
        root = one["root_id"]
        assert shown["root"] == str(root)
        others = {str(each["id"]) for each in (body, *parts) if each["id"] != root}
        assert {each["id"] for each in shown["members"]} == others
        assert shown["states"] == {"completed": 2, "pending": 1}
    page = browser.page(f"/jobs/{body['id']}")
    assert all(f'href="/jobs/{each["id"]}"' in page for each in parts)


def test_a_job_that_has_ended_well_has_nothing_to_be_opened_and_no_empty_form(
    full: Stock, browser: Browser
) -> None:
    page = browser.page(f"/jobs/{full.completed['id']}")
    assert 'class="attempt"' not in page
    assert 'name="reason"' not in page
    assert "clone" in page


def test_a_secret_is_shown_only_when_it_is_revealed(
    app: Celeriac, full: Stock, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/jobs/{full.failed['id']}"
    for found in (browser.page(path), browser.get(path).text, str(browser.json(path))):
        assert "hunter2" not in found
        assert "***" in found
    with caplog.at_level("INFO", logger="celeriac"):
        revealed = browser.post(f"{path}/reveal", path='["kwargs", "password"]')
    assert (revealed.status_code, "hunter2" in revealed.text) == (200, True)
    assert [one.args for one in caplog.records if one.name.startswith("celeriac.console")] == [
        {"user": "local", "action": 'revealed ["kwargs", "password"] of', "subject": str(full.failed["id"])}
    ]
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "path",
    ["", "x", "[]", '["headers"]', '["payload"]', '["kwargs", "nothing"]', '["args", 99]', '["args", true]'],
)
def test_a_value_that_is_not_there_is_not_revealed(full: Stock, browser: Browser, path: str) -> None:
    assert browser.post(f"/jobs/{full.failed['id']}/reveal", path=path).status_code == 400


def test_the_headers_of_a_message_are_a_tree_without_secrets(app: Celeriac, browser: Browser) -> None:
    headers = {"argsrepr": "('hunter1',)", "tenant": {"api_key": "hunter2", "name": "shop"}, "stamps": ["a"]}
    row = stock.pending(headers=headers)
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
    path = f"/jobs/{row['id']}"
    page, told_ = browser.page(path), browser.json(path)["job"]["headers"]
    assert told_ == {"tenant": {"api_key": "***", "name": "shop"}, "stamps": ["a"]}
    assert re.search(r'"key">name</span> <span class="value">(&#34;|")shop', page)
    assert "hunter" not in page
    revealed = browser.post(f"{path}/reveal", path='["headers", "tenant", "api_key"]')
    assert "hunter2" in revealed.text


def test_a_setting_names_its_default_and_where_it_is_set(redis_url: str, sqlite_url: str) -> None:
    app = made_app(redis_url, sqlite_url, heartbeat=2.0)
    with closing(app), closing(Browser(app)) as browser:
        found = {each["name"]: each for each in browser.json("/doctor")["settings"]}
        page = text(browser.page("/doctor"))
    assert found["CELERIAC_HEARTBEAT"] == {
        "name": "CELERIAC_HEARTBEAT",
        "value": "2.0",
        "default": "3.0",
        "origin": "the app",
    }
    assert found["CELERIAC_MAX_TRIES"]["origin"] is None
    assert re.search(r"CELERIAC_HEARTBEAT\s+2\.0\s+3\.0\s+the app", page)


def test_arguments_of_any_size_are_shown(app: Celeriac, browser: Browser) -> None:
    deep = "[" * 300 + "]" * 300
    wide = "[" + ",".join(["1"] * 5000) + "]"
    rows = [
        stock.pending(payload=f'[[{deep}], {{"n": 1}}, {{}}]'.encode()),
        stock.pending(payload=f"[[{wide}], {{}}, {{}}]".encode()),
        stock.pending(payload=b'[["' + b"x" * 1_000_000 + b'"], {}, {}]'),
        stock.pending(payload=b"[[" + b"9" * 5000 + b"], {}, {}]"),
    ]
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), rows)
    for row in rows:
        assert len(browser.page(f"/jobs/{row['id']}")) < 150_000


def test_the_platforms_frames_of_a_traceback_are_folded(app: Celeriac, browser: Browser) -> None:
    row = stock.failed(queued=before(1))
    trace = (
        'Traceback (most recent call last):\n  File "/site/celery/app/trace.py", line 1, in f\n    run()\n'
        '  File "/srv/shop/mail.py", line 7, in send\n    raise KeyError\nKeyError: 1'
    )
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        connection.execute(insert(FAILURES), [stock.failure(row, traceback=trace)])
    found = browser.page(f"/jobs/{row['id']}")
    assert re.search(r"<details><summary>1 frame of the platform</summary><pre[^>]*>[^<]*trace\.py", found)
    assert re.search(r"<pre[^>]*>[^<]*mail\.py&#34;, line 7", found)


def test_a_group_says_where_its_jobs_came_from(app: Celeriac, browser: Browser) -> None:
    later = stock.failed(queued=before(1), user_id="u9", queue="high")
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [later])
        connection.execute(insert(FAILURES), [stock.failure(later)])
    wait_until(lambda: groups(app=app)[0].count == 2, within=30, saying="both are in the group")
    path = f"/dead/{Cause.of(groups(app=app)[0]).key}"
    assert browser.json(path)["origins"] == {
        "workers": {"celery@one": 2},
        "versions": {"v7": 2},
        "users": {"u9": 1, "u1": 1},
        "queues": {"high": 1, "normal": 1},
    }
    shown = browser.page(path)
    assert "in version v7" in shown
    assert "user=u9" in unescape(shown)


def test_a_late_schedule_is_on_the_overview(app: Celeriac, full: Stock) -> None:
    with app.database.transaction() as connection:
        connection.execute(update(SCHEDULES).values(next_run=before(100)))
    late = "schedule nightly is late by"
    browser = Browser(app)  # which knows nothing of before
    wait_until(lambda: late in browser.page("/"), within=60, saying="it is shown")
    assert late in browser.json("/")["schedules"][0]
    browser.close()


# The platform


def test_a_queue_that_nobody_draws_from_says_which_worker_it_wants(app: Celeriac, full: Stock) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(JOBS), [stock.pending(queue="reports")])
    browser = Browser(app)
    wait_until(
        lambda: "celery -A app worker -Q reports" in browser.page("/queues"),
        within=30,
        saying="the queue is shown",
    )
    browser.close()


@pytest.mark.parametrize(
    ("silent", "others", "words"),
    [
        (7, True, r"its job is given back in \d\.\d s"),  # it may be silent for twelve
        (300, True, r"its job is given back in 1\.0 s"),
        (300, False, r"its job is given back 12\S* s after a worker has started"),
        (-600, True, None),
    ],
)
def test_of_a_silent_worker_it_is_told_when_its_jobs_are_given_back(
    app: Celeriac, silent: float, others: bool, words: str | None
) -> None:
    with app.database.transaction() as connection:
        connection.execute(insert(WORKERS), [stock.worker(heartbeat=before(silent))])
        if others:
            lives = stock.worker(id=UUID(int=2), hostname="celery@two", heartbeat=before(-600))
            connection.execute(insert(WORKERS), [lives])
        connection.execute(insert(JOBS), [stock.running()])
    browser = Browser(app)
    shown, told_ = text(browser.page("/workers")), browser.json("/workers")["workers"]
    browser.close()
    assert re.search(words or "$", shown), shown
    assert ("given back" in shown) == (words is not None)
    known = [each["rescued_in"] for each in told_ if each["rescued_in"] is not None]
    assert len(known) == (words is not None and others)


def test_a_setting_that_is_a_secret_is_not_shown(redis_url: str, sqlite_url: str) -> None:
    app = made_app(redis_url, sqlite_url, console_secret="s" * 40)
    browser = Browser(app)
    found = browser.page("/doctor")
    assert "CELERIAC_CONSOLE_SECRET" in found
    assert "s" * 40 not in found
    browser.close()
    app.close()


def test_a_console_behind_a_prefix_names_it_in_every_address(
    app: Celeriac, full: Stock, browser: Browser
) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    outer = Starlette(routes=[Mount("/ops/console", browser.asgi)])
    http = TestClient(outer, base_url="http://127.0.0.1", headers={"sec-fetch-site": "none"})
    assert browser.token is not None
    entered = http.get("/ops/console/jobs", params={"token": browser.token.value})
    assert (entered.status_code, entered.url.path) == (200, "/ops/console/jobs")
    for path in pages(full, app):
        found = http.get(f"/ops/console{path}")
        assert found.status_code == 200, path
        links = re.findall(r'(?:href|src|action|hx-get|hx-post)="(/[^"]*)"', found.text)
        assert links
        assert [link for link in links if not link.startswith("/ops/console/")] == [], path
    assert http.get(re.findall(r'href="([^"]+console\.css[^"]*)"', found.text)[0]).status_code == 200
    http.close()


# Servers that are away


def test_every_page_answers_without_redis(database_url: str) -> None:
    app = made_app("redis://127.0.0.1:1/0", database_url)
    full = Stock()
    with app.database.transaction() as connection:
        full.write(connection)
    register("nightly", "mail.send", args=["you@example.org"], every=3600, app=app)
    browser = Browser(app)
    for path in pages(full, app):
        assert browser.get(path).status_code == 200, path
    assert "the broker cannot be asked" in browser.page("/queues")
    assert "Redis cannot be asked" in browser.page("/doctor")
    browser.close()
    app.close()


def test_one_page_says_that_the_database_is_away_and_comes_back(
    redis_url: str, private_postgres: PostgresServer, private_postgres_url: str
) -> None:
    app = made_app(redis_url, private_postgres_url)
    browser = Browser(app)
    assert browser.get("/jobs").status_code == 200
    private_postgres.kill()
    for path in ("/jobs", "/dead", "/jobs/0192d3a4-0000-7000-8000-000000000000"):
        wait_until(
            lambda path=path: browser.get(path).status_code == 503, within=30, saying=f"{path} says so"
        )
        found = browser.get(path)
        assert "the database is away" in found.text
        assert 'hx-trigger="refresh"' in found.text
    private_postgres.start()
    wait_until(lambda: browser.get("/jobs").status_code == 200, within=60, saying="the page comes back")
    browser.close()
    app.close()


def test_a_database_that_does_not_answer_is_told_of_within_seconds(
    redis_url: str, private_postgres: PostgresServer, private_postgres_url: str
) -> None:
    app = made_app(redis_url, private_postgres_url)
    browser = Browser(app)
    assert browser.get("/jobs").status_code == 200
    head = browser.console.head
    wait_until(lambda: head.now().findings is not None, within=60, saying="the doctor has looked")
    private_postgres.freeze()
    began = time.monotonic()
    found = browser.get("/jobs")
    took = timedelta(seconds=time.monotonic() - began)
    private_postgres.thaw()
    assert found.status_code == 503
    assert took < timedelta(seconds=60), "the patience of a connection is some seconds, not minutes"
    browser.close()
    app.close()


def test_a_page_that_takes_too_long_is_a_sentence(redis_url: str, postgres_url: str) -> None:
    app = made_app(redis_url, postgres_url)
    browser = Browser(app)
    with app.database.transaction() as connection:
        connection.exec_driver_sql("LOCK TABLE background_jobs IN ACCESS EXCLUSIVE MODE")
        found = browser.get("/jobs")
    assert found.status_code == 503
    assert "narrow the filter" in found.text
    assert browser.get("/jobs").status_code == 200
    browser.close()
    app.close()


def test_sqlite_ends_a_read_that_takes_too_long(sqlite_url: str) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    reader = Database(make_url(sqlite_url)).for_reading(within=0.1, pool=1)
    for _ in range(2):  # the connection is used again
        with pytest.raises(OperationalError) as raised, reader.reading() as connection:
            connection.execute(text_of(endless)).all()
        assert took_too_long(raised.value)
    with reader.reading() as connection:
        assert connection.execute(text_of("SELECT 1")).scalar_one() == 1
    reader.close()


def test_the_figures_of_a_chart_are_told_to_scripts_pages_and_programs(
    app: Celeriac, browser: Browser
) -> None:
    """All three read the same, and the page of a task has its own."""
    stock.rolled_up(app)
    whole = browser.json("/stats/series", range="6h")["series"]
    assert (whole["range"], whole["step"], len(whole["began"])) == ("6h", 300, 72)
    assert (sum(whole["completed"]), sum(whole["failed"]), sum(whole["cancelled"])) == (1, 1, 1)
    page = browser.json("/", range="6h")["series"]
    api = browser.json("/api/v1/stats/series", range="6h")["series"]
    assert {**page, "clock": ""} == {**api, "clock": ""} == {**whole, "clock": ""}
    own = browser.json("/tasks/mail.send", range="6h")["series"]
    assert (sum(own["completed"]), sum(own["cancelled"])) == (1, 0)


@pytest.mark.parametrize("path", ["/stats/series", "/", "/tasks/mail.send", "/api/v1/stats/series"])
@pytest.mark.parametrize(("name", "value"), [("range", "2h"), ("task", "a\x00b"), ("queue", "x" * 300)])
def test_a_chart_without_a_meaning_is_refused(browser: Browser, path: str, name: str, value: str) -> None:
    html = browser.get(path, **{name: value})
    found = browser.http.get(path, params={name: value}, headers={"accept": "application/json"})
    assert html.status_code == found.status_code
    own = name == "task" and path.startswith("/tasks")  # the page of a task has no other
    assert found.status_code == 200 if own else found.status_code in (400, 422), found.text


def test_small_charts_are_drawn_of_queues_and_causes(browser: Browser) -> None:
    assert browser.page("/queues").count('class="spark"') == 1, "an end of a job is in one queue"
    assert 'class="spark"' in browser.page("/dead")


def test_what_is_vendored_is_what_was_published() -> None:
    import hashlib

    from celeriac.console.console import STATIC

    sums = dict(reversed(line.split()) for line in (STATIC / "VENDORED.sha256").read_text().splitlines())
    assert sums
    for name, digest in sums.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    for name in ("htmx", "uPlot"):
        assert (STATIC / f"{name}.LICENSE").is_file()
    assert Path(STATIC / "VENDORED.md").is_file()
