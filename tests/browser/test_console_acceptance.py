"""What the console is for, as somebody sees it who was woken up: one test for each promise.

Two need no browser: two operators replay one group at once, and each job goes once
(``tests/integration/test_console_actions``); a console is killed in the midst of an action
(``tests/acceptance/test_console_killed``). That all of it holds with ten million rows is what
``make bench ARGS="--only console --large"`` shows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from celeriac.application import Celeriac
from celeriac.ledger.schema.columns import PARKED
from celeriac.ledger.schema.models import FAILURES, JOBS
from celeriac.operate.dead_letters import Cause, groups
from celeriac.operate.job import job
from celeriac.operate.listing import Filter, JobState, count
from tests import stock as rows
from tests.browser.conftest import visiting
from tests.browser.visit import Visit
from tests.servers import PostgresServer, ValkeyServer
from tests.stock import before
from tests.support import wait_until

pytestmark = pytest.mark.browser

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202egnp"


def test_two_clicks_lead_from_an_alert_to_the_failing_line(visit: Visit) -> None:
    """An alert names the page of the group of failures."""
    trace = (
        'Traceback (most recent call last):\n  File "/site/celery/app/trace.py", line 1, in f\n    run()\n'
        '  File "/srv/shop/mail.py", line 7, in send\n    raise KeyError(to)\nKeyError: 1'
    )
    with visit.app.database.transaction() as connection:
        connection.execute(update(FAILURES).values(traceback=trace))
    visit.go(f"/dead/{Cause.of(groups(app=visit.app)[0]).key}")
    visit.page.click(f"a[href*='{visit.stock.failed['id']}'] >> nth=0")
    visit.page.wait_for_url(re.compile(str(visit.stock.failed["id"])))
    assert visit.page.is_visible("text=raise KeyError(to)"), "the task's own frame needs no click"
    assert not visit.page.is_visible("text=run()"), "the platform's frames are not in its way"


CAUSES = {"TimeoutError": 30_000, "OSError": 9_000, "ValueError": 1_000}


def forty_thousand(app: Celeriac) -> None:
    """Dead letters of three causes."""
    for kind, number in CAUSES.items():
        dead = [rows.failed(failure_info=f"{kind}: acquirer") for _ in range(number)]
        attempts = [rows.failure(row, exception_type=kind, exception="acquirer") for row in dead]
        with app.database.transaction() as connection:
            connection.execute(insert(JOBS), dead)
            connection.execute(insert(FAILURES), attempts)


def end(app: Celeriac, *, well: bool) -> None:
    """What was replayed and waits now has its first attempt."""
    waits = (JOBS.c.state == "pending") & (JOBS.c.tries_before > 0)
    with app.database.transaction() as connection:
        ids = list(connection.execute(select(JOBS.c.id).where(waits)).scalars())
        done = {"state": "completed", "finished": before(0), "dispatched": before(0)}
        again = {"state": "error", "try_count": JOBS.c.tries_before + 1}
        connection.execute(update(JOBS).where(JOBS.c.id.in_(ids)).values(done if well else again))
        if not well:
            attempts = [rows.failure(rows.failed(id=id), attempt=2) for id in ids]
            connection.execute(insert(FAILURES), attempts)


def test_forty_thousand_dead_letters_are_found_tried_with_five_and_replayed_until_it_is_stopped(
    visit: Visit,
) -> None:
    """Nothing is replayed faster than it was asked for, and nothing but five while they fail."""
    forty_thousand(visit.app)
    dead = partial(count, Filter(state=JobState.FAILED), most=100_000, app=visit.app)
    before_it = dead()
    visit.go("/dead")
    visit.until("40,001")  # and the one that is always there
    for kind, number in CAUSES.items():
        assert f"{number:,}" in visit.page.inner_text(f"tbody tr:has-text('{kind}')")

    def canary() -> None:
        visit.go("/dead")
        visit.page.check("tbody tr:has-text('TimeoutError') input[type=checkbox]")
        visit.page.fill("input[name=rate]", "200")
        visit.page.click("text=canary replay")
        number = visit.page.input_value("input[name=counted]")
        visit.page.fill("input[name=typed]", number)
        visit.page.click("main button.danger")
        visit.until("the first 5 jobs are on their way")

    canary()
    end(visit.app, well=False)
    visit.until("5 of the first 5 jobs failed again: the rest stays as it was")
    assert before_it - dead() == 5, "there is no second outage"
    canary()
    began = time.monotonic()

    def many() -> bool:
        end(visit.app, well=True)
        return before_it - dead() > 1_200

    wait_until(many, within=120, saying="the rest follows")
    visit.page.click("button:has-text('stop')")
    visit.until("replay: stopped")
    replayed = before_it - dead()
    at_most = 10 + 200 * (time.monotonic() - began) + 200
    assert 1_200 < replayed <= at_most, "at most 200 a second, in batches"
    assert visit.complaints == []


REASONS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "delayed": (lambda: rows.pending(dispatched=None, next_attempt_after=before(-3600)), "it waits until"),
    "parked": (
        lambda: rows.pending(
            dispatched=None, next_attempt_after=PARKED, headers={"celeriac_chord": True}, group_id=rows.WORKER
        ),
        "waits for",
    ),
    "stranded": (lambda: rows.pending(queued=before(600)), "is not in the broker any more"),
    "expired": (lambda: rows.pending(expires=before(60)), "it expired at"),
    "unknown task": (
        lambda: rows.pending(job_type="nobody.knows", unknown_since=before(60)),
        "no worker that saw it in the last",
    ),
    "task of no worker": (lambda: rows.pending(job_type="nobody.knows"), "no live worker knows the task"),
    "nobody draws": (lambda: rows.pending(queue="gpu.normal"), "no live worker draws from its queue"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_a_job_that_does_not_run_names_its_reason_on_its_page(visit: Visit, kind: str) -> None:
    made, words = REASONS[kind]
    row = made()
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
        # nothing else waits before it
        connection.execute(update(JOBS).where(JOBS.c.id == visit.stock.waiting["id"]).values(queue="low"))
    visit.go(f"/jobs/{row['id']}")
    assert words in visit.text()


def test_a_broker_that_forgets_or_is_away_hides_no_page(
    driver: Any, private_valkey: ValkeyServer, sqlite_url: str, tmp_path: Path
) -> None:
    servers = {"broker": private_valkey.url(0), "ledger": sqlite_url, "data": tmp_path}
    with visiting(driver, **servers) as visit:
        with private_valkey.client() as client:
            client.flushall()
        assert unanswered(visit) == []
        visit.go("/queues")
        visit.until("the broker has none of 1 message")
        private_valkey.kill()
        assert unanswered(visit) == []
        visit.go("/queues")
        visit.until("the broker cannot be asked")
    assert visit.complaints == []
    with visiting(driver, **servers, filled=False) as new:  # nothing of it was read while Redis was there
        new.stock = visit.stock
        assert unanswered(new) == []
        new.go("/queues")
        new.until("the broker cannot be asked")
        column = new.page.locator("tbody tr:has-text('normal') td[data-name='in the broker']")
        assert set(column.all_inner_texts()) == {"–"}
    assert new.complaints == []


def unanswered(visit: Visit) -> list[str]:
    """The pages that do not say what they are there for."""
    return [
        path for path in visit.paths() if visit.go(path) != 200 or not visit.page.locator("main h1").count()
    ]


def test_a_database_that_is_away_is_told_of_and_the_page_comes_back_by_itself(
    driver: Any, redis_url: str, private_postgres: PostgresServer, private_postgres_url: str, tmp_path: Path
) -> None:
    with visiting(driver, broker=redis_url, ledger=private_postgres_url, data=tmp_path) as visit:
        while_there = seconds_of(visit)
        private_postgres.freeze()  # its connections are open, and nobody answers
        assert seconds_of(visit) < 2 + 10 * while_there
        assert "the database is away" in visit.text()
        private_postgres.thaw()
        visit.until("mail.send")  # nobody has pressed anything
        private_postgres.kill()
        visit.until("the database is away")
        assert seconds_of(visit) < 2 + 10 * while_there
        assert "the database is away" in visit.text()
        private_postgres.start()
        visit.until("mail.send")


def seconds_of(visit: Visit) -> float:
    """How long the list of jobs takes, or to say why there is none."""
    began = time.monotonic()
    visit.go("/jobs")
    return time.monotonic() - began


def test_a_viewer_is_shown_no_way_to_act_and_has_none(visit: Visit) -> None:
    """By button; by curl in ``test_console_access``: for every action that there is."""
    visit.go(f"/jobs/{visit.stock.failed['id']}")
    assert visit.page.locator("main button[name=action]").count() > 0, "an admin has buttons"
    refused = visit.page.evaluate(
        """id => fetch(`/jobs/${id}/act`, {method: 'POST', redirect: 'manual', credentials: 'omit',
            headers: {'Content-Type': 'application/x-www-form-urlencoded'}, body: 'action=replay'})
            .then(answer => answer.status)""",
        str(visit.stock.failed["id"]),
    )
    assert refused in (401, 403)
    assert job(str(visit.stock.failed["id"]), app=visit.app).state == "failed"


def test_hostile_names_arguments_and_errors_are_seen_as_text(visit: Visit) -> None:
    row = rows.failed(
        job_type=f"task {HOSTILE}",
        failure_info=f"OSError: {HOSTILE}",
        headers={"argsrepr": HOSTILE, "kwargsrepr": HOSTILE},
    )
    with visit.app.database.transaction() as connection:
        connection.execute(insert(JOBS), [row])
    alerts: list[str] = []
    visit.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    for path in ("/jobs", f"/jobs/{row['id']}", "/dead", "/tasks"):
        visit.go(path)
        shown = visit.text()
        assert "\x1b" not in shown, path
        assert "\u202e" not in shown, path
    visit.go(f"/jobs/{row['id']}")
    wait_until(lambda: "<script>alert(1)</script>" in visit.text(), within=60, saying="it is seen as text")
    assert alerts == []
